from dataclasses import replace

import cv2
import numpy as np
import pytest

from adclick.clicks.click import Click
from adclick.clicks.edges import (
    LARGEST_WINDOW_PX,
    MARGIN_PX,
    PreparedPicture,
    clicked_pixels,
    follow_edges,
    mean_squared_step,
    seeds_of,
    sharpened,
    solve,
    trust_of,
    window_around,
)
from adclick.clicks.edges import prepare as prepare_picture
from adclick.clicks.edges_kernel import LEAST_PASSAGE
from adclick.run.settings.clicks import Edges

SETTINGS = Edges(
    trust=0.1,
    least_trust=0.02,
    early_trust=0.0,
    prior_power=1.0,
    sharpness=2.0,
    likeness=4.0,
)
THRESHOLD = 0.49


def prepare(image: np.ndarray, settings: Edges = SETTINGS) -> PreparedPicture:
    return prepare_picture(image, settings, radius_px=3.0)


def noise(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3)).astype(np.uint8)


def halves(shape: tuple[int, int] = (32, 40)) -> np.ndarray:
    """Left half dark, right half bright, with a little texture."""
    image = np.full((*shape, 3), 60, np.uint8)
    image[:, shape[1] // 2 :] += np.uint8(120)
    return image + np.random.default_rng(0).integers(0, 4, image.shape).astype(np.uint8)


def even(shape: tuple[int, int], probability: float) -> np.ndarray:
    return np.full(shape, probability, np.float32)


def slow_solution(
    image: np.ndarray, prior: np.ndarray, clicks: dict[tuple[int, int], bool], trust: float
) -> np.ndarray:
    """The minimum by a dense linear system, clicked pixels alone being seeds."""
    colours = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).astype(float)
    height, width = prior.shape
    mean = np.mean(
        [
            *np.square(np.diff(colours, axis=0)).sum(2).ravel(),
            *np.square(np.diff(colours, axis=1)).sum(2).ravel(),
        ]
    )
    matrix = np.zeros((height * width, height * width))
    for row, column in np.ndindex(height, width):
        for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
            other = (row + down, column + right)
            if other[0] < height and 0 <= other[1] < width:
                squared = np.square(colours[row, column] - colours[other]).sum()
                factor = np.sqrt(0.5) if down and right else 1.0
                weight = factor * (np.exp(-2 * squared / (factor**2 * mean)) + LEAST_PASSAGE)
                a, b = row * width + column, other[0] * width + other[1]
                matrix[[a, b], [b, a]] -= weight
                matrix[[a, b], [a, b]] += weight
    weights, believed = even(prior.shape, trust).astype(float), prior.astype(float)
    for place, positive in clicks.items():
        weights[place], believed[place] = 1e6, positive
    matrix += np.diag(weights.ravel())
    return np.linalg.solve(matrix, (weights * believed).ravel()).reshape(prior.shape)


def test_the_solution_is_that_of_the_linear_system() -> None:
    image = cv2.GaussianBlur(noise((12, 17)), (0, 0), 1)
    prior = np.random.default_rng(1).random((12, 17)).astype(np.float32)
    clicks = {(2, 3): True, (9, 12): False, (0, 16): True}
    settings = SETTINGS.model_copy(update=dict(likeness=-1.0))
    trust = trust_of(prior, clicks, prior.shape, settings)
    found = solve(
        prepare(image, settings),
        prior,
        [Click(*at, is_on) for at, is_on in clicks.items()],
    )
    np.testing.assert_allclose(found, slow_solution(image, prior, clicks, trust), atol=1e-3)


@pytest.mark.parametrize("seed", range(40))
def test_every_click_is_kept_whatever_is_clicked_and_believed(seed: int) -> None:
    generator = np.random.default_rng(seed)
    shapes = [(1, 1), (1, 30), (23, 1), (2, 2), (37, 18), (64, 64), (7, 450), (500, 90)]
    shape = shapes[seed % len(shapes)]
    image = noise(shape, seed) if seed % 3 else np.full((*shape, 3), 90, np.uint8)
    prior = generator.random(shape).astype(np.float32)
    if seed % 4 == 0:
        prior = np.round(prior)
    near = generator.integers(0, shape, 2)
    clicks = []
    for _ in range(int(generator.integers(1, 12))):
        beside = near + generator.integers(-1, 2, 2)  # beside, on top of each other, or outside
        at = beside if generator.random() < 0.6 else generator.integers(-3, np.add(shape, 3))
        clicks.append(Click(int(at[0]), int(at[1]), bool(generator.integers(2))))
    settings = SETTINGS.model_copy(
        update=dict(early_trust=float(generator.choice([0, 10])), prior_power=2.0)
    )
    found = solve(prepare(image, settings), prior, clicks)
    assert found.shape == shape
    assert found.min() >= 0 and found.max() <= 1
    last = {
        (min(max(click.row, 0), shape[0] - 1), min(max(click.column, 0), shape[1] - 1)): click
        for click in clicks
    }
    for place, click in last.items():
        assert (found[place] > THRESHOLD) == click.positive
        assert found[place] == click.positive


def test_a_click_that_the_prior_denies_fills_its_side_of_an_edge() -> None:
    settings = SETTINGS.model_copy(update=dict(trust=1e-4))
    found = solve(prepare(halves(), settings), even((32, 40), 0.2), [Click(16, 8, True)])
    assert found[:, :20].min() > THRESHOLD > found[:, 20:].max()


def test_the_answer_follows_the_prior_where_trust_is_large() -> None:
    prior = np.random.default_rng(0).random((32, 40)).astype(np.float32)
    settings = SETTINGS.model_copy(update=dict(trust=1e4, least_trust=1.0, likeness=-1.0))
    found = solve(prepare(halves(), settings), prior, [Click(3, 4, True)])
    prior[3, 4] = 1
    np.testing.assert_allclose(found, prior, atol=1e-2)


def test_no_click_leaves_the_prior_as_it_is() -> None:
    prior = np.random.default_rng(0).random((32, 40)).astype(np.float32)
    np.testing.assert_array_equal(solve(prepare(halves()), prior, []), prior)


def test_a_mirrored_picture_has_the_mirrored_answer() -> None:
    image, prior = noise((20, 26)), np.random.default_rng(3).random((20, 26)).astype(np.float32)
    settings = SETTINGS.model_copy(update=dict(least_trust=1.0))
    clicks = [Click(4, 5, True), Click(15, 20, False)]
    mirrored = [replace(click, column=25 - click.column) for click in clicks]
    found = solve(prepare(image, settings), prior, clicks)
    other = solve(prepare(np.ascontiguousarray(image[:, ::-1]), settings), prior[:, ::-1], mirrored)
    np.testing.assert_allclose(found, other[:, ::-1], atol=2e-3)


def test_what_is_far_from_all_clicks_keeps_its_prior_on_a_large_picture() -> None:
    prior = np.random.default_rng(0).random((40, 900)).astype(np.float32)
    found = solve(prepare(noise((40, 900))), prior, [Click(20, 300, True)])
    changed = np.flatnonzero((found != prior).any(axis=0))
    assert 300 - MARGIN_PX <= changed.min() < 300 < changed.max() <= 300 + MARGIN_PX


def test_a_prior_of_another_size_is_resized() -> None:
    found = solve(prepare(halves()), even((8, 8), 0.3), [Click(2, 2, True)])
    assert found.shape == (32, 40)


def test_a_small_picture_is_a_window_and_a_large_one_has_one_around_its_clicks() -> None:
    assert window_around({(2, 3): True}, (50, 60)) == (0, 50, 0, 60)
    side = LARGEST_WINDOW_PX * 3
    box = window_around({(500, 2): True, (510, 40): False}, (side, side))
    assert box == (500 - MARGIN_PX, 511 + MARGIN_PX, 0, 41 + MARGIN_PX)


def test_the_last_window_is_used_again() -> None:
    prepared = prepare(halves())
    solve(prepared, even((32, 40), 0.3), [Click(2, 2, True)])
    (window,) = prepared.opened.values()
    solve(prepared, even((32, 40), 0.3), [Click(20, 30, True)])
    assert list(prepared.opened.values())[0] is window


def test_seeds_are_pixels_of_a_clicks_colour_and_go_to_the_nearest_click() -> None:
    colours = np.zeros((7, 9, 3), np.float32)
    colours[:, 5:] = 50
    clicked = {(3, 3): True, (3, 4): False}
    positive, negative = seeds_of(colours, clicked, radius_px=3.0, largest_difference=1.0)
    assert positive[3].tolist() == [False, True, True, True, False, False, False, False, False]
    assert negative[3].tolist() == [False, False, False, False, True, False, False, False, False]
    assert not (positive & negative).any()


def test_the_last_click_on_a_pixel_counts() -> None:
    clicks = [Click(1, 1, True), Click(1, 1, False), Click(-5, 9, True)]
    assert clicked_pixels(clicks, (4, 6)) == {(1, 1): False, (0, 5): True}


def test_trust_falls_with_the_clicks_that_a_prior_denies_and_with_the_area() -> None:
    prior = even((128, 128), 0.9)
    clicks = {(1, 1): True, (5, 5): False}
    assert trust_of(prior, {(1, 1): True}, (128, 128), SETTINGS) == pytest.approx(0.1)
    assert trust_of(prior, clicks, (128, 128), SETTINGS) == pytest.approx(0.025)
    assert trust_of(prior, {(5, 5): False}, (128, 128), SETTINGS) == pytest.approx(0.002)
    assert trust_of(prior, {(1, 1): True}, (256, 256), SETTINGS) == pytest.approx(0.025)
    early = SETTINGS.model_copy(update=dict(early_trust=8.0))
    assert trust_of(prior, {(1, 1): True, (2, 2): True}, (128, 128), early) == pytest.approx(0.3)


def test_sharpened_odds() -> None:
    given = np.array([[0.0, 0.2, 0.5, 1.0]], np.float32)
    np.testing.assert_allclose(sharpened(given, 2.0), [[0, 1 / 17, 0.5, 1]], atol=1e-6)


def test_mean_squared_step_by_hand() -> None:
    colours = np.zeros((2, 2, 3), np.float32)
    colours[0, 0, 0] = 2
    assert mean_squared_step(colours) == pytest.approx(2)  # two of four steps differ by 2
    assert mean_squared_step(colours[:1, :1]) == 0


def test_a_method_that_follows_edges_keeps_what_it_knew_and_every_click() -> None:
    asked = []

    def denies(clicks, previous):
        asked.append((clicks, previous))
        return even((32, 40), 0.1)

    predict = follow_edges(denies, prepare(halves()))
    clicks, before = [Click(4, 5, True), Click(9, 30, False)], even((32, 40), 0.3)
    found = predict(clicks, before)
    assert asked == [(clicks, before)]
    assert (found[4, 5], found[9, 30]) == (1, 0)
