import numpy as np
import pandas as pd
import pytest

from adclick.networks.inputs import ResidualForm
from adclick.residuals.maps import training_free_map
from adclick.run.artifacts import ArraySpec, create_array, create_arrays, write_csv, write_names
from adclick.run.errors import InputError
from adclick.training import detector_pools
from adclick.training.detector_pools import (
    DetectorFiles,
    FinishedMaps,
    fit_detector_form,
    labelled_kinds,
    labelled_source,
    open_detector_pools,
)

FINISH = {"smoothing_px": 1.0, "foreground_exponent": 1.0}
FORM = ResidualForm(normalise="channel", clamp=None, groups=2, log=False)


def _write_residuals(path, ids, *, patches=True, seed=0):
    generator = np.random.default_rng(seed)
    shape = (len(ids), 4, 4, 6)
    arrays = {
        "residuals": generator.standard_normal(shape).astype(np.float16),
        "lengths": generator.random(shape[:3]).astype(np.float32) + 0.5,
        "foreground": np.ones(shape[:3], np.float16),
    }
    if patches:
        arrays["patches"] = (generator.standard_normal(shape) + 3).astype(np.float16)
    specs = {name: ArraySpec(own.shape[1:], str(own.dtype)) for name, own in arrays.items()}
    with create_arrays(path, image_ids=ids, specs=specs, stamp={}) as file:
        for name, own in arrays.items():
            file[name][:] = own
        create_array(file, "normal_mean_square", (6,), "float32")[:] = np.arange(1, 7)
    return arrays


def _write_images(path, ids, sources=None):
    specs = {
        "images": ArraySpec((16, 16, 3), "uint8"),
        "labels": ArraySpec((16, 16), "float16"),
    }
    with create_arrays(path, image_ids=ids, specs=specs, stamp={}) as file:
        for row in range(len(ids)):
            file["images"][row], file["labels"][row] = row, row / 10
        write_names(file, ["x"] * len(ids), sources or ids)


@pytest.fixture
def files(tmp_path):
    ids = ["train/good/0", "test/dent/0", "train/good/1"]
    manifest = {"role": ["train_normal", "train_defect", "train_normal"]}
    manifest |= {"image_id": ids, "defect_type": ["good", "dent", "good"]}
    write_csv(tmp_path / "manifest.csv", pd.DataFrame(manifest), stamp={})
    _write_images(tmp_path / "images.h5", ids)
    _write_residuals(tmp_path / "residuals.h5", ids)
    drawn = ["simulated/train/good/0/000", "simulated/train/good/1/000"]
    _write_images(tmp_path / "simulated.h5", drawn, ["train/good/0", "train/good/1"])
    _write_residuals(tmp_path / "simulated_residuals.h5", drawn, seed=1)
    copies = [f"expanded/test/dent/0/{copy:03d}" for copy in range(2)]
    _write_images(tmp_path / "expanded.h5", copies, ["test/dent/0", "train/good/1"])
    _write_residuals(tmp_path / "expanded_residuals.h5", copies, seed=2)
    return DetectorFiles(
        tmp_path / "manifest.csv",
        tmp_path / "images.h5",
        tmp_path / "residuals.h5",
        tmp_path / "simulated.h5",
        tmp_path / "simulated_residuals.h5",
        tmp_path / "expanded.h5",
        tmp_path / "expanded_residuals.h5",
    )


def test_pools_know_what_their_pictures_go_back_to(files):
    pools = open_detector_pools(files, **FINISH)
    assert list(pools["normal"].rows) == [0, 2]
    assert list(pools["normal"].sources) == ["train/good/0", "train/good/1"]
    assert pools["normal"].labels is None
    assert list(pools["simulated"].sources) == ["train/good/0", "train/good/1"]
    # A copy goes back to the defect, also when it was pasted on a normal picture.
    assert list(pools["real"].sources) == ["test/dent/0", "test/dent/0"]
    assert list(pools["real"].backgrounds or ()) == ["test/dent/0", "train/good/1"]
    assert labelled_kinds(files.manifest, pools["real"]) == {"test/dent/0": "dent"}
    assert pools["real"].labels[1].max() == pytest.approx(0.1, abs=1e-3)


def test_maps_are_the_finished_training_free_ones(files):
    pool = open_detector_pools(files, **FINISH)["normal"]
    stored = _write_residuals(files.manifest.parent / "again.h5", ["a", "b", "c"])
    expected = training_free_map(
        stored["lengths"][2],
        stored["foreground"][2].astype(np.float32),
        content=(16, 16),
        stride=4,
        **FINISH,
    )
    assert np.allclose(pool.maps[2], expected)


@pytest.mark.parametrize("smoothing_px", [0.0, 1.0])
def test_a_window_of_a_map_is_that_of_the_whole_map(files, smoothing_px):
    generator = np.random.default_rng(0)
    residuals = {
        "lengths": generator.random((1, 30, 40)).astype(np.float16),
        "foreground": generator.random((1, 30, 40)).astype(np.float16),
    }
    content = (117, 150)  # of 120 x 160 px
    finish = {"smoothing_px": smoothing_px, "foreground_exponent": 0.5}
    maps = FinishedMaps(residuals, [content], stride=4, **finish)
    whole = maps[0]
    assert whole.shape == content
    for rows, columns in ((0, 0), (40, 60), (85, 118), (3, 149)):
        window = (slice(rows, rows + 32), slice(columns, columns + 32))
        found = maps.lazily(0)[window]
        assert found.shape == whole[window].shape
        assert np.allclose(found, whole[window], rtol=0, atol=1e-6)
    assert np.array_equal(np.asarray(maps.lazily(0)), whole)
    assert np.array_equal(maps.lazily(0)[: content[0], : content[1]], whole)


def test_a_window_of_a_map_costs_a_window(files, monkeypatch):
    seen = []
    before = detector_pools.training_free_map

    def noted(lengths, *given, **how):
        seen.append(lengths.shape)
        return before(lengths, *given, **how)

    monkeypatch.setattr(detector_pools, "training_free_map", noted)
    grids = {name: np.ones((1, 300, 400), np.float16) for name in ("lengths", "foreground")}
    maps = FinishedMaps(grids, [(1200, 1600)], stride=4, **FINISH)
    maps.lazily(0)[600:632, 600:632]
    (shape,) = seen
    assert max(shape) <= 32 // 4 + 2 * (4 + 1), "a window, and what smoothing looks away"


def test_form_comes_from_normal_pictures(files):
    pool = open_detector_pools(files, **FINISH)["normal"]
    form = fit_detector_form(files, pool, FORM, matched=False, pictures=10)
    both = np.stack([pool.features[0], pool.features[2]]).astype(np.float64)
    assert np.allclose(form.features.mean, both.mean(axis=(0, 1, 2)), atol=1e-3)
    assert np.array_equal(form.residual_scale, np.arange(1, 7))
    low, high = min(pool.maps[0].min(), pool.maps[2].min()), pool.maps[0].max()
    assert low < form.calibration.middle < high
    one = fit_detector_form(files, pool, FORM, matched=False, pictures=1)
    assert np.allclose(one.features.mean, both[0].mean(axis=(0, 1)), atol=1e-3)


def test_without_labels_there_are_no_real_defects(files):
    bare = DetectorFiles(*list(vars(files).values())[:5])
    assert set(open_detector_pools(bare, **FINISH)) == {"normal", "simulated"}


def test_residuals_without_features_are_named(files):
    _write_residuals(files.residuals, ["a", "b", "c"], patches=False)
    with pytest.raises(InputError, match=r"residuals\.h5.*no features"):
        open_detector_pools(files, **FINISH)


def test_source_of_an_expanded_picture():
    assert labelled_source("expanded/test/dent/007/012") == "test/dent/007"
