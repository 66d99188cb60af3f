"""Folder layouts: what each reader makes of a folder, and how it tells what is wrong with one."""

import os
from pathlib import Path

import numpy as np
import pytest

from adclick.data.images import write_png
from adclick.data.layouts.csv import read_rows as read_csv
from adclick.data.layouts.ksdd2 import read_rows as read_ksdd2
from adclick.data.layouts.magnetic_tile import read_rows as read_magnetic_tile
from adclick.data.layouts.mvtec import read_rows as read_mvtec
from adclick.data.reading import Row, decode_row
from adclick.run.errors import InputError
from adclick.run.kinds import load_kind
from adclick.run.settings.data import LAYOUTS

SHARED = Path(__file__).parents[2].parent / "shared"


def draw(*paths: Path, shape: tuple[int, int] = (6, 8)) -> None:
    for path in paths:
        write_png(path, np.full((*shape, 3), 90, np.uint8))


def draw_mask(*paths: Path, shape: tuple[int, int] = (6, 8), empty: bool = False) -> None:
    for path in paths:
        mask = np.zeros(shape, bool)
        mask[1:3, 2:4] = not empty
        write_png(path, mask)


def draw_mvtec(root: Path, category: str = "bolt") -> Path:
    folder = root / category
    draw(*(folder / "train" / "good" / f"{number:03}.png" for number in range(3)))
    draw(folder / "test" / "good" / "000.png")
    for defect_type in ("bent", "rust"):
        draw(*(folder / "test" / defect_type / f"{number:03}.png" for number in range(2)))
        draw_mask(
            *(
                folder / "ground_truth" / defect_type / f"{number:03}_mask.png"
                for number in range(2)
            )
        )
    return folder


def complaint(action: object, *arguments: object, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        action(*arguments, **options)  # pyright: ignore
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- MVTec --------------------------------------------------------------------------------------


def test_every_picture_of_the_mvtec_layout_is_one_row(tmp_path: Path) -> None:
    draw_mvtec(tmp_path)
    rows = read_mvtec(tmp_path, "bolt")
    assert [row.image_id for row in rows] == [
        "test/bent/000",
        "test/bent/001",
        "test/good/000",
        "test/rust/000",
        "test/rust/001",
        "train/good/000",
        "train/good/001",
        "train/good/002",
    ]
    assert rows[0] == Row(
        "test/bent/000",
        Path("bolt/test/bent/000.png"),
        "test",
        "bent",
        Path("bolt/ground_truth/bent/000_mask.png"),
    )
    assert rows[2] == Row("test/good/000", Path("bolt/test/good/000.png"), "test", "good", None)


def test_a_missing_mask_shifts_no_other(tmp_path: Path) -> None:
    folder = draw_mvtec(tmp_path)
    (folder / "ground_truth" / "bent" / "000_mask.png").unlink()
    message = complaint(read_mvtec, tmp_path, "bolt")
    assert "bolt/test/bent/000.png has no mask" in message
    assert "001" not in message
    assert "still to be labelled belong to the split train" in message


def test_masks_may_lack_the_ending_and_pair_whatever_sorts_first(tmp_path: Path) -> None:
    folder = tmp_path / "bolt"
    draw(
        folder / "train/good/0.png",
        *(folder / f"test/bent/{stem}.png" for stem in ("1", "10", "2")),
    )
    masks = [folder / f"ground_truth/bent/{name}.png" for name in ("1", "10_mask", "2_mask")]
    draw_mask(*masks)
    pairs = {row.path.stem: row.mask_path for row in read_mvtec(tmp_path, "bolt") if row.mask_path}
    assert pairs == {
        "1": Path("bolt/ground_truth/bent/1.png"),
        "10": Path("bolt/ground_truth/bent/10_mask.png"),
        "2": Path("bolt/ground_truth/bent/2_mask.png"),
    }


def test_defects_of_the_training_split_are_read(tmp_path: Path) -> None:
    folder = draw_mvtec(tmp_path)
    draw(folder / "train" / "bent" / "900.png")
    draw_mask(folder / "ground_truth" / "bent" / "900_mask.png")
    row = next(row for row in read_mvtec(tmp_path, "bolt") if row.image_id == "train/bent/900")
    assert (row.split, row.defect_type) == ("train", "bent")
    assert row.mask_path == Path("bolt/ground_truth/bent/900_mask.png")


def test_normal_pictures_may_be_held_out(tmp_path: Path) -> None:
    folder = draw_mvtec(tmp_path)
    draw(folder / "validation/good/000.png")
    rows = {row.image_id: row for row in read_mvtec(tmp_path, "bolt")}
    assert len(rows) == 9
    assert rows["validation/good/000"].is_normal
    assert rows["validation/good/000"].split == "validation"


def test_a_sheet_may_hold_normal_pictures_out_and_no_others(tmp_path: Path) -> None:
    sheet = tmp_path / "bolt.csv"
    lines = ["image_path,label,split", "a.png,normal,train", "b.png,normal,val"]
    sheet.write_text("\n".join([*lines, "c.png,normal,validation"]))
    draw(*(tmp_path / f"{name}.png" for name in "abcd"))
    assert [row.split for row in read_csv(tmp_path, "bolt")] == [
        "train",
        "validation",
        "validation",
    ]
    sheet.write_text("\n".join([*lines, "d.png,abnormal,val"]))
    assert "which is for normal pictures alone" in complaint(read_csv, tmp_path, "bolt")


def test_defects_of_the_training_split_may_be_unlabelled(tmp_path: Path) -> None:
    folder = draw_mvtec(tmp_path)
    draw(folder / "train/bent/900.png", folder / "train/bent/901.png")
    draw_mask(folder / "ground_truth/bent/901_mask.png")
    masks = {row.image_id: row.mask_path for row in read_mvtec(tmp_path, "bolt")}
    assert masks["train/bent/900"] is None
    assert masks["train/bent/901"] == Path("bolt/ground_truth/bent/901_mask.png")
    (tmp_path / "nut.csv").write_text(
        "image_path,label,split\na/1.png,normal,\na/2.png,abnormal,train\n"
    )
    rows = read_csv(tmp_path, "nut")
    assert [(row.image_id, row.mask_path) for row in rows if not row.is_normal] == [
        ("train/defect/2", None)
    ]


def test_dotfiles_other_files_and_masks_of_good_are_ignored(tmp_path: Path) -> None:
    folder = draw_mvtec(tmp_path)
    before = read_mvtec(tmp_path, "bolt")
    draw(folder / "test/bent/.hidden.png", folder / "test/.ipynb_checkpoints/000.png")
    draw_mask(
        folder / "ground_truth/good/000_mask.png", folder / "ground_truth/bent/._000_mask.png"
    )
    (folder / "test/bent/Thumbs.db").write_bytes(b"x")
    (folder / "license.txt").write_text("words")
    assert read_mvtec(tmp_path, "bolt") == before


def test_names_with_spaces_quotes_and_umlauts_work(tmp_path: Path) -> None:
    root = tmp_path / "größe \"a\" & 'b' 数据"
    folder = root / "ß $HOME"
    draw(folder / "train/good/ü 1.png", folder / "test/kratz er's/日本.png")
    draw_mask(folder / "ground_truth/kratz er's/日本_mask.png")
    rows = read_mvtec(root, "ß $HOME")
    assert [row.image_id for row in rows] == ["test/kratz er's/日本", "train/good/ü 1"]
    assert (root / rows[0].path).is_file()


def test_names_that_no_table_can_hold_are_told(tmp_path: Path) -> None:
    folder = draw_mvtec(tmp_path)
    draw(folder / "train/-x/000.png", folder / os.fsdecode(b"train/good/\xe4.png"))
    message = complaint(read_mvtec, tmp_path, "bolt")
    assert "bolt/train/good/\\xe4.png has a name that is no UTF-8, or" in message
    assert "'-x' is no name of a kind of defect: it begins with -; rename it" in message


def test_names_with_spaces_of_all_kinds_work(tmp_path: Path) -> None:
    """As macOS calls screenshots, and input methods write."""
    folder = draw_mvtec(tmp_path)
    stem = "Screenshot at 9.41\u202fAM \u3000 x\u200dy"
    draw(folder / f"train/good/{stem}.png")
    assert f"train/good/{stem}" in {row.image_id for row in read_mvtec(tmp_path, "bolt")}


def test_a_link_to_nothing_is_told(tmp_path: Path) -> None:
    folder = draw_mvtec(tmp_path)
    (folder / "test/rust/001.png").unlink()
    (folder / "test/rust/001.png").symlink_to("nothing.png")
    found = load_kind(LAYOUTS, "mvtec").read_rows(tmp_path, "bolt")
    problems: list[str] = []
    decoded = [decode_row(tmp_path, row, problems, mask_values=None) for row in found]
    (problem,) = problems
    assert problem.startswith(f"{tmp_path}/bolt/test/rust/001.png: cannot be read (No such file")
    assert decoded.count(None) == 1


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    folder = draw_mvtec(tmp_path)
    (folder / "ground_truth/bent/001_mask.png").unlink()  # a defect without a mask
    draw_mask(folder / "ground_truth/rust/777_mask.png")  # a mask without an image
    draw_mask(folder / "ground_truth/gone/000_mask.png")  # a type without images
    draw_mask(folder / "ground_truth/rust/000_mask.png", shape=(5, 9))  # another size
    mask = folder / "ground_truth/rust/001_mask.png"
    mask.write_bytes(mask.read_bytes()[:40])  # truncated
    picture = folder / "train/good/002.png"
    picture.write_bytes(picture.read_bytes()[:50])
    message = complaint(read_mvtec, tmp_path, "bolt")
    assert f"{tmp_path}, category bolt" in message
    for part in (
        "bolt/test/bent/001.png has no mask",
        "bolt/ground_truth/rust/777_mask.png has no image",
        "bolt/ground_truth/gone/000_mask.png has no image",
        "bolt/ground_truth/rust/000_mask.png has 9 x 5 pixels,"
        " its image bolt/test/rust/000.png 8 x 6",
        "bolt/ground_truth/rust/001_mask.png: broken, or not a picture",
        "bolt/train/good/002.png: cannot be decoded",
    ):
        assert part in message, part
    assert message.count(";") >= 5


def test_two_masks_two_images_of_one_name_and_a_shared_mask_are_told(tmp_path: Path) -> None:
    folder = draw_mvtec(tmp_path)
    draw_mask(folder / "ground_truth/bent/000.png")
    draw(folder / "test/rust/000.bmp", folder / "train/rust/001.png")
    message = complaint(read_mvtec, tmp_path, "bolt")
    assert "bolt/test/bent/000.png has 2 masks (000_mask.png, 000.png)" in message
    assert "test/rust/000 has 2 files" in message
    assert (
        "rust/001_mask.png is the mask of bolt/train/rust/001.png and bolt/test/rust/001.png"
        in message
    )


def test_a_jpeg_mask_is_told_apart_from_a_missing_one(tmp_path: Path) -> None:
    folder = draw_mvtec(tmp_path)
    mask = folder / "ground_truth/bent/000_mask.png"
    mask.unlink()
    from PIL import Image

    Image.new("L", (8, 6), 255).save(mask.with_suffix(".jpg"))
    assert read_mvtec(tmp_path, "bolt")[0].mask_path == Path("bolt/ground_truth/bent/000_mask.jpg")
    draw(folder / "test/bent/002.png")
    message = complaint(read_mvtec, tmp_path, "bolt")
    assert "bent/002.png has no mask" in message
    assert "000_mask.jpg: a mask stored as JPEG has blurred edges" in message


def test_after_twenty_problems_the_rest_is_counted(tmp_path: Path) -> None:
    draw(tmp_path / "bolt/train/good/0.png")
    draw(*(tmp_path / f"bolt/test/bent/{number:02}.png" for number in range(25)))
    message = complaint(read_mvtec, tmp_path, "bolt")
    assert "bent/19.png" in message
    assert "bent/20.png" not in message
    assert message.endswith("; and 5 more")


def test_an_empty_category_is_told(tmp_path: Path) -> None:
    (tmp_path / "bolt").mkdir()
    assert "bolt/train/good has no image" in complaint(read_mvtec, tmp_path, "bolt")


@pytest.mark.parametrize(
    ("layout", "where_to_get_it"),
    [
        ("mvtec", "mvtec.com"),
        ("toy", "make demo"),
        ("ksdd2", "vicos.si"),
        ("magnetic_tile", "GitHub"),
        ("csv", "image_path"),
    ],
)
def test_a_missing_root_says_where_it_looked_and_what_to_do(
    tmp_path: Path, layout: str, where_to_get_it: str
) -> None:
    message = complaint(load_kind(LAYOUTS, layout).read_rows, tmp_path / "no where", "bolt")
    assert str(tmp_path / "no where") in message
    assert where_to_get_it in message
    assert "`make demo` needs no data" in message


# --- KolektorSDD2 -------------------------------------------------------------------------------


def draw_ksdd2(root: Path) -> None:
    for split, numbers in (("train", (10301, 10302, 10303)), ("test", (20000, 20001))):
        for number in numbers:
            draw(root / split / f"{number}.png", shape=(63, 23))
            draw_mask(root / split / f"{number}_GT.png", shape=(63, 23), empty=number % 2 == 1)


def test_ksdd2_is_read_as_published(tmp_path: Path) -> None:
    draw_ksdd2(tmp_path)
    draw(tmp_path / "train" / "10301 (copy).png", tmp_path / "train" / "10301_GT (copy).png")
    rows = read_ksdd2(tmp_path, "ksdd2")
    assert [(row.image_id, row.mask_path and row.mask_path.as_posix()) for row in rows] == [
        ("test/defect/20000", "test/20000_GT.png"),
        ("test/good/20001", None),
        ("train/defect/10302", "train/10302_GT.png"),
        ("train/good/10301", None),
        ("train/good/10303", None),
    ]


def test_what_is_wrong_with_ksdd2_is_told(tmp_path: Path) -> None:
    draw_ksdd2(tmp_path)
    (tmp_path / "train/10302_GT.png").unlink()
    (tmp_path / "train/10303.png").unlink()
    (tmp_path / "test/20000_GT.png").write_bytes(b"broken")
    message = complaint(read_ksdd2, tmp_path, "ksdd2")
    assert "train/10302.png has no mask" in message
    assert "train/10303_GT.png has no image" in message
    assert "test/20000_GT.png: broken, or not a picture" in message


def test_a_ksdd2_without_its_test_split_is_told(tmp_path: Path) -> None:
    draw(tmp_path / "train/1.png")
    draw_mask(tmp_path / "train/1_GT.png")
    assert "test has no image" in complaint(read_ksdd2, tmp_path, "ksdd2")


# --- magnetic tiles -----------------------------------------------------------------------------


def draw_tiles(root: Path) -> None:
    from PIL import Image

    for name in ("Blowhole", "Break", "Crack", "Fray", "Uneven", "Free"):
        for number in (1, 2):
            path = root / f"MT_{name}" / "Imgs" / f"exp{number}_num_{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 6), 90).save(path)
            draw_mask(path.with_suffix(".png"), empty=name == "Free")


def test_tiles_are_for_testing_except_the_listed_normals(tmp_path: Path) -> None:
    draw_tiles(tmp_path)
    rows = read_magnetic_tile(tmp_path, "tile", training_normals=["train/good/exp2_num_2"])
    assert len(rows) == 12
    assert [row.image_id for row in rows if row.split == "train"] == ["train/good/exp2_num_2"]
    assert {row.defect_type for row in rows} == {
        "blowhole",
        "break",
        "crack",
        "fray",
        "uneven",
        "good",
    }
    assert rows[0].mask_path == Path("MT_Blowhole/Imgs/exp1_num_1.png")
    assert all((row.mask_path is None) == row.is_normal for row in rows)


def test_what_is_wrong_with_the_tiles_is_told(tmp_path: Path) -> None:
    draw_tiles(tmp_path)
    (tmp_path / "MT_Crack/Imgs/exp1_num_1.png").unlink()
    (tmp_path / "MT_Fray/Imgs/exp2_num_2.jpg").unlink()
    for path in (tmp_path / "MT_Break/Imgs").iterdir():
        path.unlink()
    message = complaint(
        read_magnetic_tile, tmp_path, "tile", training_normals=["train/good/absent"]
    )
    assert "MT_Crack/Imgs/exp1_num_1.jpg has no mask" in message
    assert "MT_Fray/Imgs/exp2_num_2.png has no image" in message
    assert "MT_Break/Imgs has no image" in message
    assert "train/good/absent is listed for training but is no image" in message


# --- sample sheets ------------------------------------------------------------------------------


def test_a_sheet_with_anomalibs_columns_is_read(tmp_path: Path) -> None:
    (tmp_path / "bolt.csv").write_text(
        "\ufeffimage_path,label,label_index,split,mask_path,defect_type,remark\n"
        "a/1.png,normal,0,train,,,\n"
        "a/2.png,normal_test,0,,,,\n"
        '"b, c/3.png",abnormal,1,test,m/3.png,scratch,"deep, long"\n'
        "b/4.png,abnormal,1,train,m/4.png,,\n",
        encoding="utf-8",
    )
    rows = read_csv(tmp_path, "bolt")
    assert rows == [
        Row("test/good/2", Path("a/2.png"), "test", "good", None),
        Row("test/scratch/3", Path("b, c/3.png"), "test", "scratch", Path("m/3.png")),
        Row("train/defect/4", Path("b/4.png"), "train", "defect", Path("m/4.png")),
        Row("train/good/1", Path("a/1.png"), "train", "good", None),
    ]


def test_pictures_of_one_name_in_two_folders_get_two_ids(tmp_path: Path) -> None:
    (tmp_path / "bolt.csv").write_text("image_path,label_index\na/1.png,0\nb/1.png,0\nb/2.png,0\n")
    assert [row.image_id for row in read_csv(tmp_path, "bolt")] == [
        "train/good/2",
        "train/good/a-1",
        "train/good/b-1",
    ]


def test_lines_that_make_no_sense_are_told_by_number(tmp_path: Path) -> None:
    draw(tmp_path / "1.png")
    (tmp_path / "bolt.csv").write_text(
        "image_path,label,split,mask_path\n"
        "1.png,normal,,\n"
        "1.png,odd,,\n"
        "1.png,normal,other,\n"
        ",normal,,\n"
        "2.png,abnormal,,\n"
    )
    message = complaint(read_csv, tmp_path, "bolt")
    assert "line 3: label is 'odd'" in message
    assert "line 4: split is 'other'" in message
    assert "line 5: image_path is empty" in message
    assert "line 6: 2.png has no mask_path" in message
    assert "2.png: cannot be read" in message


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ("abnormal,train,good", "line 2: defect_type is good, but the label abnormal"),
        ("abnormal,train,a/b", "line 2: defect_type 'a/b' is no name of a kind of defect: it has"),
    ],
)
def test_a_kind_of_defect_has_a_name_that_fits_everywhere(
    tmp_path: Path, cells: str, says: str
) -> None:
    draw(tmp_path / "1.png")
    (tmp_path / "bolt.csv").write_text(f"image_path,label,split,defect_type\n1.png,{cells}\n")
    assert says in complaint(read_csv, tmp_path, "bolt")


def test_a_sheet_without_the_needed_columns_or_not_in_utf8_is_refused(tmp_path: Path) -> None:
    assert "bolt.csv: cannot be read" in complaint(read_csv, tmp_path, "bolt")
    (tmp_path / "bolt.csv").write_text("image,label\n")
    assert "needs the columns image_path" in complaint(read_csv, tmp_path, "bolt")
    (tmp_path / "bolt.csv").write_bytes("image_path,label\nß.png,normal\n".encode("latin-1"))
    assert "not UTF-8" in complaint(read_csv, tmp_path, "bolt")


# --- real data ----------------------------------------------------------------------------------


@pytest.mark.real_data
def test_bottle_is_complete() -> None:
    rows = read_mvtec(SHARED / "data" / "mvtec_512", "bottle")
    kinds = [(row.split, row.defect_type) for row in rows]
    assert kinds.count(("train", "good")) == 209
    assert kinds.count(("test", "good")) == 20
    assert sum(row.mask_path is not None for row in rows) == 63


@pytest.mark.real_data
def test_the_magnetic_tiles_are_complete() -> None:
    rows = read_magnetic_tile(SHARED / "data" / "magnetic_tile", "magnetic_tile")
    counts = {
        kind: sum(row.defect_type == kind for row in rows)
        for kind in {row.defect_type for row in rows}
    }
    assert counts == {
        "good": 952,
        "blowhole": 115,
        "uneven": 103,
        "break": 85,
        "crack": 57,
        "fray": 32,
    }
