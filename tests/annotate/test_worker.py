import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from adclick.annotate import worker
from adclick.annotate.worker import Encodings, Worker, WorkerError
from adclick.run.errors import InputError


class Recorded(Worker):
    """Encodes into 100 bytes without a process; keeps what it was asked for."""

    def __init__(self):
        super().__init__(object, name="recorded")
        self.asked = []

    def call(self, name, *values):
        assert name == "encode"
        (path,) = values
        self.asked.append(path.name)
        if path.name == "broken":
            raise InputError("broken: not a picture")
        if path.name == "fault":
            raise ZeroDivisionError("of one picture")
        return SimpleNamespace(
            image=np.zeros(40, np.uint8),
            residual_map=np.full((2, 2), 0.5, np.float32),
            maps=(np.zeros(4, np.uint8), np.zeros(20, np.uint8)),
            neighbour=np.zeros(20, np.uint8),
            neighbour_id="normal/000",
            probability=None,
        )


@pytest.fixture
def encodings(monkeypatch):
    monkeypatch.setattr(worker, "MOST_BYTES", 350)
    made = Encodings(Recorded(), Path)
    yield made
    made.close()


def settle(encodings):
    """Wait until the thread has nothing left to encode, however long that takes."""
    while True:
        assert encodings._thread.is_alive()
        with encodings._changed:
            if encodings.encoding is None and not encodings._is_waited_for():
                return
        time.sleep(0.01)


def test_a_picture_that_fails_holds_up_no_other(encodings) -> None:
    encodings.want(["fault", "k0"])
    settle(encodings)
    assert "k0" in encodings
    with pytest.raises(InputError, match="of one picture"):
        encodings.get("fault")


def test_a_map_that_cannot_be_looked_at_holds_up_no_other(encodings, monkeypatch) -> None:
    values = iter([ValueError("no map"), 0.25])

    def value(_: object) -> float:
        found = next(values)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(worker, "teaching_value", value)
    encodings.want(["k0", "k1"])
    settle(encodings)
    assert encodings.scores == {"k1": 0.25}
    with pytest.raises(InputError, match="no map"):
        encodings.get("k0")


def test_what_comes_first_is_kept_and_encoding_ahead_stops_when_full(encodings) -> None:
    encodings.want([f"k{index}" for index in range(9)])
    settle(encodings)
    assert [key for key in (f"k{index}" for index in range(9)) if key in encodings] == [
        "k0",
        "k1",
        "k2",
    ]
    assert encodings._worker.asked == ["k0", "k1", "k2"]


def test_what_nobody_wants_any_more_makes_room(encodings) -> None:
    encodings.want(["a", "b", "c", "d"])
    settle(encodings)
    encodings.want(["c", "d", "e"])
    settle(encodings)
    assert all(key in encodings for key in ("c", "d"))
    assert "a" not in encodings


def test_an_image_asked_for_is_encoded_though_all_is_full(encodings) -> None:
    encodings.want(["a", "b", "c", "d"])
    settle(encodings)
    assert encodings.get("z").image.size == 40
    assert "a" in encodings
    with pytest.raises(InputError, match="not a picture"):
        encodings.get("broken")


def comes_to_stand(pid: int, still: bool) -> bool:
    """Whether a process stands still (or does not), soon: a signal takes a moment."""
    ends = time.monotonic() + 5
    while time.monotonic() < ends:
        if (psutil.Process(pid).status() == psutil.STATUS_STOPPED) == still:
            return True
    return False


class Served:
    """What runs in a process of its own in these tests."""

    def __init__(self) -> None:
        self.calls = 0

    def count(self) -> int:
        self.calls += 1
        return self.calls

    def fail(self, mistake: bool) -> None:
        raise InputError("your mistake") if mistake else ValueError("two\nlines")

    def die(self) -> None:
        os._exit(3)

    def patience(self) -> tuple[str | None, bool]:
        return os.environ.get("OMP_WAIT_POLICY"), "torch" in sys.modules

    def is_stopped(self, process: int) -> bool:
        return comes_to_stand(process, True)


def test_a_process_answers_fails_in_one_line_and_is_started_again_when_it_dies() -> None:
    process = Worker(Served, name="test")
    try:
        assert [process.call("count"), process.call("count")] == [1, 2]
        with pytest.raises(InputError, match="your mistake"):
            process.call("fail", True)
        with pytest.raises(WorkerError, match="two lines"):
            process.call("fail", False)
        with pytest.raises(WorkerError, match="died"):
            process.call("die")
        assert process.restarts == 2
        assert process.call("count") == 1
    finally:
        process.close()


def test_many_threads_share_a_process() -> None:
    process, seen = Worker(Served, name="test"), []
    threads = [
        threading.Thread(target=lambda: seen.append(process.call("count"))) for _ in range(8)
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        process.close()
    assert sorted(seen) == list(range(1, 9))


@pytest.fixture
def pair():
    processes = [Worker(Served, name=name) for name in ("clicks", "ahead")]
    yield processes
    for process in processes:
        process.close()


def test_another_process_stands_still_while_one_answers(pair) -> None:
    clicks, ahead = pair
    ahead.call("count")
    assert clicks.call("is_stopped", ahead.pid, resting=lambda: ahead.pid)
    assert ahead.call("count") == 2


def test_what_stood_still_goes_on_after_a_mistake_and_after_a_death(pair) -> None:
    clicks, ahead = pair
    ahead.call("count")
    with pytest.raises(InputError):
        clicks.call("fail", True, resting=lambda: ahead.pid)
    assert comes_to_stand(ahead.pid, False)
    with pytest.raises(WorkerError, match="died"):
        clicks.call("die", resting=lambda: ahead.pid)
    assert comes_to_stand(ahead.pid, False)
    assert ahead.call("count") == 2


def test_threads_that_wait_leave_others_the_processor(pair, monkeypatch) -> None:
    clicks, ahead = pair
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert clicks.call("patience") == ("PASSIVE", False)  # torch reads it when it is loaded
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert ahead.call("patience") == ("ACTIVE", False)


def test_a_process_that_stands_still_can_be_ended(pair) -> None:
    _, ahead = pair
    ahead.call("count")
    process = psutil.Process(ahead.pid)
    os.kill(process.pid, signal.SIGSTOP)
    closing = threading.Thread(target=ahead.close, daemon=True)
    closing.start()
    closing.join(20)
    ended = not process.is_running()
    if not ended:
        process.kill()
    assert ended


def test_a_dead_process_has_no_number(pair) -> None:
    clicks, _ = pair
    with pytest.raises(WorkerError, match="died"):
        clicks.call("die")
    assert clicks.pid is None
    assert clicks.call("count") == 1
    assert clicks.pid is not None


@pytest.fixture
def model(encodings):
    """A model whose clicks say which process rests; the encoder's is 7."""
    made: Any = worker.Model.__new__(worker.Model)
    made.encodings = encodings
    made._encoder = SimpleNamespace(pid=7)
    made._clicker = SimpleNamespace(call=lambda *values, resting: resting())
    return made


def test_encoding_rests_while_a_click_is_answered_once_the_next_is_ready(model, encodings) -> None:
    encodings.want(["a", "broken", "c"])
    settle(encodings)
    assert model._clicked("predict") == 7, "one that cannot be read is not waited for"
    with encodings._changed:  # its thread does not begin meanwhile
        encodings._order = dict.fromkeys(["a", "new", "c"])
    assert model._clicked("predict") is None, "that others are ready is not enough"


def test_encoding_goes_on_while_somebody_waits_for_it(model, encodings, monkeypatch) -> None:
    encodings.want(["a"])
    settle(encodings)
    begun, goes_on = threading.Event(), threading.Event()

    def slow(name: str, path: Path) -> Any:
        begun.set()
        goes_on.wait(10)
        raise InputError("broken: not a picture")

    monkeypatch.setattr(encodings._worker, "call", slow)
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(encodings.get, "late")
        assert begun.wait(10)
        assert model._clicked("predict") is None
        goes_on.set()
        with pytest.raises(InputError):
            waiting.result()
    assert model._clicked("predict") == 7
