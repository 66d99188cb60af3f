"""Every layout, from a folder on disk to the manifest, the pixels and the masks."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from adclick.commands import label_defects, make_manifest
from adclick.data.images import write_png
from adclick.data.manifest import LoadedRow
from adclick.run.artifacts import image_ids, input_digest, open_arrays, read_csv
from adclick.run.errors import InputError
from adclick.run.plan.stages import settings_json
from tests.chain import PLACE, micro_config

GENERATOR = np.random.default_rng(0)


def picture(height: int = 40, width: int = 24) -> np.ndarray:
    return GENERATOR.integers(0, 255, (height, width, 3)).astype(np.uint8)


def mask(size: int, height: int = 40, width: int = 24) -> np.ndarray:
    drawn = np.zeros((height, width), np.uint8)
    drawn[:size, :size] = 255
    return drawn


def ksdd2(root: Path) -> None:
    for split, names in (("train", range(10000, 10006)), ("test", range(20000, 20004))):
        for place, name in enumerate(names):
            write_png(root / split / f"{name}.png", picture())
            write_png(root / split / f"{name}_GT.png", mask(8 if place % 2 else 0))


def magnetic_tile(root: Path) -> None:
    for kind in ("Blowhole", "Break", "Crack", "Fray", "Uneven", "Free"):
        for number in range(3):
            folder = root / f"MT_{kind}" / "Imgs"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture()).save(folder / f"{kind}_{number}.jpg")
            write_png(folder / f"{kind}_{number}.png", mask(0 if kind == "Free" else 6))


def sheet(root: Path) -> None:
    lines = ["image_path,label,split,mask_path,defect_type"]
    for number in range(4):
        write_png(root / f"good{number}.png", picture())
        lines.append(f"good{number}.png,normal,{'test' if number == 3 else 'train'},,")
    for number in range(2):
        write_png(root / f"bad{number}.png", picture())
        write_png(root / f"mask{number}.png", mask(5))
        lines.append(f"bad{number}.png,abnormal,test,mask{number}.png,dent")
    (root / "part.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def run(root: Path, out: Path, *flags: str, duplicates: str = "warn", **changes: object) -> Counter:
    settings = json.loads(settings_json(micro_config(), "make_manifest", **PLACE))
    settings |= {"root": root.name, "training_defects": 1, **changes}
    files = {
        "manifest": "manifest.csv",
        "images": "images.h5",
        "masks": "masks.h5",
        "record": "r.json",
    }
    paths = [part for name, path in files.items() for part in (f"--{name}", str(out / path))]
    argv = ["--settings", json.dumps(settings), "--data-root", str(root.parent), *paths]
    argv += ["--files", "x", "--duplicates", duplicates, *flags]
    make_manifest.main(argv)
    return Counter(read_csv(out / "manifest.csv")["role"])


def test_large_pictures_wait_on_the_disk_and_leave_nothing_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ksdd2(tmp_path / "ksdd2")
    waited: list[list[Path]] = []
    before = make_manifest._put_aside

    def noted(one: LoadedRow, folder: Path) -> LoadedRow:
        aside = before(one, folder)
        waited.append([*folder.iterdir()])
        assert isinstance(aside.image, np.memmap) == (folder.name == "large")
        return aside

    monkeypatch.setattr(make_manifest, "_put_aside", noted)
    for name, size in (("small", make_manifest.LARGE_BYTES), ("large", 0)):
        monkeypatch.setattr(make_manifest, "LARGE_BYTES", size)
        run(tmp_path / "ksdd2", tmp_path / name, layout="ksdd2", category="ksdd2")
    assert not any(waited)  # nothing for a killed job to leave behind
    for path in (tmp_path / "small").iterdir():
        assert path.read_bytes() == (tmp_path / "large" / path.name).read_bytes()


def test_ksdd2_has_one_type_and_spare_defects(tmp_path: Path) -> None:
    ksdd2(tmp_path / "ksdd2")
    roles = run(tmp_path / "ksdd2", tmp_path / "out", layout="ksdd2", category="ksdd2")
    assert roles == {
        "train_normal": 3,
        "train_defect": 1,
        "spare_defect": 2,
        "test_normal": 2,
        "test_defect": 2,
    }
    with (
        open_arrays(tmp_path / "out/images.h5") as images,
        open_arrays(tmp_path / "out/masks.h5") as masks,
    ):
        assert images["images"].shape == (10, 64, 64, 3)
        assert set(images["types"][:]) == {b"good", b"defect"}
        assert len(image_ids(masks)) == 5
        assert all(0 < one.mean() < 0.2 for one in masks["masks"][:])


def test_magnetic_tile_takes_its_normal_images_from_the_split(tmp_path: Path) -> None:
    magnetic_tile(tmp_path / "tile")
    lists = {"train_defects": ["test/crack/Crack_0"], "train_normals": ["train/good/Free_0"]}
    (tmp_path / "split.yaml").write_text(yaml.safe_dump({"tile": lists}), encoding="utf-8")
    flags = ("--split", str(tmp_path / "split.yaml"))
    out = tmp_path / "out"
    roles = run(
        tmp_path / "tile", out, *flags, layout="magnetic_tile", category="tile", split="file"
    )
    assert roles == {"train_normal": 1, "train_defect": 1, "test_normal": 2, "test_defect": 14}


def test_a_sample_sheet(tmp_path: Path) -> None:
    sheet(tmp_path / "sheet")
    roles = run(tmp_path / "sheet", tmp_path / "out", layout="csv", category="part")
    assert roles == {"train_normal": 3, "train_defect": 1, "test_normal": 1, "test_defect": 1}
    assert set(read_csv(tmp_path / "out/manifest.csv")["defect_type"]) == {"good", "dent"}


@pytest.mark.parametrize(("empty", "normals"), [("normal", 6), ("drop", 4)])
def test_empty_masks_are_what_the_data_set_says(tmp_path: Path, empty: str, normals: int) -> None:
    sheet(tmp_path / "sheet")
    for number in range(2, 4):
        write_png(tmp_path / f"sheet/bad{number}.png", picture())
        write_png(tmp_path / f"sheet/mask{number}.png", mask(0))
    with (tmp_path / "sheet/part.csv").open("a", encoding="utf-8") as file:
        file.write("bad2.png,abnormal,test,mask2.png,dent\nbad3.png,abnormal,test,mask3.png,dent\n")
    roles = run(
        tmp_path / "sheet", tmp_path / "out", layout="csv", category="part", empty_masks=empty
    )
    assert roles["train_normal"] + roles["test_normal"] == normals


def unlabelled(root: Path) -> None:
    for name in ("good/0", "good/1", "dent/0", "dent/1"):
        write_png(root / f"part/train/{name}.png", picture())


def test_defects_that_nobody_has_labelled_are_for_training(tmp_path: Path) -> None:
    unlabelled(tmp_path / "own")
    out = tmp_path / "out"
    roles = run(tmp_path / "own", out, layout="mvtec", category="part")
    assert roles == {"train_normal": 2, "train_defect": 1, "spare_defect": 1}
    with open_arrays(out / "masks.h5") as masks:
        assert image_ids(masks) == []


def test_what_lies_beside_the_pictures_is_counted_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unlabelled(tmp_path / "own")
    (tmp_path / "own/part/train/good/wave.jp2").write_bytes(b"")
    (tmp_path / "own/part/train/gone").symlink_to("nothing")
    run(tmp_path / "own", tmp_path / "out", layout="mvtec", category="part")
    root = tmp_path / "own"
    assert capsys.readouterr().err.splitlines() == [
        f"{root}: passed over, not of its layout: part/train/good/wave.jp2",
        f"{root}: passed over, links to nothing: part/train/gone",
    ]


def test_two_links_to_one_folder_are_read_and_not_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unlabelled(tmp_path / "own")
    write_png(tmp_path / "elsewhere/9.png", picture())
    for name in ("bent", "cut"):
        (tmp_path / "own/part/train" / name).symlink_to(tmp_path / "elsewhere")
    roles = run(tmp_path / "own", tmp_path / "out", layout="mvtec", category="part")
    assert sum(roles.values()) == 6
    assert capsys.readouterr().err == ""


def test_simulated_clicks_do_not_label_what_has_no_mask(tmp_path: Path) -> None:
    unlabelled(tmp_path / "own")
    out = tmp_path / "out"
    run(tmp_path / "own", out, layout="mvtec", category="part")
    place = {**PLACE, "labels": "full", "seed": "0"}
    argv = ["--settings", settings_json(micro_config(), "label_defects", **place)]
    for name, file in (
        ("manifest", "manifest.csv"),
        ("images", "images.h5"),
        ("masks", "masks.h5"),
    ):
        argv += [f"--{name}", str(out / file)]
    with pytest.raises(InputError, match=r"train/dent/0: supervision full .*adclick annotate"):
        label_defects.main([*argv, "--labels", str(out / "labels.h5")])
    assert not (out / "labels.h5").exists()


def test_normal_images_alone_are_nothing_to_work_on(tmp_path: Path) -> None:
    write_png(tmp_path / "own/part/train/good/0.png", picture())
    with pytest.raises(InputError, match="no defective image; put some under train/<kind>"):
        run(tmp_path / "own", tmp_path / "out", layout="mvtec", category="part", training_defects=0)


def test_training_defects_with_masks_alone_are_enough(tmp_path: Path) -> None:
    unlabelled(tmp_path / "own")
    for name in ("0", "1"):
        write_png(tmp_path / f"own/part/ground_truth/dent/{name}.png", mask(4))
    roles = run(tmp_path / "own", tmp_path / "out", layout="mvtec", category="part")
    assert roles == {"train_normal": 2, "train_defect": 1, "spare_defect": 1}


@pytest.mark.parametrize(("bits", "darkest"), [(None, 64), (16, 4)])
def test_the_log_says_of_how_many_bits_pictures_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bits: int | None, darkest: int
) -> None:
    root, out = tmp_path / "own", tmp_path / "out"
    unlabelled(root)
    for name, value in (("good/0", 4095), ("good/1", 1023)):
        deep = Image.fromarray(np.full((40, 24), value, np.uint16))
        deep.save(root / f"part/train/{name}.png")
    run(root, out, layout="mvtec", category="part", bits=bits)
    assert ("16-bit pictures are read as 12 bits" in capsys.readouterr().out) is (bits is None)
    with open_arrays(out / "images.h5") as images:
        used = json.loads(images.attrs["use"])
        place = image_ids(images).index("train/good/1")
        assert images["images"][place].max() == darkest
    assert used == {"bits": bits or 12, "resize": "published"}


def test_something_must_be_left_to_score_on(tmp_path: Path) -> None:
    sheet(tmp_path / "sheet")
    with pytest.raises(InputError, match="no test defect left"):
        run(tmp_path / "sheet", tmp_path / "o", layout="csv", category="part", training_defects=2)


def test_a_list_of_another_length_than_the_configuration_says_is_refused(tmp_path: Path) -> None:
    sheet(tmp_path / "sheet")
    lists = {"part": {"train_defects": ["test/dent/bad0"]}}
    (tmp_path / "split.yaml").write_text(yaml.safe_dump(lists), encoding="utf-8")
    flags = ("--split", str(tmp_path / "split.yaml"))
    places = tmp_path / "sheet", tmp_path / "out"
    with pytest.raises(InputError, match="1 training defects of part, but training_defects is 2"):
        run(*places, *flags, layout="csv", category="part", split="file", training_defects=2)


def test_a_picture_in_training_and_test_is_warned_of_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet(tmp_path / "sheet")
    (tmp_path / "sheet/good3.png").write_bytes((tmp_path / "sheet/good0.png").read_bytes())
    places = (tmp_path / "sheet", tmp_path / "out")
    run(*places, layout="csv", category="part")
    (line,) = json.loads((tmp_path / "out/r.json").read_text())["warnings"]
    assert line.endswith("test/good/good3 and train/good/good0 are one picture")
    assert capsys.readouterr().err == f"warning: {line}\n"
    with pytest.raises(InputError, match="are one picture"):
        run(*places, layout="csv", category="part", duplicates="error")


def test_whether_repeated_pictures_are_an_error_changes_no_result(tmp_path: Path) -> None:
    sheet(tmp_path / "sheet")
    for name in ("warn", "error"):
        out = tmp_path / name
        run(tmp_path / "sheet", out, layout="csv", category="part", duplicates=name)
    first, second = (input_digest(tmp_path / name / "images.h5") for name in ("warn", "error"))
    assert first == second


@pytest.mark.parametrize(
    ("line", "changes"), [("new.png,normal,test,,", False), ("new.png,normal,train,,", True)]
)
def test_a_picture_for_testing_alone_is_nothing_to_trainings(
    tmp_path: Path, line: str, changes: bool
) -> None:
    sheet(tmp_path / "sheet")
    places = (tmp_path / "sheet", tmp_path / "out")
    names = ("manifest.csv", "images.h5", "masks.h5")

    def digests(*, training: bool) -> list[str]:
        return [input_digest(tmp_path / "out" / name, training=training) for name in names]

    run(*places, layout="csv", category="part")
    seen, all_ = digests(training=True), digests(training=False)
    write_png(tmp_path / "sheet/new.png", picture())
    with (tmp_path / "sheet/part.csv").open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    run(*places, layout="csv", category="part")
    assert (digests(training=True) != seen) == changes
    assert digests(training=False) != all_
