"""A long stage that is killed goes on where it was, and ends with the same bytes."""

import os
import signal
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from adclick.residuals import streaming as backbone
from adclick.run import parts
from adclick.run.artifacts import image_ids, open_arrays
from adclick.run.config import Config
from tests.chain import Step, micro_config, steps

pytestmark = pytest.mark.slow

NEEDED = ("draw_toy", "make_manifest", "extract_features", "fit_retrieval", "fit_foreground")
# The long stages, and the function of the backbone that each calls for every image.
CALLS = {
    "extract_features": "extract",
    "find_neighbours real": "first_map",
    "compute_residuals real": "extract",
}
STAGES = tuple(CALLS)


@pytest.fixture(scope="module")
def config() -> Config:
    """One image at a time."""
    config = micro_config()
    features = config.features.model_copy(update={"batch_size": 1})
    return config.model_copy(update={"features": features})


@pytest.fixture(scope="module", autouse=True)
def two_images_a_part() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "IMAGES", 2)
        yield


@pytest.fixture(scope="module")
def folder(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the stages read, and what they make when they run through."""
    target = tmp_path_factory.mktemp("killed")
    for name in (*NEEDED, *STAGES[1:]):
        steps(config)[name].run(config, target)
    return target


def in_a_process_of_its_own(work: Callable[[], None]) -> int:
    """What ended it: the number of the signal, negative, or its exit code."""
    process = os.fork()
    if process == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def run_and_die(step: Step, argv: list[str], name: str, images: int) -> None:
    """Run a stage until it has seen so many images; then nothing, not even `finally`, runs."""
    seen, look = [], getattr(backbone, name)

    def deadly(*given: Any, **settings: Any) -> Any:
        if len(seen) == images:
            os.kill(os.getpid(), signal.SIGKILL)
        seen.append(0)
        return look(*given, **settings)

    setattr(backbone, name, deadly)
    import_module(f"adclick.commands.{step.command}").main(argv)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_stage_goes_on_and_ends_with_the_same_bytes(
    stage: str, config: Config, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = steps(config)[stage]
    argv = step.argv(config, folder, into=tmp_path)
    looks = 1 if stage == "extract_features" else 0  # it sees its first image once more, for sizes
    ended = in_a_process_of_its_own(lambda: run_and_die(step, argv, CALLS[stage], images=3 + looks))
    assert ended == -signal.SIGKILL
    name, path = next(iter(step.outputs.items()))
    made, kept = tmp_path / f"{name}.h5", tmp_path / f".{name}.h5.parts"
    assert not made.exists()
    assert sorted(part.name for part in kept.iterdir()) == [".2.h5.part", "0.h5"]

    seen, look = [], getattr(backbone, CALLS[stage])
    monkeypatch.setattr(
        backbone,
        CALLS[stage],
        lambda *given, **settings: seen.append(0) or look(*given, **settings),
    )
    step.run(config, folder, into=tmp_path)
    assert made.read_bytes() == (folder / path).read_bytes()
    assert [item.name for item in tmp_path.iterdir()] == [made.name]
    with open_arrays(made) as file:
        assert len(seen) == looks + len(image_ids(file)) - 2


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_parts_that_another_device_made_are_made_anew(
    config: Config, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = steps(config)["find_neighbours real"]
    argv = step.argv(config, folder, into=tmp_path)
    in_a_process_of_its_own(lambda: run_and_die(step, argv, "first_map", images=3))
    monkeypatch.setattr(backbone, "device_name", lambda device: f"not {device}")
    seen, look = [], backbone.first_map
    monkeypatch.setattr(backbone, "first_map", lambda *given: seen.append(0) or look(*given))
    step.run(config, folder, into=tmp_path)
    name = next(iter(step.outputs))
    with open_arrays(tmp_path / f"{name}.h5") as file:
        assert len(seen) == len(image_ids(file))
