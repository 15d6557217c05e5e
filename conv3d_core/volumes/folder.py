"""Files in a folder on this machine, without ever leaving it: no link is followed, no pipe or device is opened."""

from __future__ import annotations

import mmap
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from conv3d_core.errors import VolumeError
from conv3d_core.volumes.limits import MAX_MEMBERS, broken, shown
from conv3d_core.volumes.members import Data, natural

MOST_LISTED = 2000
ZARR_KEYS = (".zarray", ".zgroup", ".zattrs", ".zmetadata")


@contextmanager
def opened(root: Path, path: str) -> Iterator[int]:
    """The descriptor of a file or folder inside a folder, opened step by step without following a link.

    Args:
        root: the folder; its own path may go through links.
        path: of what is inside, relative to it.

    Raises:
        VolumeError: of field "folder": it is not there, a link, or outside.
    """
    steps = [step for step in path.split("/") if step not in ("", ".")]
    wrong = VolumeError("folder", f"there is no '{shown(path)}' inside it", "choose a file of the list", value=path)
    if ".." in steps or "\0" in path:
        raise wrong
    try:
        at = os.open(root.resolve(), os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise VolumeError("folder", f"'{shown(str(root))}' cannot be opened", "check the path", value=path) from error
    try:
        for step in steps:
            try:
                # NONBLOCK: a pipe that nobody writes to must not hang.
                inside = os.open(step, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
            except OSError as error:
                raise wrong from error
            os.close(at)
            at = inside
        if not is_file(at) and not stat.S_ISDIR(os.fstat(at).st_mode):
            raise wrong
        yield at
    finally:
        os.close(at)


def files_under(descriptor: int) -> list[tuple[str, Data]]:
    """The files of an opened folder and of the folders in it, mapped: their bytes are read as they are looked at.

    Raises:
        VolumeError: too many of them.
    """
    found: list[tuple[str, Data]] = []
    _allow_open_files()
    for inside, folders, names, at in os.fwalk(".", dir_fd=descriptor, follow_symlinks=False):
        folders[:] = filter(_is_shown, folders)
        for name in filter(_is_shown, names):
            try:
                file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
            except OSError:  # a link, or not ours to read
                continue
            try:
                if is_file(file):
                    found.append((os.path.normpath(os.path.join(inside, name)), mapped(file)))
            finally:
                os.close(file)
            if len(found) > MAX_MEMBERS:
                raise broken(f"it holds more than {MAX_MEMBERS:,} files", "name a folder with fewer")
    return found


def _allow_open_files() -> None:
    """As many as the system allows: Python keeps a descriptor for each mapped file, and there may be 256 only."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MAX_MEMBERS if most == resource.RLIM_INFINITY else min(most, 2 * MAX_MEMBERS)
    if now != resource.RLIM_INFINITY and now < wanted:
        with suppress(ValueError, OSError):  # macOS has a limit of its own below that
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def is_file(descriptor: int) -> bool:
    """Whether it is an ordinary file, which has a size and an end."""
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def mapped(descriptor: int) -> Data:
    """The bytes of a file, which are read from the disk as they are looked at."""
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) if os.fstat(descriptor).st_size else b""


def _is_shown(name: str) -> bool:
    """Whether it is not hidden, but for the keys of a Zarr, and can be written on a page."""
    return (name[:1] != "." or name in ZARR_KEYS) and name.isprintable()


def listing(root: Path, most: int = MOST_LISTED) -> list[str]:
    """What can be chosen in a folder, relative to it, in natural order: its files, and folders that hold files.

    A folder's name ends in a slash. Links and what is hidden are left out.
    """
    found = []
    for inside, folders, names in os.walk(root, followlinks=False):
        folders[:] = filter(_is_shown, folders)
        place = Path(inside)
        files = [name for name in names if name[:1] != "." and _is_shown(name) and not (place / name).is_symlink()]
        relative = place.relative_to(root)
        found += [(relative / name).as_posix() for name in files]
        if files and place != root:
            found.append(f"{relative.as_posix()}/")
        if len(found) > most:
            break
    return sorted(found, key=natural)[:most]
