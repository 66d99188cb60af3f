"""SimpleClick as a peer: sizes, mirror images, the second look."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adclick.clicks.click import Click
from adclick.models.peers import simpleclick
from adclick.networks.checkpoints import save_model, seeded
from adclick.networks.simpleclick import KIND, build_simpleclick

CPU = torch.device("cpu")
SIDE = 24
SIZES = {
    **{"image_px": 32, "patch": 4, "dim": 16, "depth": 2, "heads": 2, "window": 4},
    **{"global_every": 2, "neck_channels": [4, 4, 8, 8], "head_hidden": 8},
}
CLICK, OTHER = Click(6, 17, True), Click(20, 2, False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network of random weights, whose answers are far from even."""
    network = seeded(build_simpleclick, 0, **SIZES)
    with torch.no_grad():
        network.head.logit.weight.mul_(2000)
    path = tmp_path_factory.mktemp("simpleclick") / "weights.safetensors"
    save_model(path, network, sizes=SIZES, kind=KIND, extra={})
    return path


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[np.ndarray, torch.Tensor]]:
    """Pictures that were looked at."""
    seen: list[Any] = []
    look = simpleclick._look

    def watched(network: Any, image: np.ndarray, device: torch.device) -> Any:
        seen.append(image)
        return look(network, image, device)

    monkeypatch.setattr(simpleclick, "_look", watched)
    return seen


def opened(weights: Path, image: np.ndarray) -> Any:
    return simpleclick.open_peer(image, radius_px=3, device=CPU, weights=str(weights))


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)


def test_answers_are_probabilities_that_clicks_and_the_mask_before_change(weights: Path) -> None:
    predict = opened(weights, picture())
    first = predict([CLICK], None)
    assert first.shape == (SIDE, SIDE)
    assert first.dtype == np.float32
    assert 0 <= first.min() < first.max() <= 1
    second = predict([CLICK, OTHER], first)
    assert np.abs(first - second).max() > 1e-3
    assert np.abs(predict([CLICK, OTHER], None) - second).max() > 1e-4


def test_a_mirrored_picture_has_the_mirrored_answer(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simpleclick, "LEAST_SIDE", 1.0)  # one look
    image = picture()
    answer = opened(weights, image)([CLICK], None)
    moved = Click(CLICK.row, SIDE - 1 - CLICK.column, True)
    mirrored = opened(weights, image[:, ::-1].copy())([moved], None)
    assert np.allclose(mirrored[:, ::-1], answer, atol=2e-2)
    assert np.abs(answer - answer[:, ::-1]).max() > 0.1


def test_the_second_look_enlarges_the_part_around_the_click(
    weights: Path, looks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simpleclick, "THRESHOLD", 1.0)  # no mask: the click alone
    image = picture()
    opened(weights, image)([CLICK], None)
    whole, part = looks
    assert np.array_equal(whole, image)
    assert part.shape == image.shape
    side = int(np.ceil(SIDE * 200 / 448))
    top, left = round(CLICK.row + 0.5 - side / 2), round(CLICK.column + 0.5 - side / 2)
    inside = image[top : top + side, left : left + side]
    assert np.abs(part.mean((0, 1)) - inside.mean((0, 1))).max() < 12
    assert np.array_equal(part[0, 0], inside[0, 0])
