"""The model in processes of its own: one answers clicks, one encodes images ahead.

The server's threads call and wait; its event loop never computes. A process that dies is started
again, and what it knew is given to it once more.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from adclick.annotate.spooling import discard, spooled, spooled_bytes, unspooled
from adclick.clicks.click import Click
from adclick.data.geometry import cells_in, content_of
from adclick.networks.parts import Part
from adclick.run.errors import InputError
from adclick.run.settings.data import Geometry, square

MOST_BYTES = 600_000_000  # of encodings that are kept in memory
MOST_SPOOLED = 6_000_000_000  # of those that are kept on disk
MOST_SESSIONS = 8  # opened images in the clicking process, an image and a type each
LATENCIES = 500
PATIENT = ("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait for others leave them the processor
NO_CLICKS = "feature_detector"  # this kind of model only detects
AHEAD = 2  # encodings that are ready, the present one and the next: no more are needed soon
NICE = 5  # encoding ahead gives way to all else; see `Model._resting`, too


@dataclass(frozen=True)
class ModelFacts:
    """What the server tells about the model."""

    title: str
    kind: str
    device: str
    types: tuple[str, ...]
    size_px: int
    threshold: float
    identity: str
    start_threshold: float  # of what a detector finds by itself; a click model finds nothing
    bits: int | None = None  # of pictures that are stored in 16
    geometry: Geometry | None = None  # None: the square of `size_px`
    window: int | None = None  # side in patches of what the network sees at once; None: all
    stride: int = 8  # side of a patch in network pixels

    def seen(self, shape: tuple[int, int]) -> tuple[int, int]:
        """The size (height, width) in which the model sees a picture of `shape`."""
        return content_of(shape, self.geometry or square(self.size_px))

    def window_in(self, shape: tuple[int, int]) -> int | None:
        """The side in patches of the windows in which a picture of `shape` is seen; None: whole."""
        grid = cells_in(self.seen(shape), self.stride)
        return None if self.window is None or self.window >= max(grid) else self.window


# --- in the process -----------------------------------------------------------------------------


class Server:
    """What runs in a process: the opened model, and the sessions that clicks came to last."""

    def __init__(self, folder: Path, spool: Path | None = None) -> None:
        """Opens the model of a folder; what is encoded of large pictures goes to `spool`, another
        folder.
        """
        from adclick.models.folder import open_model

        self.model = open_model(folder)
        if self.model.description.kind == NO_CLICKS:
            raise InputError(
                f"{self.model.title}: a detector that takes no clicks; give a click model, or use"
                " adclick predict"
            )
        self.sessions: OrderedDict[tuple[str, str | None], Any] = OrderedDict()
        self.spool = spool

    def facts(self) -> ModelFacts:
        """What the model is."""
        described = self.model.description
        threshold, detection = described.clicks.threshold, described.detection
        return ModelFacts(
            described.title,
            described.kind,
            self.model.device,
            described.types,
            described.size_px,
            threshold,
            described.identity,
            threshold if detection is None else detection.threshold,
            described.pictures.bits,
            described.pictures.size,
            described.window,
            described.backbone.stride,
        )

    def encode(self, path: Path) -> Any:
        """The picture of a file, encoded."""
        from adclick.data.images import read_image
        from adclick.models.folder import encode

        bits = self.model.description.pictures.bits
        return spooled(encode(self.model, read_image(path, bits=bits, clipped=True)), self.spool)

    def predict(
        self,
        key: str,
        defect_type: str | None,
        clicks: Sequence[Click],
        previous: Float32[np.ndarray, "seen_height seen_width"] | None,
        encoding: Any | None,
    ) -> Float32[np.ndarray, "seen_height seen_width"] | None:
        """The probability after clicks in network pixels; None when the encoding must come too."""
        session = self._session(key, defect_type, encoding)
        return None if session is None else session.predict(clicks, previous)

    def predict_part(
        self,
        key: str,
        defect_type: str | None,
        part: Part,
        clicks: Sequence[Click],
        previous: Float32[np.ndarray, "part_height part_width"] | None,
        encoding: Any | None,
    ) -> Float32[np.ndarray, "part_height part_width"] | None:
        """The same in a window of a large picture; clicks in its pixels."""
        session = self._session(key, defect_type, encoding)
        return None if session is None else session.part(part)(clicks, previous)

    def _session(self, key: str, defect_type: str | None, encoding: Any | None) -> Any | None:
        from adclick.models.folder import open_session

        place = (key, defect_type)
        if place not in self.sessions:
            if encoding is None:
                return None
            self.sessions[place] = open_session(self.model, unspooled(encoding), defect_type)
            while len(self.sessions) > MOST_SESSIONS:
                self.sessions.popitem(last=False)
        self.sessions.move_to_end(place)
        return self.sessions[place]


def serve(make: Callable[[], Any], connection: Connection, nice: int) -> None:
    """Answer calls until the other end closes: ("value", result), or ("error", kind, message)."""
    os.nice(nice)
    os.environ.setdefault(*PATIENT)  # torch reads it when it is loaded, below
    try:
        served = make()
        connection.send(("value", None))
    except Exception as error:
        connection.send(("error", isinstance(error, InputError), _line(error)))
        return
    while True:
        try:
            name, values, resting = connection.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        try:
            with standing_still(resting):
                answer = ("value", getattr(served, name)(*values))
        except Exception as error:
            answer = ("error", isinstance(error, InputError), _line(error))
        try:
            connection.send(answer)
        except (BrokenPipeError, OSError):
            return


@contextlib.contextmanager
def standing_still(pid: int | None) -> Iterator[None]:
    """Another process leaves the processor to this one meanwhile, whatever it computes."""
    _signal(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(pid, signal.SIGCONT)


def _signal(pid: int | None, number: signal.Signals) -> None:
    if pid is not None:
        with contextlib.suppress(OSError):  # it may have ended
            os.kill(pid, number)


def _line(error: Exception) -> str:
    return " ".join(f"{error}".split()) or type(error).__name__


# --- in the server ------------------------------------------------------------------------------


class WorkerError(RuntimeError):
    """A process could not answer, and that is no mistake of the user's."""


class Worker:
    """One process, called by one thread at a time; started again when it dies."""

    def __init__(self, make: Callable[[], Any], *, name: str, nice: int = 0) -> None:
        """`make()` builds the served object inside the process; it must be picklable."""
        self._make, self._name, self._nice = make, name, nice
        self._lock = threading.Lock()
        self._process: Any = None
        self._connection: Connection | None = None
        self._closed = False
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The process's number while it runs."""
        process = self._process
        return process.pid if process is not None and process.is_alive() else None

    def call(
        self, name: str, *values: Any, resting: Callable[[], int | None] = lambda: None
    ) -> Any:
        """The served object's method; InputError as it raises it, else WorkerError. The process of
        the number that `resting` says, asked when it is this call's turn, stands still meanwhile.
        """
        with self._lock:
            for attempt in range(2):
                pid = resting()
                try:
                    connection = self._started()
                    connection.send((name, values, pid))
                    return _value(connection.recv())
                except (EOFError, OSError) as error:
                    _signal(pid, signal.SIGCONT)
                    self._stop()
                    self.restarts += 1
                    if attempt:
                        raise WorkerError(f"{self._name}: the process died ({error!r})") from None
        raise AssertionError("unreachable")

    def close(self) -> None:
        """End the process; none is started any more."""
        self._closed = True
        with self._lock:
            self._stop()

    def _started(self) -> Connection:
        if self._closed:
            raise WorkerError(f"{self._name}: closed")
        if self._connection is None:
            context = multiprocessing.get_context("spawn")
            self._connection, other = context.Pipe()
            self._process = context.Process(
                target=serve, args=(self._make, other, self._nice), name=self._name, daemon=True
            )
            self._process.start()
            other.close()
            _value(self._connection.recv())
        return self._connection

    def _stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            _signal(self.pid, signal.SIGCONT)  # who stands still does not end
            self._process.terminate()
            self._process.join(5)
        self._connection = self._process = None


def _value(answer: tuple[Any, ...]) -> Any:
    if answer[0] == "value":
        return answer[1]
    _, is_mistake, line = answer
    raise InputError(line) if is_mistake else WorkerError(line)


class Encodings:
    """Encoded images by key: made ahead in the queue's order, kept up to a size in bytes."""

    def __init__(self, worker: Worker, path_of: Callable[[str], Path]) -> None:
        """Starts the thread that encodes ahead."""
        self._worker, self._path_of = worker, path_of
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._failed: dict[str, str] = {}
        self._wanted: deque[str] = deque()
        self._urgent: deque[str] = deque()
        self._order: dict[str, None] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._waiting = 0
        self.encoding: str | None = None
        self.last_error: str | None = None
        self.scores: dict[str, float] = {}
        self._thread = threading.Thread(target=self._encode_ahead, daemon=True)
        self._thread.start()

    def want(self, keys: Sequence[str]) -> None:
        """What to encode next, in this order; replaces what was wanted before."""
        with self._changed:
            self._wanted, self._order = deque(keys), dict.fromkeys(keys)
            self._changed.notify_all()

    def get(self, key: str) -> Any:
        """The encoding of an image, made now when it is not there. InputError for a picture that
        cannot be read.
        """
        with self._changed:
            self._waiting += 1
            try:
                self._wait_for(key)
            finally:
                self._waiting -= 1
            self._kept.move_to_end(key)
            return self._kept[key]

    def _wait_for(self, key: str) -> None:
        while key not in self._kept:
            if key in self._failed:
                raise InputError(self._failed.pop(key))
            if self._closed:
                raise WorkerError("the server is closing")
            if key not in self._urgent and self.encoding != key:
                self._urgent.appendleft(key)
                self._changed.notify_all()
            self._changed.wait(0.5)

    @property
    def can_rest(self) -> bool:
        """Whether nobody waits for an encoding, now or once the present picture is done."""
        with self._changed:
            needed = islice(self._order, AHEAD)
            return not self._waiting and all(
                key in self._kept or key in self._failed for key in needed
            )

    def __contains__(self, key: str) -> bool:
        """Whether an image is encoded."""
        return key in self._kept

    def __len__(self) -> int:
        """How many are."""
        return len(self._kept)

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(10)

    def _encode_ahead(self) -> None:
        while True:
            with self._changed:
                self.encoding = None
                while not self._closed and not self._is_waited_for():
                    self._changed.wait()
                if self._closed:
                    return
                key = (self._urgent or self._wanted).popleft()
                self.encoding = key
            self._encode(key)

    def _is_waited_for(self) -> bool:
        """Whether there is something to encode: asked for now, or wanted while there is room."""
        for keys in (self._urgent, self._wanted):
            while keys and (keys[0] in self._kept or keys[0] in self._failed):
                keys.popleft()
        return bool(self._urgent) or (bool(self._wanted) and self._has_room())

    def _has_room(self) -> bool:
        """Whether one more of the usual size fits, now that what nobody wants any more is gone."""
        for key in [one for one in self._kept if one not in self._order]:
            if self._fits():
                break
            discard(self._kept.pop(key))
        return self._fits()

    def _fits(self) -> bool:
        return self._fill() * (1 + 1 / max(1, len(self._kept))) <= 1

    def _full(self) -> bool:
        return self._fill() > 1

    def _fill(self) -> float:
        """How much of memory or, if that is more, of disk is taken; 1 is all that may be."""
        kept = self._kept.values()
        return max(
            sum(map(_bytes, kept)) / MOST_BYTES, sum(map(spooled_bytes, kept)) / MOST_SPOOLED
        )

    def _evict(self, *, sparing: str) -> None:
        """Drop what nobody wants, else what is wanted last; never the one just made."""
        others = [one for one in self._kept if one != sparing]
        unwanted = [one for one in others if one not in self._order]
        wanted = [one for one in self._order if one in others]
        discard(self._kept.pop(unwanted[0] if unwanted else wanted[-1]))

    def _encode(self, key: str) -> None:
        try:
            encoding: Any = self._worker.call("encode", self._path_of(key))
            score, failure = teaching_value(np.asarray(encoding.residual_map)), None
        except Exception as error:  # of this image alone: the thread encodes the others
            encoding, score, failure = None, 0.0, _line(error)
        with self._changed:
            if failure is None:
                self._kept[key] = encoding
                self.scores[key] = score
            else:
                self._failed[key] = self.last_error = failure
            while self._full() and len(self._kept) > 1:
                self._evict(sparing=key)
            self._changed.notify_all()


def teaching_value(anomaly: Float32[np.ndarray, "height width"]) -> float:
    """How much a label of an image would teach: the highest anomaly times the mean uncertainty
    4 a (1 - a) over the pixels; a in [0, 1].
    """
    bounded = np.clip(anomaly, 0, 1)
    return float(bounded.max() * (4 * bounded * (1 - bounded)).mean())


def _bytes(encoding: Any) -> int:
    """The size of all arrays that an encoding holds."""
    parts = [
        part
        for held in vars(encoding).values()
        for part in (held if isinstance(held, tuple) else (held,))
    ]
    return sum(part.nbytes for part in parts if isinstance(part, np.ndarray))


class Model:
    """The model as the server sees it: facts, encodings, answers to clicks, how fast they were."""

    def __init__(self, make: Callable[[], Any], path_of: Callable[[str], Path]) -> None:
        """Starts both processes; InputError when the model cannot be opened."""
        self._clicker = Worker(make, name="clicks")
        self._encoder = Worker(make, name="encoding ahead", nice=NICE)
        self.facts: ModelFacts = self._clicker.call("facts")
        self.encodings = Encodings(self._encoder, path_of)
        self.latencies: deque[float] = deque(maxlen=LATENCIES)
        self.last_error: str | None = None

    def predict(
        self,
        key: str,
        defect_type: str | None,
        clicks: Sequence[Click],
        previous: Float32[np.ndarray, "seen_height seen_width"] | None,
    ) -> Float32[np.ndarray, "seen_height seen_width"]:
        """The probability after clicks in network pixels."""
        return self._asked("predict", key, defect_type, clicks, previous)

    def predict_part(
        self,
        key: str,
        defect_type: str | None,
        part: Part,
        clicks: Sequence[Click],
        previous: Float32[np.ndarray, "part_height part_width"] | None,
    ) -> Float32[np.ndarray, "part_height part_width"]:
        """The same in a window of a large picture; clicks in its pixels."""
        return self._asked("predict_part", key, defect_type, part, clicks, previous)

    def _asked(self, name: str, key: str, *values: Any) -> Any:
        started = time.perf_counter()
        try:
            answer = self._clicked(name, key, *values, None)
            if answer is None:
                answer = self._clicked(name, key, *values, self.encodings.get(key))
        except WorkerError as error:
            self.last_error = str(error)
            raise
        self.latencies.append(1000 * (time.perf_counter() - started))
        return answer

    def _clicked(self, name: str, *values: Any) -> Any:
        return self._clicker.call(name, *values, resting=self._resting)

    def _resting(self) -> int | None:
        """Who leaves the processor to a click: who encodes ahead, unless that is needed soon."""
        return self._encoder.pid if self.encodings.can_rest else None

    @property
    def restarts(self) -> int:
        """How often a process had to be started again."""
        return self._clicker.restarts + self._encoder.restarts

    def close(self) -> None:
        """End both processes."""
        self._clicker.close()
        self.encodings.close()
        self._encoder.close()
