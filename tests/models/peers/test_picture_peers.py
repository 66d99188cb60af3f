"""Peers that see the picture alone: the random walker, the watershed and GrabCut."""

from functools import partial

import cv2
import numpy as np
import pytest

from adclick.clicks import seeded
from adclick.clicks.click import Click
from adclick.models.peers import grabcut, random_walker, watershed

SIDE = 24
open_grabcut = partial(grabcut.open_peer, device=None)
open_walker = partial(random_walker.open_peer, device=None)
open_watershed = partial(watershed.open_peer, device=None)
OPENERS = [open_walker, open_watershed, open_grabcut]
INSIDE, OUTSIDE = Click(11, 11, True), Click(3, 3, False)


def picture(contrast: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """A square on a plain ground, a little noise over both, and its mask."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[7:16, 7:16] = True
    noise = np.random.default_rng(0).integers(0, 6, (SIDE, SIDE, 3))
    return (80 + contrast * mask[:, :, None] + noise).astype(np.uint8), mask


@pytest.mark.parametrize("opener", OPENERS)
def test_one_click_finds_what_its_edges_enclose(opener) -> None:
    image, mask = picture()
    answer = opener(image, radius_px=3)([INSIDE], None)
    assert answer.shape == mask.shape
    assert answer.dtype == np.float32
    if opener is open_watershed:  # an edge of Sobel's gradient is two pixels wide
        assert (answer > 0.5)[8:15, 8:15].all()
        outside = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3))) == 0
        assert not (answer > 0.5)[outside].any()
    else:
        assert np.array_equal(answer > 0.5, mask)


@pytest.mark.parametrize("opener", OPENERS)
def test_clicks_are_certain_and_none_is_nothing(opener) -> None:
    image, _ = picture()
    predict = opener(image, radius_px=2)
    answer = predict([INSIDE, Click(20, 20, True), Click(11, 14, False)], None)
    assert answer[11, 11] == answer[20, 20] == 1
    assert answer[11, 14] == 0
    assert not predict([], None).any()
    assert not predict([OUTSIDE], None).any()


@pytest.mark.parametrize("opener", OPENERS)
def test_the_frame_is_background_but_under_a_positive_click(opener) -> None:
    image, _ = picture()
    answer = opener(image, radius_px=2)([Click(0, 12, True)], None)
    assert answer[0, 12] == 1
    assert answer[SIDE - 1].max() == answer[0, 0] == 0


@pytest.mark.parametrize("opener", OPENERS)
def test_a_flat_picture_a_tiny_disk_and_a_click_everywhere_are_answered(opener) -> None:
    flat = np.full((SIDE, SIDE, 3), 100, np.uint8)
    for radius_px in (0, 100):
        answer = opener(flat, radius_px=radius_px)([Click(12, 12, True)], None)
        assert np.isfinite(answer).all()
        assert answer[12, 12] == 1


def test_the_walk_is_harmonic() -> None:
    """Every free pixel has the weighted mean of its neighbours, by the library's weights."""
    image, _ = picture(contrast=20)
    answer = open_walker(image, radius_px=1)([INSIDE, OUTSIDE], None).astype(float)
    colours = image.astype(float) / 255
    for row, column in ((5, 5), (12, 17), (20, 4), (9, 14)):
        weights, values = [], []
        for step in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            other = (row + step[0], column + step[1])
            difference = float(((colours[row, column] - colours[other]) ** 2).sum())
            weights.append(np.exp(-130 * difference / (10 * colours.std() * np.sqrt(3))))
            values.append(answer[other])
        assert answer[row, column] == pytest.approx(np.average(values, weights=weights), abs=5e-3)


def test_a_seed_that_touches_no_free_pixel_stands() -> None:
    image, _ = picture()
    for opener in OPENERS:
        answer = opener(image, radius_px=0)([Click(0, 0, True)], None)
        assert answer[0, 0] == 1
        assert answer[1:, 1:].max() < 0.5


def test_a_disk_that_covers_the_frame_leaves_no_background() -> None:
    image, _ = picture()
    around = [Click(at, side, True) for at in range(SIDE) for side in (0, SIDE - 1)]
    around += [Click(one.column, one.row, True) for one in around]
    for opener in (open_walker, open_watershed):
        assert opener(image, radius_px=0)(around, None).min() > 0.99


def test_an_edge_holds_the_walkers_back() -> None:
    reached = [
        open_walker(picture(contrast)[0], radius_px=2)([INSIDE], None)[11, 18]
        for contrast in (0, 120)
    ]
    assert reached[1] < 0.1 < reached[0]


def test_a_large_picture_is_walked_small_and_answered_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image, mask = picture()
    monkeypatch.setattr(seeded, "LARGEST_SIDE_PX", 12)
    answer = open_walker(image, radius_px=2)([INSIDE], None)
    assert answer.shape == mask.shape
    assert ((answer > 0.5) & mask).sum() / ((answer > 0.5) | mask).sum() > 0.7
