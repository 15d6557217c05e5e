"""Memory that is shared with the worker, and memory for results: found again, used again, given back."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from conv3d_core.engine import blocks
from conv3d_core.engine.blocks import IDLE_BLOCKS, Block, Store
from conv3d_core.engine.recycler import IDLE_BYTES, LEAST_BYTES, Recycler

MIB = 2**20


def floats(count: int, value: float = 1.0) -> np.ndarray:
    return np.full(count, value, np.float32)


@pytest.fixture(params=["memfd", "file"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "file":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    elif not hasattr(os, "memfd_create"):
        pytest.skip("this system has none")


@pytest.mark.usefixtures("kind")
def test_two_views_of_a_block_are_one_memory() -> None:
    import mmap

    block = Block(100)
    assert block.nbytes == mmap.PAGESIZE
    other = mmap.mmap(os.dup(block.descriptor), block.nbytes)
    block.floats((2, 3))[...] = 7
    assert np.frombuffer(other, np.float32, 6).tolist() == [7.0] * 6


def test_a_block_gives_its_descriptor_back() -> None:
    block = Block(10)
    descriptor = block.descriptor
    view = block.floats((1,))
    del block
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    view[0] = 3  # the memory lives as long as whoever looks into it
    assert view.tolist() == [3.0]


@pytest.mark.skipif(not Path("/dev/shm").exists(), reason="Linux")
def test_nothing_has_a_name_that_could_be_left_behind() -> None:
    before = set(os.listdir("/dev/shm"))
    block = Block(10 * MIB)
    block.floats((2 * MIB,))[...] = 1
    assert set(os.listdir("/dev/shm")) == before


def test_a_key_is_written_once_and_found_again() -> None:
    store = Store()
    first = store.put(floats(10), "a")
    again = store.put(floats(10, 5), "a")
    assert again.block is first.block
    assert again.block.floats((10,)).tolist() == [1.0] * 10
    assert store.put(floats(10), "b").block is not first.block
    store.unpin(first)
    store.unpin(again)
    assert store.put(floats(10), "a").block is first.block
    assert first.reference == (first.block.number, (10,))


def test_what_has_no_key_goes_into_an_idle_block_of_a_fitting_size() -> None:
    store = Store()
    one, two = store.put(floats(MIB)), store.put(floats(MIB))
    assert one.block is not two.block, "both are needed"
    store.unpin(one)
    assert store.put(floats(MIB // 2, 3)).block is one.block
    assert one.block.floats((2,)).tolist() == [3.0, 3.0]
    assert store.put(floats(MIB)).block not in (one.block, two.block)
    store.unpin(two)
    assert store.put(floats(100)).block is not two.block, "a small array would keep a large block busy"
    assert store.put(floats(MIB), "key").block is not two.block, "what has a key stays as it is"


def test_an_array_of_any_strides_is_put_in_c_order() -> None:
    store = Store()
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)[:, ::-1, ::2]
    stored = store.put(array)
    assert np.array_equal(stored.block.floats(stored.shape), array)


def test_idle_blocks_are_given_back_the_longest_unused_first() -> None:
    store = Store()
    stored = [store.put(floats(MIB // 4), str(number)) for number in range(4)]
    for each in stored:
        store.unpin(each)
    store.unpin(store.put(floats(MIB // 4), "0"))  # used again
    store.trim(2 * MIB)
    assert store.retired() == [stored[1].block.number, stored[2].block.number]
    assert store.retired() == []
    assert store.put(floats(MIB // 4), "0").block is stored[0].block
    assert store.put(floats(MIB // 4), "1").block is not stored[1].block
    store.trim(-1)
    assert store.retired() == [stored[3].block.number], "what is needed is never given back"
    lane = Block(1)
    store.retire(lane)
    assert store.retired() == [lane.number]


def test_many_threads_put_one_key() -> None:
    store = Store()
    found: list[Block] = []
    threads = [threading.Thread(target=lambda: found.append(store.put(floats(MIB, 2), "same").block)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({block.number for block in found}) == 1
    assert found[0].pins == 8
    assert (found[0].floats((MIB,)) == 2).all()


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_is_used_again_when_the_last_view_of_it_is_gone() -> None:
    recycler = Recycler()
    first = recycler.empty((4, MIB // 16, 4))
    assert (first.shape, first.dtype, first.flags.writeable) == ((4, MIB // 16, 4), np.float32, True)
    assert type(first) is np.ndarray
    where = address(first)
    view = first[1:, ::2, 0]
    view.setflags(write=False)
    flat = first.reshape(-1)[5:].view(np.uint8)
    first[...] = 3
    del first
    other = recycler.empty((4, MIB // 16, 4))
    other[...] = 4
    assert address(other) != where
    assert (view == 3).all()
    del view
    third = recycler.empty((4, MIB // 16, 4))
    assert address(third) != where, "the flat one is left"
    del flat
    assert address(recycler.empty((MIB // 4 * 3,))) == where, "somewhat smaller fits, too"
    assert other.min() == 4


def test_small_results_and_ill_fitting_memory_are_not_recycled() -> None:
    recycler = Recycler()
    small = recycler.empty((LEAST_BYTES // 8,))
    assert small.base is None
    large = recycler.empty((10 * MIB,))
    where = address(large)
    del large
    assert address(recycler.empty((MIB,))) != where


def test_idle_memory_is_bounded() -> None:
    recycler = Recycler()
    each = IDLE_BYTES // 4
    arrays = [recycler.empty((each // 4,)) for _ in range(8)]
    del arrays
    keep = recycler.empty((each // 4,))
    assert sum(block.nbytes for block in recycler._idle) <= IDLE_BYTES
    del keep


def test_threads_never_share_recycled_memory() -> None:
    recycler = Recycler()
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(200):
            array = recycler.empty((LEAST_BYTES // 4,))
            array[...] = number
            if not (array == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert blocks.Block(1).pins == 0


def test_ever_new_weights_do_not_use_up_the_descriptors() -> None:
    store = Store()
    for number in range(10 * IDLE_BLOCKS):
        store.unpin(store.put(floats(4, number), f"weight {number}"))
    assert len(store._idle) == IDLE_BLOCKS
    assert len(store.retired()) == 9 * IDLE_BLOCKS, "the worker lets go of them, too"


def test_idle_blocks_hold_so_many_bytes_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "IDLE_BYTES", 3 * MIB)
    store = Store()
    stored = [store.put(floats(MIB // 4, number), str(number)) for number in range(5)]
    for each in stored:
        store.unpin(each)
    assert [block.key for block in store._idle.values()] == ["2", "3", "4"]


def test_results_that_come_back_are_bounded_at_once() -> None:
    recycler = Recycler()
    results = [recycler.empty((IDLE_BYTES // 2 // 4,)) for _ in range(4)]
    results.clear()
    gc.collect()
    assert sum(block.nbytes for block in recycler._idle) <= IDLE_BYTES
