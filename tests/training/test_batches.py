"""Batches are ahead of their steps, in order, and a device hardly waits for them."""

import threading
import time

import pytest

from adclick.training.batches import Clock, read_ahead


@pytest.mark.parametrize("readers", [1, 3])
def test_batches_come_in_order_each_once_and_no_further_ahead_than_readers(readers: int) -> None:
    made: list[int] = []

    def make(step: int) -> int:
        time.sleep(0.002 * (step % 3))
        made.append(step)
        return step

    clock, taken = Clock(), []
    for step in read_ahead(make, range(4, 20), readers=readers, clock=clock):
        assert max(made) <= step + (1 if readers == 1 else readers + 1)
        taken.append(step)
    assert taken == list(range(4, 20)) and sorted(made) == taken
    assert len(clock.waiting_s) == len(clock.stepping_s) == 16


def test_a_device_that_is_faster_than_one_reader_does_not_wait_for_several() -> None:
    """Steps of 20 ms, batches of 50 ms: one reader cannot keep up, four can."""

    def make(step: int) -> None:
        time.sleep(0.05)

    shares = {}
    for readers in (1, 4):
        clock = Clock()
        for _ in read_ahead(make, range(30), readers=readers, clock=clock):
            time.sleep(0.02)
        begun = readers + 1
        shares[readers] = Clock(clock.waiting_s[begun:], clock.stepping_s[begun:]).waiting_share
    assert shares[4] < 0.1 < 0.4 < shares[1]


def test_what_breaks_in_a_reader_breaks_its_step_and_leaves_no_thread() -> None:
    def make(step: int) -> int:
        if step == 2:
            raise OSError("row 2 is damaged")
        return step

    before, taken = threading.active_count(), []
    with pytest.raises(OSError, match="row 2"):
        for step in read_ahead(make, range(9), readers=2, clock=Clock()):
            taken.append(step)
    assert taken == [0, 1]
    assert threading.active_count() == before


def test_the_share_of_no_time_is_nothing() -> None:
    assert Clock().waiting_share == 0
    assert Clock([1.0, 0.0], [2.0, 1.0]).waiting_share == 0.25
