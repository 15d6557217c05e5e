"""Stands in for the process that reads: does one of the things that a process must not be able to do to us."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import time
from multiprocessing.connection import Connection

from conv3d_core.volumes.reading_process import hold_to

ENTRY = {"name": "", "sizes": [2, 3, 4, 1], "stored": "", "source": "", "spacing_mm": None, "problem": ""}
VOLUME = {"shape": [2, 3, 4, 1], "name": "", "spacing_mm": None, "affine": None, "dtype": "", "source": "", "notes": []}
ROOM = {"room": 96, "declared": 96, "chosen": ""}


def main(connection: Connection, how: str) -> None:
    def say(message: object) -> None:
        connection.send_bytes(json.dumps(message).encode())

    asked = json.loads(connection.recv_bytes())
    say({"entries": [ENTRY]})
    match how:
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(3)
        case "hang":
            time.sleep(60)
        case "chatter":  # says something all the time, and never comes to an end
            while True:
                say({"done": 0.5})
                time.sleep(0.01)
        case "bloat":
            hold_to(asked["data_bytes"] + asked["spare_bytes"])
            try:
                bytearray(asked["spare_bytes"] + 2**20)
            except MemoryError:
                os._exit(7)
        case "write":
            hold_to(asked["data_bytes"] + asked["spare_bytes"])
            try:
                with open(os.environ["STRANGE_FILE"], "wb") as file:
                    file.write(b"hello")
            except OSError:
                os._exit(8)
        case "half":  # a message that never ends
            os.write(connection.fileno(), b"\0\0\0\x50abc")
        case "deep":
            connection.send_bytes(b"[" * 200_000)
        case "odd":
            say({"entries": [{**ENTRY, "sizes": ["a", -1, 2.5, None]}]})
        case "shrink":
            say(ROOM)
            connection.recv_bytes()
            try:
                os.ftruncate(int(sys.argv[2]), 0)
            except OSError:
                os._exit(9)
        case "pickle":
            connection.send_bytes(pickle.dumps({"done": 1}))
        case "greedy":
            say({**ROOM, "room": 2**40})
        case "another shape":
            say(ROOM)
            connection.recv_bytes()
            say({"volume": {**VOLUME, "shape": [20, 30, 40, 1]}})
        case "no spacing":
            say(ROOM)
            connection.recv_bytes()
            say({"volume": {**VOLUME, "spacing_mm": [0, -1, 2]}})
        case "unknown":
            say({"volume": {"shape": None}})
        case "enormous":
            connection.send_bytes(b" " * 2**25)
    time.sleep(60)


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])), os.environ["STRANGE"])
