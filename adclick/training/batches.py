"""Batches on their way to the device: drawn ahead of their steps by threads, and sent as they are
stored.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from adclick.networks.inputs import ResidualForm, formed
from adclick.networks.vision_language import normalise_image
from adclick.training.clicking import StepClicks
from adclick.training.samples import Batch, turned

MOST_READERS = 8

Item = TypeVar("Item")


@dataclass(frozen=True)
class Clock:
    """How long each step of a training had to wait for its batch, and how long it then took."""

    waiting_s: list[float] = field(default_factory=list)
    stepping_s: list[float] = field(default_factory=list)

    @property
    def waiting_share(self) -> float:
        """The part of the time in which there was nothing to compute."""
        waited = sum(self.waiting_s)
        return waited / max(waited + sum(self.stepping_s), 1e-9)


@dataclass(frozen=True)
class Ready:
    """A batch whose arrays lie, or are about to, on the device as they are stored, and its clicks;
    `sent` is what to wait for there.
    """

    batch: Batch
    clicks: StepClicks
    arrays: dict[str, Tensor]
    sent: Any


@dataclass(frozen=True)
class Inputs:
    """What the networks read of a batch, and the labels: float32, turned together."""

    residuals: Float[Tensor, "batch group grid_height grid_width"]
    images: Float[Tensor, "batch 3 height width"]
    labels: Float[Tensor, "batch 1 height width"]
    texts: Float[Tensor, "batch text_channel token"]
    text_masks: Float[Tensor, "batch token"]


def send(batch: Batch, clicks: StepClicks, device: torch.device) -> Ready:
    """A batch on its way to a device: to a GPU from pinned memory, beside what it computes."""
    arrays = {
        name: torch.from_numpy(np.ascontiguousarray(getattr(batch, name)))
        for name in ("residuals", "gains", "scales", "images", "labels", "texts", "text_masks")
    }
    if device.type != "cuda":
        return Ready(batch, clicks, {name: one.to(device) for name, one in arrays.items()}, None)
    stream = torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        sent = {
            name: array.pin_memory().to(device, non_blocking=True) for name, array in arrays.items()
        }
    return Ready(batch, clicks, sent, stream.record_event())


def received(ready: Ready) -> dict[str, Tensor]:
    """The arrays of a batch, to be read by what is computed next."""
    if ready.sent is not None:
        current = torch.cuda.current_stream(next(iter(ready.arrays.values())).device)
        current.wait_event(ready.sent)
        for array in ready.arrays.values():
            array.record_stream(current)
    return ready.arrays


def network_inputs(ready: Ready, form: ResidualForm) -> Inputs:
    """Residuals scaled, pictures normalised, and both turned with their labels, on the device."""
    arrays, turns = received(ready), ready.batch.turns
    residuals = turned(arrays["residuals"], turns).float() * arrays["gains"][:, None, None, None]
    return Inputs(
        formed(residuals, arrays["scales"], form),
        normalise_image(turned(arrays["images"], turns)),
        turned(arrays["labels"], turns)[:, None].float(),
        arrays["texts"],
        arrays["text_masks"],
    )


def readers_for(device: torch.device) -> int:
    """How many threads draw batches: one beside a processor that computes, more for a GPU, as many
    as the job has.
    """
    return 1 if device.type == "cpu" else min(MOST_READERS, torch.get_num_threads())


def read_ahead(
    make: Callable[[int], Item], steps: Iterable[int], *, readers: int, clock: Clock
) -> Generator[Item, None, None]:
    """What `make` makes of every step, in order, each made while steps before it are taken.

    One reader is one step ahead, several as many as they are and one more.
    """
    ahead = readers if readers == 1 else readers + 1
    waiting: deque[Future[Item]] = deque()
    left = iter(steps)
    with ThreadPoolExecutor(readers) as pool:
        try:
            waiting.extend(pool.submit(make, step) for step in islice(left, ahead))
            while waiting:
                begun = time.perf_counter()
                made = waiting.popleft().result()
                waiting.extend(pool.submit(make, step) for step in islice(left, 1))
                arrived = time.perf_counter()
                yield made
                clock.waiting_s.append(arrived - begun)
                clock.stepping_s.append(time.perf_counter() - arrived)
        finally:
            for future in waiting:
                future.cancel()
