"""Clicks decoded by what they change give the answers of `decode`, in any order."""

import numpy as np
import pytest
import torch

from adclick.clicks import Click
from adclick.models import incremental
from adclick.models.adclick import ADClick, build_adclick
from adclick.models.adclick_seg import ADClickSeg, build_adclick_seg
from adclick.models.checkpoints import seeded
from adclick.models.incremental import ClickDecoder
from adclick.network_input import click_maps

PX, GRID = 256, 32
TRUNK = {
    "grid": GRID,
    "image_px": PX,
    "residual_channels": 4,
    "dim": 16,
    "depth": 3,
    "heads": 2,
    "window": 4,
    "drop_path": 0.1,
    "click_init": "visible",
}
DECODER = {
    "click_cells": None,
    "inputs": "residual",
    "image_channels": [],
    "neck_channels": [8, 8, 8, 8],
    "neck_strides": [4, 8, 16, 32],
    "head_hidden": 8,
}
LANGUAGE = {
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "heads": [1, 1, 1, 1],
    "window": 4,
    "text_channels": 6,
    "trainable": "all",
}
POINTS = [Click(40, 40, True), Click(60, 52, True), Click(30, 90, False), Click(200, 210, True)]
Model = ADClick | ADClickSeg


def build(kind: str, *, language: bool = True, **changes: object) -> Model:
    sizes: dict[str, object] = TRUNK | {"language": LANGUAGE if language else None} | changes
    if kind == "adclick":
        return seeded(build_adclick, 0, **DECODER, **sizes).eval()
    shortcut = {"shortcut": kind.endswith("shortcut"), "image_channels": None}
    return seeded(build_adclick_seg, 0, **shortcut, **sizes).eval()


def opened(model: Model, *, texts: int = 1) -> tuple[torch.Tensor, list[torch.Tensor]]:
    draw = torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, PX, PX, generator=draw)
    with torch.no_grad():
        tokens = model.embed(torch.rand(1, 4, GRID, GRID, generator=draw), image)
        maps = model.language_maps(
            image,
            torch.randn(texts, 6, 5, generator=draw),
            torch.ones(texts, 5),
        )
    return tokens, maps


def mask(row: int, column: int, radius: int) -> np.ndarray:
    rows, columns = np.mgrid[:PX, :PX]
    return ((rows - row) ** 2 + (columns - column) ** 2 < radius**2).astype(np.float32)


def given(clicks: list[Click], previous: np.ndarray | None) -> torch.Tensor:
    maps = click_maps(clicks, previous, shape=(PX, PX), radius_px=3.0, graph=None)
    return torch.from_numpy(maps[None])


# Clicks with masks that grow, jump to another place, and go back: what labelling and undo do.
INPUTS = [
    given([], None),
    given(POINTS[:1], None),
    given(POINTS[:2], mask(45, 45, 20)),
    given(POINTS[:2], mask(45, 45, 20)),
    given(POINTS[:3], mask(48, 50, 24)),
    given(POINTS, np.maximum(mask(48, 50, 24), mask(200, 210, 9))),
    given(POINTS[:1], None),
]


@pytest.mark.parametrize("language", [True, False])
@pytest.mark.parametrize("kind", ["adclick", "adclick_seg", "adclick_seg shortcut"])
@pytest.mark.parametrize("order", [INPUTS, INPUTS[::-1]], ids=["on", "back"])
def test_answers_are_those_of_decode(kind: str, language: bool, order) -> None:
    model = build(kind, language=language)
    tokens, maps = opened(model)
    decoder = ClickDecoder(model, tokens, maps)
    answers = []
    for clicks in order:
        with torch.no_grad():
            expected = model.decode(tokens, clicks, maps)
        answers.append(decoder.decode(clicks))
        torch.testing.assert_close(answers[-1], expected, atol=1e-5, rtol=1e-5)
    assert (answers[1] - answers[4]).abs().max() > 1e-4


@pytest.mark.parametrize("kind", ["adclick", "adclick_seg"])
def test_only_windows_that_a_click_reaches_are_computed(kind: str, monkeypatch) -> None:
    model = build(kind)
    decoder = ClickDecoder(model, *opened(model))
    decoder.decode(INPUTS[0])
    seen = []
    for block in model.trunk.blocks:
        block.norm2.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    decoder.decode(INPUTS[1])  # one disk of 7 pixels at (40, 40), across four tokens of one window
    assert seen == [1, 4, 9]
    seen.clear()
    decoder.decode(INPUTS[1])
    assert seen == []


@pytest.mark.parametrize("kind", ["adclick", "adclick_seg"])
def test_a_change_everywhere_is_decoded_as_a_whole(kind: str) -> None:
    model = build(kind)
    tokens, maps = opened(model)
    decoder = ClickDecoder(model, tokens, maps)
    draw = np.random.default_rng(0)
    for index in range(3):
        clicks = given(POINTS[:index], draw.random((PX, PX)).astype(np.float32))
        with torch.no_grad():
            expected = model.decode(tokens, clicks, maps)
        assert (decoder.decode(clicks) - expected).abs().max() < 1e-5
        assert (decoder._kept is None) == (index == 1)


@pytest.mark.parametrize(
    ("changes", "texts"), [({"window": 5}, 1), ({}, 3)], ids=["windows not filled", "three texts"]
)
def test_what_cannot_be_kept_is_decoded_as_a_whole(changes, texts: int) -> None:
    model = build("adclick", **changes)
    tokens, maps = opened(model, texts=texts)
    decoder = ClickDecoder(model, tokens, maps)
    for clicks in INPUTS[:3]:
        with torch.no_grad():
            expected = model.decode(tokens, clicks, maps)
        assert torch.equal(decoder.decode(clicks), expected)


def test_a_window_as_large_as_the_grid_does_not_shift() -> None:
    model = build("adclick", window=GRID)
    tokens, maps = opened(model)
    decoder = ClickDecoder(model, tokens, maps)
    for clicks in INPUTS[:3]:
        with torch.no_grad():
            expected = model.decode(tokens, clicks, maps)
        torch.testing.assert_close(decoder.decode(clicks), expected, atol=1e-5, rtol=1e-5)


def test_answers_are_the_callers_own() -> None:
    model = build("adclick")
    decoder = ClickDecoder(model, *opened(model))
    first = decoder.decode(INPUTS[1])
    before = first.clone()
    first.zero_()
    decoder.decode(INPUTS[2])
    assert torch.equal(decoder.decode(INPUTS[2]), decoder.decode(INPUTS[2]))
    torch.testing.assert_close(decoder.decode(INPUTS[1]), before, atol=1e-6, rtol=1e-6)
    assert incremental.TILE % 2 == 0, "tiles hold whole steps of the neck's convolutions"
