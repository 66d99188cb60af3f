"""The two ends of the pipe to anomalib's environment; and its models, where it is installed."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adclick.run.errors import InputError
from adclick.run.kinds import kinds_of, load_kind
from adclick.run.settings.peers import DETECTOR_PEERS, PYTHON, wanted_of
from adclick.run.settings.residuals import Features
from adclick.training.anomalib_peer import _steps, learn
from adclick.training.anomalib_runner import answer_all, raw_map
from adclick.training.peer_pictures import Picture, Pictures

PYTHON_OF_ANOMALIB = Path(__file__).parents[2] / ".venv-anomalib/bin/python"
FOREIGN = [name for name in kinds_of(DETECTOR_PEERS) if PYTHON in wanted_of(name)]
FEATURES = Features.model_validate(
    {
        **{"backbone": "resnet18", "weights": {"source": "seeded", "seed": 0}},
        **{"layers": [1, 2, 3], "layer_dimensions": [8, 8, 8], "dimension": 24, "stride": 8},
        "batch_size": 4,
    }
)


class Model(torch.nn.Module):
    """A model as the library has it, whose map is the picture's brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def pre_processor(self, batch: torch.Tensor) -> torch.Tensor:
        return 2 * batch

    def model(self, batch: torch.Tensor) -> Any:
        return type("Answer", (), {"anomaly_map": batch.mean(dim=1)})


def normal(count: int = 6, size: tuple[int, int] = (64, 48)) -> Pictures:
    drawn = np.random.default_rng(0).integers(100, 140, (count, *size, 3)).astype(np.uint8)
    return Pictures(drawn, None, range(count), None)


def asked(**changes: Any) -> dict[str, Any]:
    given = {
        **{"normal": normal(), "backbone": FEATURES, "textures": None, "python": sys.executable},
        **{"seed": 0, "device": torch.device("cpu"), "epochs": 1, "batch": 4, "most_steps": 0},
    }
    return given | changes


def test_a_map_is_the_models_own_at_the_pictures_size() -> None:
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[1, 2] = 255
    found = raw_map(Model(), picture)
    assert found.shape == (4, 6) and found.dtype == np.float32
    assert found[1, 2] == 2  # above 1: nothing was cut off
    assert found.sum() == 2


def test_every_picture_is_answered_until_no_more_come(tmp_path: Path) -> None:
    pictures = np.random.default_rng(1).integers(0, 255, (3, 4, 6, 3)).astype(np.uint8)
    (tmp_path / "pictures").write_bytes(pictures.tobytes())
    with (tmp_path / "pictures").open("rb") as sent, (tmp_path / "maps").open("wb") as replies:
        answer_all(Model(), (4, 6, 3), sent, replies)
    maps = np.frombuffer((tmp_path / "maps").read_bytes(), np.float32).reshape(3, 4, 6)
    np.testing.assert_allclose(maps, 2 * pictures.mean(axis=3) / 255, atol=1e-6)


def test_an_interpreter_that_is_not_there_is_one_line() -> None:
    with pytest.raises(InputError, match="/no/python: cannot be run .*run `make peers`"):
        learn("Padim", {}, **asked(python="/no/python"))


def test_an_interpreter_without_the_library_is_one_line() -> None:
    with pytest.raises(InputError, match=r"anomalib ended early \(status 1\); the lines above"):
        learn("Padim", {}, **asked())


def test_no_bar_of_progress_fills_the_log(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$TQDM_DISABLE" > "{tmp_path}/said"\nexit 1\n')
    python.chmod(0o755)
    with pytest.raises(InputError, match="ended early"):
        learn("Padim", {}, **asked(python=str(python)))
    assert (tmp_path / "said").read_text() == "1\n"


def test_weights_that_do_not_fit_are_found_before_the_library_runs(tmp_path: Path) -> None:
    weights = {"source": "file", "file": str(tmp_path / "none.safetensors"), "seed": 0}
    wrong = FEATURES.model_copy(update={"weights": FEATURES.weights.model_copy(update=weights)})
    with pytest.raises(InputError, match=r"none\.safetensors"):
        learn("Padim", {}, **asked(backbone=wrong))


def test_a_training_is_shortened_only_where_it_is_longer() -> None:
    assert _steps(100, epochs=10, batch=32, most=0) == 0
    assert _steps(100, epochs=10, batch=32, most=30) == 0
    assert _steps(100, epochs=10, batch=32, most=29) == 29


@pytest.mark.skipif(not PYTHON_OF_ANOMALIB.exists(), reason="no anomalib: make peers")
@pytest.mark.parametrize("peer", FOREIGN)
def test_anomalibs_models_answer(peer: str) -> None:
    given = asked(python=str(PYTHON_OF_ANOMALIB), most_steps=1)
    own = {name: given[name] for name in wanted_of(peer)}
    found = load_kind(DETECTOR_PEERS, peer).fit_peer(**own, batch=4, most_steps=1)
    shown = found.map_of(Picture(normal()[0].image, None))
    assert shown.shape == (64, 48)
    assert np.isfinite(shown).all() and shown.std() > 0
    assert found.parameters > 0
    assert found.finish()["peak_memory_mb"]["process"] > 0
    json.dumps(found.facts)
