"""A training that goes on from its progress ends as one that ran through, bit for bit."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from adclick.training import fit, resuming
from adclick.training.loop import train
from adclick.training.plan import Plan
from adclick.training.resuming import Progress, progress_of
from tests.chain import Step, micro_config, steps
from tests.training.test_loop import CPU, adclick, batch, plan

pytestmark = pytest.mark.slow

STEPS = 6
FAMILIES = ("pretrain_adclick", "train_adclick", "pretrain_adclick_seg", "train_adclick_seg weak")


class StoppedError(Exception):
    pass


def dying(step: int) -> Callable[[int], Any]:
    """Batches that differ by step; the one of `step` never comes."""

    def draw(number: int) -> Any:
        if number == step:
            raise StoppedError
        return batch(number)

    return draw


def progress_in(folder: Path, stamp: str = "mine") -> Progress:
    kept = progress_of(folder / "weights.safetensors", {"settings": stamp}, CPU)
    return replace(kept, every_s=0.0)


def run_through() -> tuple[dict[str, torch.Tensor], list[float]]:
    trained, losses = train(adclick(), batch, plan(steps=STEPS), seed=0, device=CPU)
    return trained.state_dict(), losses


def killed_at(
    step: int, progress: Progress, known: Plan | None = None, device: torch.device = CPU
) -> None:
    known = known or plan(steps=STEPS)
    with pytest.raises(StoppedError):
        train(adclick(), dying(step), known, seed=0, device=device, progress=progress)


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    expected, losses = run_through()
    progress = progress_in(tmp_path)
    killed_at(4, progress)
    drawn = []

    def draw(number: int) -> Any:
        drawn.append(number)
        return batch(number)

    model = adclick()
    trained, found = train(model, draw, plan(steps=STEPS), seed=0, device=CPU, progress=progress)
    assert drawn[0] >= 3, "the steps before are not done again"
    assert found == losses
    state = trained.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_a_training_may_be_killed_more_than_once(tmp_path: Path) -> None:
    expected, losses = run_through()
    progress = progress_in(tmp_path)
    for step in (2, 4, 5):
        killed_at(step, progress)
    trained, found = train(
        adclick(), batch, plan(steps=STEPS), seed=0, device=CPU, progress=progress
    )
    assert found == losses
    assert all(torch.equal(trained.state_dict()[name], expected[name]) for name in expected)


@pytest.mark.parametrize("spoil", ["other stamp", "damaged", "other device"])
def test_progress_of_another_training_is_ignored(spoil: str, tmp_path: Path) -> None:
    expected, losses = run_through()
    stamp = "another" if spoil == "other stamp" else "mine"
    progress = progress_in(tmp_path, stamp)
    if spoil == "other device":
        progress = replace(progress, stamp={**progress.stamp, "device": "cuda"})
    killed_at(4, progress)
    if spoil == "damaged":
        progress.path.write_bytes(progress.path.read_bytes()[:1000])
    trained, found = train(
        adclick(), batch, plan(steps=STEPS), seed=0, device=CPU, progress=progress_in(tmp_path)
    )
    assert found == losses
    assert all(torch.equal(trained.state_dict()[name], expected[name]) for name in expected)


def test_nothing_is_kept_before_it_is_time(tmp_path: Path) -> None:
    progress = replace(progress_in(tmp_path), every_s=3600.0)
    killed_at(4, progress)
    assert not any(tmp_path.iterdir())


# --- the commands, in processes that are really killed --------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the trainings read, and what they make when they run through."""
    target = tmp_path_factory.mktemp("trained")
    listed = steps(micro_config())
    last = list(listed).index(FAMILIES[-1])
    for step in list(listed.values())[: last + 1]:
        step.run(micro_config(), target)
    return target


def run_and_die(step: Step, folder: Path, into: Path) -> int | None:
    """The signal that ended a training which had its last batch still to draw.

    In a new process, not a fork: torch refuses to differentiate in a fork of one that had threads.
    """
    process = multiprocessing.get_context("spawn").Process(target=die, args=(step, folder, into))
    process.start()
    process.join()
    return process.exitcode


def die(step: Step, folder: Path, into: Path) -> None:
    look = fit.draw_batch

    def deadly(*given: Any, step: int, **named: Any) -> Any:
        if step == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return look(*given, step=step, **named)

    resuming.EVERY_S = 0.0
    fit.draw_batch = deadly  # type: ignore[assignment]
    step.run(micro_config(), folder, into=into)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_killed_command_goes_on_and_ends_with_the_same_bytes(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adclick.training.resuming.EVERY_S", 0.0)
    step = steps(micro_config())[name]
    assert run_and_die(step, folder, tmp_path) == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == ["weights.resume.safetensors"]

    drawn, look = [], fit.draw_batch
    monkeypatch.setattr(
        fit,
        "draw_batch",
        lambda *given, **named: drawn.append(named["step"]) or look(*given, **named),
    )
    step.run(micro_config(), folder, into=tmp_path)
    assert sorted(drawn)[0] > 0
    made = (tmp_path / "weights.safetensors").read_bytes()
    assert made == (folder / step.outputs["weights"]).read_bytes()
    left = sorted(path.name for path in tmp_path.glob("[!.]*"))
    assert left == ["record.json", "weights.safetensors"]
