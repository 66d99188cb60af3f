from dataclasses import replace

import numpy as np
import pytest
import torch

from adclick.networks.detector_inputs import (
    BAND_LINES,
    LARGEST_FEATURE,
    DetectorForm,
    detector_inputs,
    fit_feature_scale,
    standardised,
)
from adclick.networks.inputs import ResidualForm
from adclick.residuals.calibration import Calibration, base_logits
from adclick.run.stored import LargeRow
from adclick.training.detector_samples import DetectorPool, draw_detector_batch

PLAIN = ResidualForm(normalise=None, clamp=None, groups=None, log=False)
CPU = torch.device("cpu")


def _arrays(images=3, grid=4, channels=5, size=16):
    generator = np.random.default_rng(0)
    return {
        "features": (3 * generator.standard_normal((images, grid, grid, channels)) + 7).astype(
            np.float16
        ),
        "residuals": generator.standard_normal((images, grid, grid, channels)).astype(np.float16),
        "images": generator.integers(0, 256, (images, size, size, 3)).astype(np.uint8),
        "maps": np.exp(generator.standard_normal((images, size, size))).astype(np.float32),
        "labels": (generator.random((images, size, size)) > 0.7).astype(np.float32),
    }


def _pool(**changes):
    arrays = _arrays() | changes
    return DetectorPool(**arrays, rows=[0, 1, 2], sources=["a", "b", "a"])


def _form(arrays, *, matched=False):
    scale = fit_feature_scale(arrays["features"], [0, 1, 2])
    return DetectorForm(scale, np.ones(5, np.float32), PLAIN, matched, Calibration(1.0, 1.0, 0.0))


def _draw(pools, counts, step=0, **changes):
    settings = {"abandoned": False, "size_exponent": 0.5} | changes
    form = _form(_arrays())
    return draw_detector_batch(pools, counts, form, seed=0, step=step, device=CPU, **settings)


def test_standardised_normals_have_mean_zero_and_deviation_one():
    features = _arrays()["features"]
    found = standardised(features, fit_feature_scale(features, range(3)))
    assert np.allclose(found.mean(axis=(0, 1, 2)), 0, atol=1e-3)
    assert np.allclose(found.std(axis=(0, 1, 2)), 1, atol=1e-2)


def test_scale_is_that_of_the_given_rows_alone():
    features = _arrays()["features"]
    other = features.copy()
    other[2] += 100
    assert np.array_equal(
        fit_feature_scale(features, [0, 1]).mean, fit_feature_scale(other, [0, 1]).mean
    )


def test_a_constant_channel_stays_finite_and_far_features_are_clamped():
    features = np.ones((2, 3, 3, 2), np.float32)
    scale = fit_feature_scale(features, [0])
    assert (standardised(features, scale) == 0).all()
    assert (standardised(features + 1, scale) == LARGEST_FEATURE).all()


def test_matched_features_are_those_of_the_normal_patch():
    arrays = _arrays()
    form = _form(arrays, matched=True)
    given = (arrays["features"], arrays["residuals"], arrays["images"])
    features, residual, picture = detector_inputs(*given, form, CPU)
    assert features.shape == (3, form.feature_channels, 4, 4) == (3, 10, 4, 4)
    normal = arrays["features"].astype(np.float32) + arrays["residuals"].astype(np.float32)
    expected = standardised(normal, form.features).transpose(0, 3, 1, 2)
    assert np.allclose(features[:, 5:].numpy(), expected, atol=1e-6)
    squared = np.square(arrays["residuals"].astype(np.float32)).transpose(0, 3, 1, 2)
    assert np.allclose(residual.numpy(), squared)
    assert picture.shape == (3, 3, 16, 16)


def test_the_scale_of_large_pictures_is_taken_in_bands():
    features = _arrays(grid=20)["features"]
    asked = []

    class Row(LargeRow):
        def __init__(self, row):
            self._own = features[row]

        def __getitem__(self, window):
            asked.append(self._own[window].shape)
            return self._own[window]

    class Rows:
        shape = features.shape

        def lazily(self, row):
            return Row(row)

    contents = [(20, 19), (17, 20), (3, 20)]
    whole = fit_feature_scale(features, [0, 1, 2], contents)
    banded = fit_feature_scale(Rows(), [0, 1, 2], contents)
    assert np.allclose(banded.mean, whole.mean, atol=1e-5)
    assert np.allclose(banded.deviation, whole.deviation, atol=1e-5)
    assert max(shape[0] for shape in asked) <= BAND_LINES < 20


def test_a_large_picture_gives_no_more_pixels_than_a_window():
    pool = replace(_pool(contents=[(16, 16), (13, 16), (8, 8)]), window=2)  # of 4 px
    assert pool.window_px == 8
    assert [pool.is_large(row) for row in range(3)] == [True, True, False]
    assert [pool.sparser(row, 2) for row in range(3)] == [4, 4, 2]
    assert replace(pool, window=None).sparser(0, 2) == 2


def test_restricted_pools_hold_what_goes_back_to_the_sources():
    kept = _pool().restricted({"a"})
    assert (list(kept.rows), list(kept.sources)) == ([0, 2], ["a", "a"])


def test_everything_of_a_sample_is_turned_together():
    """A pool in which all planes say the same, at their own resolution."""
    plane = np.zeros((1, 16, 16), np.float32)
    plane[0, :8, :4] = 1
    coarse = plane[:, ::4, ::4, None].repeat(5, axis=3)
    pool = DetectorPool(
        coarse,
        coarse,
        np.repeat(255 * plane[..., None], 3, 3).astype(np.uint8),
        plane,
        plane,
        [0],
        ["a"],
    )
    turned = 0
    for step in range(6):
        batch = _draw({"real": pool}, {"real": 1}, step=step, size_exponent=0.0)
        label = batch.labels[0, 0]
        turned += not np.array_equal(label.numpy(), plane[0])
        assert torch.equal(batch.base[0, 0] > batch.base.min(), label > 0)
        assert torch.equal(batch.residual[0, 0], label[::4, ::4])
        assert torch.equal(batch.picture[0, 0] > 0, label > 0)
        feature = batch.features[0, 0]
        assert torch.equal(feature == feature.max(), label[::4, ::4] > 0)
    assert turned


def test_the_base_is_the_calibrated_map():
    pool = _pool()
    batch = _draw({"real": pool}, {"real": 1})
    expected = [np.sort(base_logits(own, Calibration(1.0, 1.0, 0.0)), None) for own in pool.maps]
    found = np.sort(batch.base.numpy(), None)
    assert any(np.allclose(found, own, atol=1e-6) for own in expected)


def test_a_batch_has_the_kinds_asked_for_and_depends_on_seed_and_step_alone():
    pools = {"real": _pool(), "normal": _pool(labels=None)}
    counts = {"real": 2, "normal": 1}
    one, same, other = (_draw(pools, counts, step=step) for step in (3, 3, 4))
    assert torch.equal(one.features, same.features)
    assert not torch.equal(one.features, other.features)
    assert one.labels[:2].sum() > 0
    assert one.labels[2].sum() == 0


@pytest.mark.parametrize(("abandoned", "least"), [(True, -1.0), (False, 0.0)])
def test_uncertain_pixels_are_left_out_only_where_asked_for(abandoned, least):
    labels = np.full((3, 16, 16), 0.5, np.float32)
    batch = _draw({"real": _pool(labels=labels)}, {"real": 4}, abandoned=abandoned)
    assert batch.labels.min() == least


def test_real_defects_take_the_place_of_simulated_ones():
    arrays = _arrays()
    pools = {
        "simulated": _pool(images=np.zeros_like(arrays["images"])),
        "real": _pool(images=np.full_like(arrays["images"], 255)),
    }
    drawn = {
        share: [
            float(_draw(pools, {"simulated": 1}, step=step, simulated_share=share).picture.mean())
            for step in range(60)
        ]
        for share in (1.0, 0.25, 0.0)
    }
    dark, light = min(drawn[1.0]), max(drawn[0.0])
    assert set(drawn[1.0]) == {dark} and set(drawn[0.0]) == {light} and dark < light
    assert 5 < drawn[0.25].count(dark) < 30
