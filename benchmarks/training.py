"""Steps of a training: how long they take, and how long they wait for their batches."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from adclick.commands import train_adclick, train_adclick_seg
from adclick.networks.adclick import build_adclick
from adclick.networks.adclick_seg import build_adclick_seg
from adclick.networks.checkpoints import seeded
from adclick.run.config import Config, read_configuration
from adclick.run.plan.clicks import TrainAdclick
from adclick.run.plan.detection import TrainAdclickSeg
from adclick.training.batches import Clock
from adclick.training.loop import train
from adclick.training.plan import Plan
from adclick.training.pools import CategoryFiles, open_pools
from adclick.training.samples import Augmentation, Batch, Pool, Turn, draw_batch, turned
from benchmarks.latency import CONFIG, OVERLAYS
from benchmarks.made_up import make_category
from benchmarks.measure import Check, Results, Task, Variant

SIZES = {
    "tiny": ("micro", 2, 4),
    "quick": ("small", 3, 8),
    "normal": ("small", 8, 16),
    "full": ("small", 24, 32),
}
PLACE = {"dataset": "mvtec", "category": "bottle"}
TIMES_FASTER = 20
MOST_WAITING = 0.1
SEED = 0


@dataclass(frozen=True)
class Case:
    """A training as a command would run it: its network, plan, and what its batches hold."""

    name: str
    build: Callable[[], nn.Module]
    plan: Plan
    counts: Mapping[str, int]
    augmentation: Augmentation


def adclick_case(config: Config, variant: str) -> Case:
    """The training of an ADClick variant on a category."""
    settings = TrainAdclick.of(config, {**PLACE, "variant": variant})
    assert isinstance(settings, TrainAdclick)
    return Case(
        f"ADClick {variant}",
        partial(seeded, build_adclick, SEED, **train_adclick.own_sizes(settings)),
        train_adclick.own_plan(settings),
        train_adclick.own_counts(settings),
        Augmentation(settings.training.augment, settings.training.gain, False),
    )


def seg_case(config: Config, variant: str) -> Case:
    """The training of an ADClick-Seg variant on a category."""
    settings = TrainAdclickSeg.of(config, {**PLACE, "variant": variant})
    assert isinstance(settings, TrainAdclickSeg)
    return Case(
        f"ADClick-Seg {variant}",
        partial(seeded, build_adclick_seg, SEED, **train_adclick_seg.own_sizes(settings)),
        train_adclick_seg.own_plan(settings),
        train_adclick_seg.own_counts(settings),
        Augmentation(settings.training.augment, settings.training.gain, settings.variant.abandon),
    )


def drawer(case: Case, files: CategoryFiles, *, plain: bool = False) -> Callable[[int], Batch]:
    """What draws a case's batches; `plain` reads through HDF5 and turns every array by itself, in
    single precision, on the processor, as it is drawn.
    """
    kinds = [kind for kind, count in case.counts.items() if count]
    opened = open_pools(files, kinds)
    pools = {kind: [_through_hdf5(pool) if plain else pool] for kind, pool in opened.items()}

    def draw(step: int) -> Batch:
        batch = draw_batch(pools, case.counts, case.augmentation, seed=SEED, step=step)
        return _turned_here(batch) if plain else batch

    return draw


def take_steps(
    case: Case,
    model: nn.Module,
    draw: Callable[[int], Batch],
    *,
    steps: int,
    device: torch.device,
    readers: int | None = None,
) -> tuple[Clock, list[float]]:
    """How long each step took, and its loss."""
    clock = Clock()
    plan = replace(case.plan, steps=steps)
    _, losses = train(model, draw, plan, seed=SEED, device=device, readers=readers, clock=clock)
    return clock, losses


def tasks(scale: str) -> Iterator[Task]:
    """Steps of both networks, and a device that only sleeps."""
    name, steps, pictures = SIZES[scale]
    config = read_configuration(OVERLAYS[name], base=CONFIG / "config.yaml")
    with tempfile.TemporaryDirectory() as folder:
        files = make_category(Path(folder), config, pictures=pictures)
        for case in (adclick_case(config, "finetuned_lang"), seg_case(config, "weak")):
            yield _steps(case, files, name, steps)
        case = adclick_case(config, "finetuned_lang")
        yield waiting(case, files, name, steps, every_step=scale != "tiny")


def _steps(case: Case, files: CategoryFiles, name: str, steps: int) -> Task:
    def run(*, plain: bool) -> list[float]:
        draw = drawer(case, files, plain=plain)
        return take_steps(case, case.build(), draw, steps=steps, device=torch.device("cpu"))[1]

    def agreement(results: Results) -> list[Check]:
        same = results["ours"] == results["read through HDF5, turned one by one"]
        return [Check("the same losses", float(same), least=1)]

    return Task(
        name=f"{steps} steps of {case.name} at {name} scale",
        variants=[
            Variant("ours", partial(run, plain=False)),
            Variant("read through HDF5, turned one by one", partial(run, plain=True)),
        ],
        agreement=agreement,
        goals={"read through HDF5, turned one by one": 0.95},
    )


def waiting(case: Case, files: CategoryFiles, name: str, steps: int, *, every_step: bool) -> Task:
    """How long a device that is 20 times faster than this processor waits: at most 10 % of the
    time, where it takes as many steps as this one would have taken it 20 times as long for.
    """
    model, device = case.build(), torch.device("cpu")
    clock, _ = take_steps(case, model, drawer(case, files), steps=steps, device=device)
    asleep_s = float(np.median(clock.stepping_s)) / TIMES_FASTER
    longer = steps * (TIMES_FASTER if every_step else 1)

    def run() -> float:
        return waiting_share(case, files, steps=longer, asleep_s=asleep_s, readers=2)

    def agreement(results: Results) -> list[Check]:
        most = MOST_WAITING if every_step else 1.0
        return [Check("share of the time spent waiting", results["ours"], least=0, most=most)]

    title = f"waiting of a device {TIMES_FASTER} times faster, {1e3 * asleep_s:.0f} ms a step"
    return Task(f"{title}, at {name} scale", [Variant("ours", run)], agreement)


def waiting_share(
    case: Case, files: CategoryFiles, *, steps: int, asleep_s: float, readers: int
) -> float:
    """The share of the time that a device waits which sleeps so long for every step."""
    from adclick.training.batches import read_ahead, send
    from adclick.training.clicking import start_clicks

    draw, cells = drawer(case, files), getattr(case.build(), "click_cells", None)
    clock, device = Clock(), torch.device("cpu")

    def prepare(step: int) -> Any:
        batch = draw(step)
        clicks = start_clicks(batch, case.plan, cells=cells, seed=SEED, step=step)
        return send(batch, clicks, device)

    for _ in read_ahead(prepare, range(steps), readers=readers, clock=clock):
        time.sleep(asleep_s)
    filled = min(len(clock.waiting_s) // 2, readers + 1)  # nothing is ahead of the first steps
    return Clock(clock.waiting_s[filled:], clock.stepping_s[filled:]).waiting_share


def _through_hdf5(pool: Pool) -> Pool:
    labels = None if pool.labels is None else pool.labels.array
    return replace(pool, residuals=pool.residuals.array, images=pool.images.array, labels=labels)


def _turned_here(batch: Batch) -> Batch:
    def each(arrays: np.ndarray) -> np.ndarray:
        return np.stack(
            [turned(array[None], [turn])[0] for array, turn in zip(arrays, turns, strict=True)]
        )

    turns: Sequence[Turn] = batch.turns
    single = each(batch.residuals.astype(np.float32))
    return replace(
        batch,
        residuals=single * batch.gains[:, None, None, None],
        gains=np.ones_like(batch.gains),
        images=each(batch.images),
        labels=each(batch.labels),
        turns=[Turn(0, False)] * len(turns),
    )
