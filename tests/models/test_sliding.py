"""Sliding windows: one that covers all is the plain pass, several are averaged by coverage."""

import numpy as np
import pytest
import torch

from adclick.models.session import Session
from adclick.models.sliding import predict_in_windows, window_starts
from adclick.networks.adclick_seg import ADClickSeg, build_adclick_seg
from adclick.networks.checkpoints import seeded

STRIDE, GRID = 8, 8


@pytest.mark.parametrize(
    ("length", "window", "step", "starts"),
    [
        (64, 32, 8, [0, 8, 16, 24, 32]),  # reference implementation: 5 an axis, 25 in all
        (8, 4, 1, [0, 1, 2, 3, 4]),
        (9, 4, 2, [0, 2, 4, 5]),  # the last ends with the axis
        (8, 8, 3, [0]),
        (7, 3, 9, [0, 4]),
    ],
)
def test_windows_begin_a_step_apart_and_reach_the_end(
    length: int, window: int, step: int, starts: list[int]
) -> None:
    assert window_starts(length, window=window, step=step) == starts


@pytest.mark.parametrize(("window", "step"), [(0, 1), (9, 1), (4, 0)])
def test_windows_that_do_not_fit_are_refused(window: int, step: int) -> None:
    with pytest.raises(ValueError, match=f"window {window}, step {step}"):
        window_starts(8, window=window, step=step)


def session(texts: int = 2) -> Session:
    """An opened image of a detector whose head is as loud as a trained one's."""
    language = {
        **{"embed_dim": 8, "depths": [1, 1], "heads": [1, 1], "window": 4},
        **{"text_channels": 6, "trainable": "all"},
    }
    model: ADClickSeg = seeded(
        build_adclick_seg,
        0,
        **{"grid": GRID, "image_px": GRID * STRIDE, "residual_channels": 4, "dim": 16, "depth": 2},
        **{
            "heads": 2,
            "window": 4,
            "drop_path": 0.0,
            "click_init": "visible",
            "language_init": "default",
        },
        shortcut=True,
        image_channels=(4, 4, 6),
        language=language,
    ).eval()
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    with torch.no_grad():
        picture = draw(1, 3, GRID * STRIDE, GRID * STRIDE)
        tokens = model.embed(draw(1, 4, GRID, GRID), picture)
        maps = model.language_maps(picture, 3 * draw(texts, 6, 5), torch.ones(texts, 5))
    return Session(model, tokens, maps, None, (GRID * STRIDE, GRID * STRIDE), 0.0)


def test_one_window_that_covers_all_is_the_plain_pass() -> None:
    opened = session()
    found = predict_in_windows(opened, window=1.0, step=0.25, stride=STRIDE)
    np.testing.assert_array_equal(found, opened.predict([]))


def test_overlapping_windows_are_averaged_then_the_types_maximum_is_taken() -> None:
    opened = session()
    total = np.zeros((2, GRID * STRIDE, GRID * STRIDE))
    covered = np.zeros((GRID * STRIDE, GRID * STRIDE))
    for row in (0, 2, 4):
        for column in (0, 2, 4):
            tokens = opened.tokens[:, :, row : row + 4, column : column + 4]
            fine = opened.maps[0][:, :, 2 * row : 2 * row + 8, 2 * column : 2 * column + 8]
            coarse = opened.maps[1][:, :, row : row + 4, column : column + 4]
            with torch.no_grad():
                logits = opened.model.decode(tokens, torch.zeros(1, 3, 32, 32), [fine, coarse])
            pixels = (slice(8 * row, 8 * row + 32), slice(8 * column, 8 * column + 32))
            total[:, *pixels] += torch.sigmoid(logits[:, 0]).numpy()
            covered[pixels] += 1
    found = predict_in_windows(opened, window=0.5, step=0.5, stride=STRIDE)
    np.testing.assert_allclose(found, (total / covered).max(0), atol=1e-6)
    assert covered.min() == 1 and covered.max() == 4
    assert np.abs(found - opened.predict([])).max() > 1e-3
