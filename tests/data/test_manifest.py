"""The manifest: roles, checksums, empty masks, splits, and the digest that planning uses."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from adclick.data.images import write_png
from adclick.data.layouts.ksdd2 import read_rows as read_ksdd2
from adclick.data.layouts.magnetic_tile import read_rows as read_magnetic_tile
from adclick.data.layouts.mvtec import read_rows as read_mvtec
from adclick.data.manifest import (
    COLUMNS,
    Entry,
    LoadedRow,
    build_manifest,
    camera_bits,
    choose_training_defects,
    load_rows,
    read_split,
    repeated_pictures,
)
from adclick.data.reading import Row
from adclick.run.errors import InputError
from adclick.run.settings.data import EmptyMasks, Geometry, MaskValues, PictureUse, Resize

PROJECT = Path(__file__).parents[2]
SHARED = PROJECT.parent / "shared"
SPLITS = PROJECT / "config" / "splits"


def make_row(image_id: str) -> Row:
    split, defect_type, stem = image_id.split("/")
    path = Path("bolt", split, defect_type, f"{stem}.png")
    mask = (
        None
        if defect_type == "good"
        else Path("bolt", "ground_truth", defect_type, f"{stem}_mask.png")
    )
    return Row(image_id, path, split, defect_type, mask)


def make_entries(*image_ids: str) -> list[Entry]:
    return [Entry(make_row(image_id), 8, 6, "a" * 64, "") for image_id in image_ids]


def draw_rows(root: Path, *image_ids: str, empty: Sequence[str] = ()) -> list[Row]:
    rows = [make_row(image_id) for image_id in image_ids]
    for number, row in enumerate(rows):
        write_png(root / row.path, np.full((6, 8, 3), 10 * number, np.uint8))
        if row.mask_path is not None:
            mask = np.zeros((6, 8), bool)
            mask[2:4, 4:8] = row.image_id not in empty
            write_png(root / row.mask_path, mask)
    return rows


def load(
    rows: Sequence[Row],
    size_px: int,
    root: Path,
    empty_masks: EmptyMasks,
    *,
    mask_values: MaskValues | None = None,
    bits: int | None = None,
    resize: Resize = "published",
) -> Iterator[LoadedRow]:
    use = PictureUse(bits=bits, resize=resize)
    return load_rows(
        rows,
        Geometry(stretch=size_px),
        root=root,
        use=use,
        empty_masks=empty_masks,
        mask_values=mask_values,
    )


def roles(entries: Sequence[Entry], **options: object) -> list[str]:
    frame = build_manifest(entries, **options)  # pyright: ignore
    return frame["role"].tolist()


# --- loading ------------------------------------------------------------------------------------


def test_pixels_come_at_the_networks_size_with_native_size_and_checksums(tmp_path: Path) -> None:
    rows = draw_rows(tmp_path, "train/good/0", "test/rust/0")
    good, rust = load(rows, 4, tmp_path, "error")
    assert (good.entry.row, good.entry.width, good.entry.height) == (rows[0], 8, 6)
    assert good.image.shape == (4, 4, 3)
    assert good.mask is None
    assert good.entry.mask_sha256 == ""
    assert rust.mask is not None
    assert rust.mask[:, 2:].any(axis=1).tolist() == [False, True, True, False]
    mask_path = rows[1].mask_path
    assert mask_path is not None
    assert rust.entry.sha256 == hashlib.sha256((tmp_path / rows[1].path).read_bytes()).hexdigest()
    assert rust.entry.mask_sha256 == hashlib.sha256((tmp_path / mask_path).read_bytes()).hexdigest()


def test_the_settings_say_how_files_are_read(tmp_path: Path) -> None:
    rows = draw_rows(tmp_path, "test/rust/0")
    assert rows[0].mask_path is not None
    Image.fromarray(np.full((6, 8), 4095, np.uint16)).save(tmp_path / rows[0].path)
    values = np.zeros((6, 8), np.uint8)
    values[:, 1], values[:, 5] = 200, 100
    Image.fromarray(values).save(tmp_path / rows[0].mask_path)
    with pytest.raises(InputError, match="set mask_values"):
        list(load(rows, 4, tmp_path, "error"))
    (ids,) = load(rows, 4, tmp_path, "error", mask_values="ids", bits=12)
    assert ids.image.min() == 255
    assert ids.mask is not None and ids.mask[0].tolist() == [True, False, True, False]
    (shades,) = load(rows, 4, tmp_path, "error", mask_values="shades")
    assert shades.image.max() == 16
    assert shades.mask is not None and shades.mask[0].tolist() == [True, False, False, False]
    (area,) = load(rows, 2, tmp_path, "error", mask_values="ids", resize="area")
    assert area.mask is not None and area.mask[0].tolist() == [True, True]
    (published,) = load(rows, 2, tmp_path, "error", mask_values="ids")
    assert published.mask is not None and published.mask.sum() == 4


@pytest.mark.parametrize(
    ("largest", "bits"), [(255, 8), (256, 12), (1023, 12), (4095, 12), (4096, 16), (65535, 16)]
)
def test_bits_are_those_of_the_categorys_largest_value(
    tmp_path: Path, largest: int, bits: int
) -> None:
    rows = draw_rows(tmp_path, "train/good/0", "train/good/1", "train/good/2")
    assert camera_bits(tmp_path / row.path for row in rows) is None
    for row, value in zip(rows, (largest, 7), strict=False):
        Image.fromarray(np.full((6, 8), value, np.uint16)).save(tmp_path / row.path)
    assert camera_bits(tmp_path / row.path for row in rows) == bits


def test_each_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = draw_rows(tmp_path, "train/good/0", "test/rust/0")
    read: list[str] = []
    original = Path.read_bytes

    def count(self: Path) -> bytes:
        read.append(self.name)
        return original(self)

    monkeypatch.setattr(Path, "read_bytes", count)
    list(load(rows, 4, tmp_path, "error"))
    assert sorted(read) == ["0.png", "0.png", "0_mask.png"]


def test_empty_masks_are_an_error_left_out_or_normal(tmp_path: Path) -> None:
    rows = draw_rows(tmp_path, "test/rust/0", "test/rust/1", "test/rust/2", empty=["test/rust/1"])
    with pytest.raises(InputError, match=r"rust/1_mask\.png marks no pixel") as caught:
        list(load(rows, 4, tmp_path, "error"))
    assert "drop" in str(caught.value)
    dropped = list(load(rows, 4, tmp_path, "drop"))
    assert [one.entry.row.image_id for one in dropped] == ["test/rust/0", "test/rust/2"]
    normal = list(load(rows, 4, tmp_path, "normal"))
    assert [one.entry.row.defect_type for one in normal] == ["rust", "good", "rust"]
    assert normal[1].mask is None
    assert normal[1].entry.row.mask_path is None
    assert normal[1].entry.mask_sha256 == ""


def test_all_broken_files_are_told_at_once_after_the_others_were_given(tmp_path: Path) -> None:
    rows = draw_rows(tmp_path, *(f"test/rust/{number}" for number in range(4)))
    (tmp_path / rows[0].path).write_bytes(b"x")
    write_png(tmp_path / (rows[1].mask_path or ""), np.ones((3, 3), bool))
    (tmp_path / (rows[2].mask_path or "")).unlink()
    given = []
    with pytest.raises(InputError) as caught:
        for one in load(rows, 4, tmp_path, "error"):
            given.append(one.entry.row.image_id)
    assert given == ["test/rust/3"]
    for part in ("rust/0.png: broken", "1_mask.png has 3 x 3 pixels", "2_mask.png: cannot be read"):
        assert part in str(caught.value)


def test_a_defect_without_a_mask_is_kept_unlabelled(tmp_path: Path) -> None:
    row = draw_rows(tmp_path, "test/rust/0")[0]
    unlabelled = Row(row.image_id, row.path, row.split, row.defect_type, None)
    (one,) = load([unlabelled], 4, tmp_path, "error")
    assert one.entry.row.defect_type == "rust"
    assert one.mask is None


# --- the table ----------------------------------------------------------------------------------


def test_the_manifest_has_one_line_a_picture_in_the_order_given() -> None:
    entries = make_entries("train/good/0", "test/ro st/'1", "test/good/ü")
    frame = build_manifest(entries, training_defects=[])
    assert tuple(frame.columns) == COLUMNS
    assert frame["image_id"].tolist() == ["train/good/0", "test/ro st/'1", "test/good/ü"]
    assert frame["path"].tolist()[1] == "bolt/test/ro st/'1.png"
    assert frame["mask_path"].tolist() == ["", "bolt/ground_truth/ro st/'1_mask.png", ""]
    assert frame["width"].tolist() == [8, 8, 8]
    assert not frame.isna().any().any()


def test_an_empty_list_of_pictures_gives_an_empty_table() -> None:
    assert tuple(build_manifest([], training_defects=[]).columns) == COLUMNS


def test_each_role_goes_to_its_pictures() -> None:
    entries = make_entries(
        "train/good/0", "train/rust/0", "train/rust/1", "test/good/0", "test/rust/0", "test/rust/1"
    )
    assert roles(entries, training_defects=["train/rust/1", "test/rust/0"]) == [
        "train_normal",
        "spare_defect",
        "train_defect",
        "test_normal",
        "train_defect",
        "test_defect",
    ]


def test_listed_normal_pictures_are_the_only_ones_trained_on() -> None:
    entries = make_entries("train/good/0", "train/good/1", "test/good/0")
    listed = ["train/good/1"]
    assert roles(entries, training_defects=[], training_normals=listed) == [
        "spare_normal",
        "train_normal",
        "test_normal",
    ]
    none = roles(entries, training_defects=[], training_normals=[])
    assert none == ["spare_normal", "spare_normal", "test_normal"]


def test_held_out_normal_pictures_are_never_trained_on() -> None:
    entries = make_entries("train/good/0", "validation/good/0", "test/good/0")
    expected = ["train_normal", "spare_normal", "test_normal"]
    assert roles(entries, training_defects=[]) == expected


def test_a_held_out_picture_that_is_trained_or_tested_on_is_named() -> None:
    entries = make_entries("train/good/0", "validation/good/0", "test/good/0")
    frame = build_manifest(entries, training_defects=[])  # their checksums are equal
    assert len(repeated_pictures(frame)) == 1
    assert len(repeated_pictures(frame[frame["split"] != "test"])) == 1
    assert repeated_pictures(frame[frame["split"] == "validation"]) == []


def test_every_listed_id_that_fits_no_picture_is_told() -> None:
    entries = make_entries("train/good/0", "test/rust/0")
    with pytest.raises(InputError) as caught:
        build_manifest(
            entries,
            training_defects=["test/rust/9", "train/good/0", "test/rust/0"],
            training_normals=["test/rust/0", "train/good/7"],
        )
    message = str(caught.value)
    assert "test/rust/9 is not a defective image" in message
    assert "train/good/0 is not a defective image" in message
    assert "test/rust/0 is not a normal image" in message
    assert "train/good/7 is not a normal image" in message
    assert "test/rust/0 is not a defective" not in message


# --- splits -------------------------------------------------------------------------------------


def test_types_take_turns_in_sorted_order() -> None:
    rows = [
        make_row(f"test/{name}")
        for name in ("c/2", "c/1", "a/5", "b/9", "a/3", "b/1", "a/4", "good/1")
    ]
    six = choose_training_defects(rows, 6, order="sorted")
    assert six == ["test/a/3", "test/b/1", "test/c/1", "test/a/4", "test/b/9", "test/c/2"]
    assert choose_training_defects(rows[::-1], 6, order="sorted") == six
    assert choose_training_defects(rows, 2, order="sorted") == six[:2]
    assert choose_training_defects(rows, 0, order="sorted") == []


def test_defects_of_the_training_split_come_first_and_alone() -> None:
    rows = [make_row(name) for name in ("test/a/1", "train/b/1", "train/b/2")]
    assert choose_training_defects(rows, 2, order="sorted") == ["train/b/1", "train/b/2"]
    with pytest.raises(InputError, match="3 asked for, 2 there"):
        choose_training_defects(rows, 3, order="sorted")


def test_drawn_defects_are_not_the_first_and_stay_when_others_come() -> None:
    rows = [make_row(f"test/{kind}/{number:03}") for kind in "ab" for number in range(40)]
    drawn = choose_training_defects(rows, 10, order="drawn")
    assert drawn == choose_training_defects(rows[::-1], 10, order="drawn")
    assert [image_id.split("/")[1] for image_id in drawn] == ["a", "b"] * 5
    numbers = [int(image_id.split("/")[2]) for image_id in drawn]
    assert sum(numbers) / len(numbers) > 10
    one_more = [*rows, make_row("test/b/999")]
    assert len({*drawn} & {*choose_training_defects(one_more, 10, order="drawn")}) >= 9


def test_one_file_on_both_sides_is_named() -> None:
    table = pd.DataFrame(
        [
            ("train/good/a", "train_normal", "1"),
            ("test/good/b", "test_normal", "1"),
            ("train/good/c", "train_normal", "2"),
            ("train/good/d", "train_normal", "2"),
            ("train/rust/e", "train_defect", "3"),
            ("train/good/f", "train_normal", "3"),
            ("test/rust/g", "test_defect", "4"),
        ],
        columns=["image_id", "role", "sha256"],
    )
    assert repeated_pictures(table) == [
        "train/good/a and test/good/b are one picture",
        "train/rust/e and train/good/f are one picture",
    ]


def test_a_split_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "split.yaml"
    path.write_text(
        "bolt:\n  train_defects: [test/rust/001]\n  train_normals: [train/good/1]\nnut: {}\n"
    )
    split = read_split(path, "bolt")
    assert (split.train_defects, split.train_normals) == (("test/rust/001",), ("train/good/1",))
    path.write_text("bolt:\n  train_defects: []\n")
    assert read_split(path, "bolt").train_normals is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("bolt: {train_defects: [a/b/c]}", "no category nut; it has bolt"),
        ("nut: {train_defect: [a]}", "must have train_defects"),
        ("nut: {train_defects: [a], other: [b]}", "must have train_defects"),
        ("nut: [a]", "must have train_defects"),
        ("nut: {train_defects: [1]}", "must hold image ids"),
        ("nut: {train_defects: abc}", "must hold image ids"),
        ("nut: {train_defects: [a, b, a]}", "listed twice"),
        ("- nut", "must map categories"),
        ("nut: [", "not valid YAML"),
    ],
)
def test_a_split_file_that_makes_no_sense_is_refused(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = tmp_path / "split.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=complaint) as caught:
        read_split(path, "nut")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_split_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml cannot be read"):
        read_split(tmp_path / "none.yaml", "nut")


def test_the_shipped_split_of_mvtec_moves_ten_defects_a_category() -> None:
    categories = yaml.safe_load((SPLITS / "mvtec_seed0.yaml").read_text())
    assert len(categories) == 15
    for category in categories:
        split = read_split(SPLITS / "mvtec_seed0.yaml", category)
        assert len(split.train_defects) == 10
        assert split.train_normals is None
        assert all(
            len(name.split("/")) == 3 and name.startswith("test/") for name in split.train_defects
        )
    bottle = read_split(SPLITS / "mvtec_seed0.yaml", "bottle").train_defects
    assert sorted(bottle) == [
        *(f"test/broken_large/{number}" for number in ("008", "011", "013")),
        *(f"test/broken_small/{number}" for number in ("002", "005", "008", "010", "021")),
        *(f"test/contamination/{number}" for number in ("002", "011")),
    ]


def test_the_shipped_split_of_ksdd2_fits_its_layout(tmp_path: Path) -> None:
    listed = read_split(SPLITS / "ksdd2_seed0.yaml", "ksdd2").train_defects
    assert len(listed) == 10
    stems = [Path(name).name for name in listed]
    for split, names in (("train", [*stems, "10000", "10001"]), ("test", ["20000"])):
        for name in names:
            write_png(tmp_path / split / f"{name}.png", np.zeros((9, 4, 3), np.uint8))
            write_png(tmp_path / split / f"{name}_GT.png", np.full((9, 4), name != "10000"))
    rows = read_ksdd2(tmp_path, "ksdd2")
    entries = [one.entry for one in load(rows, 4, tmp_path, "error")]
    counts = build_manifest(entries, training_defects=listed)["role"].value_counts()
    assert dict(counts) == {
        "train_defect": 10,
        "train_normal": 1,
        "spare_defect": 1,
        "test_defect": 1,
    }


@pytest.mark.real_data
def test_the_shipped_split_of_bottle_fits_the_real_folder() -> None:
    root = SHARED / "data" / "mvtec_512"
    entries = [Entry(row, 1, 1, "", "") for row in read_mvtec(root, "bottle")]
    listed = read_split(SPLITS / "mvtec_seed0.yaml", "bottle").train_defects
    counts = build_manifest(entries, training_defects=listed)["role"].value_counts()
    assert dict(counts) == {
        "train_normal": 209,
        "test_defect": 53,
        "test_normal": 20,
        "train_defect": 10,
    }


@pytest.mark.real_data
def test_the_shipped_split_of_the_tiles_is_what_its_comment_says() -> None:
    root = SHARED / "data" / "magnetic_tile"
    split = read_split(SPLITS / "magnetic_tile.yaml", "magnetic_tile")
    assert split.train_normals is not None
    rows = read_magnetic_tile(root, "magnetic_tile", training_normals=split.train_normals)
    defective = [row for row in rows if row.defect_type == "uneven"]
    for defect_type in ("blowhole", "break", "crack", "fray"):  # only their first can be chosen
        defective += [row for row in rows if row.defect_type == defect_type][:4]
    loaded = list(load(defective, 16, root, "drop", mask_values="shades"))
    kept = [one.entry for one in loaded]
    dropped = {row.image_id for row in defective} - {entry.row.image_id for entry in kept}
    assert dropped == {
        f"test/uneven/{name}"
        for name in ("exp3_num_45042", "exp4_num_124690", "exp4_num_352527", "exp4_num_45057")
    }
    assert list(split.train_defects) == choose_training_defects(
        [entry.row for entry in kept], 10, order="sorted"
    )
    names = sorted(row.path.stem for row in rows if row.is_normal)
    assert split.train_normals == tuple(f"train/good/{names[i * 952 // 400]}" for i in range(400))
    assert all(one.mask is not None and one.mask.any() for one in loaded)


# --- digest -------------------------------------------------------------------------------------
