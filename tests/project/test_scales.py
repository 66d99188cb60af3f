"""What is proposed for photographs of several shapes and defects of several sizes."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from adclick.project import scales
from adclick.project.scales import propose
from adclick.project.starting import init
from adclick.project.writing import REPOSITORY, open_project
from adclick.residuals import streaming
from adclick.run.errors import InputError
from tests.project.photographs import write_photographs


def with_disk(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    sizes = {"total": 1, "used": 1, "free": int(free)}
    monkeypatch.setattr(scales.shutil, "disk_usage", lambda _: type("Usage", (), sizes))


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One core of the usual speed, and much room."""
    monkeypatch.setattr(scales, "machine_speed", lambda: 1.0)
    with_disk(monkeypatch, 1e14)


def test_squares_are_proposed_where_they_lose_nothing(tmp_path: Path) -> None:
    found = propose(60, 10, [(300, 340)] * 70, [40.0, 60.0, 90.0], folder=tmp_path)
    assert found.kept is None
    assert found.lines[0].startswith("proposed: 256 px, about ")
    assert " GB of memory, " in found.lines[0] and " GB of disk" in found.lines[0]


def test_long_photographs_keep_their_shape(tmp_path: Path) -> None:
    found = propose(60, 10, [(460, 1130)] * 70, folder=tmp_path)
    assert found.kept is not None and found.kept.proposed
    assert found.lines[0].startswith("proposed: --scale 1, since photographs are long: about ")
    assert found.lines[1].startswith("else (--size 512): 512 px")
    scan = propose(60, 10, [(4000, 600)] * 70, folder=tmp_path).kept
    assert scan is not None
    assert scan.scale == pytest.approx(512 / 600, rel=0.02)
    assert scan.cost.minutes > found.kept.cost.minutes  # more pixels


def test_small_labelled_defects_ask_for_a_larger_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = [10.0, 12.0, 14.0, 300.0]
    found = propose(40, 8, [(1200, 1600)] * 48, sides, folder=tmp_path)
    assert found.kept is not None
    assert found.kept.scale == pytest.approx(8 / 11.5, rel=0.1)
    assert "a quarter of the labelled defects are smaller than" in found.kept.why
    assert found.kept.proposed
    monkeypatch.setattr(scales, "machine_speed", lambda: 0.5)
    slow = propose(40, 8, [(1200, 1600)] * 48, sides, folder=tmp_path)
    assert slow.kept is not None and not slow.kept.proposed  # more than an hour
    assert slow.lines[1].startswith("better, if this machine allows it: --scale 0.7, since ")
    pixels = propose(40, 8, [(1200, 1600)] * 48, [2.0], folder=tmp_path)
    assert pixels.kept is not None and pixels.kept.scale <= 1


def test_what_would_not_fit_the_disk_is_not_proposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_disk(monkeypatch, 20e9)
    found = propose(100, 20, [(4000, 6000)] * 120, [12.0], folder=tmp_path / "not/yet")
    assert found.kept is not None
    assert found.kept.cost.disk_gb <= 0.7 * 20
    assert found.kept.scale < 8 / 12


@pytest.mark.parametrize(
    ("pixels", "measured_gb"),
    [(256 * 256, 1.31), (1130 * 460, 1.96), (20000 * 256, 2.06), (5000 * 4000, 3.1)],
)
def test_memory_is_what_was_measured_and_a_little_more(pixels: int, measured_gb: float) -> None:
    told = scales.expected_cost(float(pixels), 256, 60, 10, speed=1.0).memory_gb
    assert measured_gb <= told <= 1.25 * measured_gb


def test_pictures_pass_together_as_they_do_in_a_project() -> None:
    small = yaml.safe_load((REPOSITORY / "config/small.yaml").read_text("utf-8"))
    assert small["features"]["batch_size"] == scales.BATCH
    assert scales.BATCH_PIXELS == streaming.BATCH_PIXELS


def test_what_is_stored_is_what_the_configuration_draws() -> None:
    values = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text("utf-8"))
    assert values["simulation"]["per_normal"] == scales.PER_NORMAL
    assert values["expansion"]["copies"] == scales.COPIES


def begun(folder: Path, **options: Any) -> dict[str, Any]:
    given = {name: None for name in ("name", "size_px", "texture", "held_out", "backbone")}
    given |= {"mask_dir": None, "normal_test_dir": None, "leave_out": [], **options}
    init(folder / "photos/good", folder / "photos/defects", output=folder / "ring", **given)
    return yaml.safe_load(open_project(folder / "ring").overlay.read_text("utf-8"))


def test_a_project_has_the_scale_that_is_asked_for_until_it_is_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photographs(tmp_path / "photos", "washer", normals=6, kinds={"rust": 2}, size_px=96)
    values = begun(tmp_path, scale=0.5)
    assert values["datasets"]["own"]["size"] == {"scale": 0.5}
    assert values["size_px"] == 256  # the windows of trainings
    assert values["matchings"]["location_aware"]["radius"] == 1.6
    assert values["adclick_training"]["disks"] == "fitted"
    assert begun(tmp_path)["datasets"]["own"]["size"] == {"scale": 0.5}
    values = begun(tmp_path, size_px=128)
    assert "disks" not in values["adclick_training"]
    assert "size" not in values["datasets"]["own"]
    assert values["size_px"] == 128
    with pytest.raises(InputError, match="give one of them"):
        begun(tmp_path, size_px=128, scale=0.5)
    with pytest.raises(InputError, match="above 0"):
        begun(tmp_path, scale=-1.0)
    assert "proposed: 256 px" in capsys.readouterr().out


def test_labels_of_a_project_tell_how_small_defects_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np

    from adclick.annotate.store import run_lengths, save_label

    write_photographs(tmp_path / "photos", "washer", normals=6, kinds={"rust": 2}, size_px=600)
    begun(tmp_path)
    mask = np.zeros((600, 600), bool)
    mask[100:109, 200:209] = True
    facts = {"state": "done", "objects": [{"type": "rust", "mask": run_lengths(mask)}]}
    save_label(open_project(tmp_path / "ring").labels, "train/rust/000", facts, mask)
    for number, odd in enumerate(("{", '{"objects": ["no defect"]}', '{"objects": [{"mask": 1}]}')):
        (open_project(tmp_path / "ring").labels / f"odd{number}.json").write_text(odd)
    capsys.readouterr()
    begun(tmp_path)
    assert "--scale 0.89, since a quarter of the labelled defects are smaller than 9 px" in (
        capsys.readouterr().out
    )


def test_a_broken_mask_does_not_hold_up_a_project(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np

    from adclick.data.images import write_png

    write_photographs(tmp_path / "photos", "washer", normals=6, kinds={"rust": 2}, size_px=600)
    mask = np.zeros((600, 600), bool)
    mask[100:109, 200:209] = True
    write_png(tmp_path / "masks/rust/000.png", mask)
    (tmp_path / "masks/rust/001.png").write_bytes(b"no picture")
    begun(tmp_path, mask_dir=tmp_path / "masks")
    assert "smaller than 9 px" in capsys.readouterr().out
