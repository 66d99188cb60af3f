import csv
import json
import warnings
from collections import defaultdict
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import ExifTags, Image
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO

from adclick.annotate.actions import ClickAction, ObjectAction, TypeAction
from adclick.annotate.desk import Desk
from adclick.annotate.export import COCO_FILE, FORMATS, Label, compressed, finished_labels
from adclick.annotate.export import main as export_labels
from adclick.annotate.run_pictures import find_run_pictures
from adclick.annotate.store import Picture, run_lengths, save_label, saved_labels, saved_mask
from adclick.data.images import read_image, read_mask, write_png
from adclick.data.layouts.csv import read_rows as read_sheet
from adclick.run.artifacts import write_csv
from adclick.run.errors import InputError
from tests.annotate.conftest import SHAPE, make_desk
from tests.annotate.fake import FakeModel
from tests.annotate.masks import MASKS, filled


@pytest.fixture
def labels(desk, tmp_path) -> Path:
    """Two defects of two types in one image, one defect of unknown type, a normal, a skipped."""

    def label(key, edits, state):
        for edit in edits:
            desk.act(key, "ann", desk.open(key, "ann")["revision"], edit)
        desk.save(key, "ann", desk.open(key, "ann")["revision"], state)

    def click(row, column):
        return ClickAction(kind="click", row=row, column=column, positive=True)

    crack = TypeAction(kind="type", value="crack")
    stain = TypeAction(kind="type", value="stain")
    another = ObjectAction(kind="object", id=None)
    label("crack/000", [crack, click(10, 10), another, stain, click(30, 50)], "done")
    label("crack/001", [click(20, 20)], "done")
    label("zz", [], "normal")
    label("ü b/ä", [], "skipped")
    return tmp_path / "labels"


def exported(labels: Path, images: Path, form: str) -> Path:
    output = labels.parent / form
    export_labels(labels, images=images, output=output, form=form)
    return output


def test_mvtec(labels, images) -> None:
    output = exported(labels, images, "mvtec")
    found = sorted(path.relative_to(output).as_posix() for path in output.rglob("*.png"))
    assert found == [
        "ground_truth/combined/crack-000_mask.png",
        "ground_truth/unknown/crack-001_mask.png",
        "test/combined/crack-000.png",
        "test/good/zz.png",
        "test/unknown/crack-001.png",
    ]
    mask = read_mask(output / "ground_truth/combined/crack-000_mask.png")
    assert np.array_equal(mask, saved_mask(labels, "crack/000"))
    assert np.array_equal(read_image(output / "test/good/zz.png"), read_image(images / "zz.png"))


def test_anomalib(labels, images) -> None:
    output = exported(labels, images, "anomalib")
    with (output / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["label_index"] for row in rows] == ["1", "1", "0"]
    assert all((output / row["image_path"]).is_file() for row in rows)
    assert [(output / row["mask_path"]).is_file() for row in rows if row["mask_path"]] == [True] * 2


@pytest.mark.filterwarnings("ignore")
def test_anomalib_itself_reads_its_table(labels, images) -> None:
    tabular = pytest.importorskip("anomalib.data.datasets.image.tabular")
    output = exported(labels, images, "anomalib")
    found = tabular.make_tabular_dataset(pd.read_csv(output / "labels.csv"), root=output)
    assert sorted(found["label_index"]) == [0, 1, 1]
    assert all(Path(path).is_file() for path in found["mask_path"] if path)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_coco_is_read_back_by_its_own_library(labels, images) -> None:
    output = exported(labels, images, "coco")
    coco = COCO(output / COCO_FILE)
    (image,) = [one for one in coco.dataset["images"] if one["file_name"] == "crack-000.png"]
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
    names = [coco.cats[one["category_id"]]["name"] for one in annotations]
    assert names == ["crack", "stain"]
    union = np.any([coco.annToMask(one) for one in annotations], axis=0)
    assert np.array_equal(union, saved_mask(labels, "crack/000"))
    for one in annotations:
        assert one["area"] == coco.annToMask(one).sum()
        assert one["bbox"] == list(coco_masks.toBbox(one["segmentation"]))


def test_compressed_run_lengths_are_the_librarys() -> None:
    generator = np.random.default_rng(0)
    for share in (0.0, 0.02, 0.5, 0.97, 1.0):
        for shape in ((1, 1), (7, 3), (90, 130)):
            mask = generator.random(shape) < share
            expected = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
            assert compressed(mask) == expected.decode()


def test_yolo(labels, images) -> None:
    output = exported(labels, images, "yolo")
    lines = (output / "labels/crack-000.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1"]
    polygons = [np.array(line.split()[1:], float) for line in lines]
    assert np.array_equal(filled(polygons, (40, 60)), saved_mask(labels, "crack/000"))
    assert (output / "labels/zz.txt").read_text() == ""
    described = yaml.safe_load((output / "data.yaml").read_text())
    assert described["names"] == {0: "crack", 1: "stain", 2: "unknown"}
    assert "path" not in described  # else trainers look below where they are started
    assert (output / described["train"] / "crack-000.png").is_file()


def test_pngs_keep_the_types(labels, images) -> None:
    output = exported(labels, images, "png")
    classes = json.loads((output / "classes.json").read_text())
    assert classes == {"normal": 0, "crack": 1, "stain": 2, "unknown": 3}
    index = read_image(output / "types/crack-000.png")[:, :, 0]
    assert (index[10, 10], index[30, 50], index[39, 0]) == (1, 2, 0)
    assert set(np.unique(read_image(output / "masks/crack-000.png"))) == {0, 255}


def test_mistakes_are_named_and_leave_nothing(labels, images, tmp_path) -> None:
    output = tmp_path / "out"
    with pytest.raises(InputError, match="choose from mvtec"):
        export_labels(labels, images=images, output=output, form="voc")
    (images / "zz.png").unlink()
    with pytest.raises(InputError, match="no picture of zz|labels without a picture: zz"):
        export_labels(labels, images=images, output=output, form="png")
    output.mkdir()
    with pytest.raises(InputError, match="exists already"):
        export_labels(labels, images=images, output=output, form="png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no labels in it"):
        export_labels(tmp_path / "empty", images=images, output=tmp_path / "o", form="png")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["good", "../../x", "/tmp/x", "a|b", "a\nb", ".."])
def test_a_type_that_is_no_folders_name_is_refused(labels, images, name) -> None:
    path = labels / "crack/001.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["objects"][0]["type"] = name
    path.write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(InputError, match="is no name of a defect: it"):
        export_labels(labels, images=images, output=labels.parent / "out", form="mvtec")
    assert not (labels.parent / "out").exists()


def rows_of(sheet: Path) -> list[dict[str, str]]:
    with sheet.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_names_with_commas_and_quotes_stay_in_their_columns(desk, images, tmp_path) -> None:
    (images / "zz.png").rename(images / 'part 7, "left".png')
    made = make_desk(images, tmp_path / "labels")
    key = 'part 7, "left"'
    made.save(key, "ann", made.open(key, "ann")["revision"], "normal")
    output = exported(tmp_path / "labels", images, "anomalib")
    (row,) = rows_of(output / "labels.csv")
    assert (output / row["image_path"]).is_file()
    assert (row["label"], row["mask_path"], row["defect_type"]) == ("normal", "", "good")
    (known,) = read_sheet(output, "labels")
    assert (output / known.path).is_file()


def test_objects_of_another_size_than_the_picture_are_refused(labels, images) -> None:
    path = labels / "crack/000.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["objects"][0]["mask"] = run_lengths(np.ones((4, 6), bool))
    path.write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(InputError, match="crack/000.png: missing, or not of its picture's size"):
        export_labels(labels, images=images, output=labels.parent / "out", form="png")


@pytest.mark.parametrize("lost", [{}, {"mask": None}])
def test_a_defect_without_a_mask_is_told(labels, images, lost) -> None:
    path = labels / "crack/000.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["objects"][1] = {"type": "stain", **lost}
    path.write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(InputError, match="crack/000.json: defect 2 has no mask; restore or remove"):
        export_labels(labels, images=images, output=labels.parent / "out", form="coco")


@pytest.mark.parametrize("types", [["crack"], ["crack", "stain"]])
@pytest.mark.parametrize("form", ["coco", "yolo", "png"])
def test_a_mask_that_was_painted_elsewhere_is_the_last_word(labels, images, form, types) -> None:
    facts = json.loads((labels / "crack/000.json").read_text(encoding="utf-8"))
    for one, name in zip(facts["objects"], 2 * types, strict=False):
        one["type"] = name
    (labels / "crack/000.json").write_text(json.dumps(facts), encoding="utf-8")
    mask = np.zeros((40, 60), bool)
    mask[5:12, 3:20] = True  # less of the first defect, and more elsewhere
    mask[30, 49:51] = True
    write_png(labels / "crack/000.png", mask)
    found = READERS[form](exported(labels, images, form), "crack-000")
    assert np.array_equal(np.any(list(found.values()), axis=0), mask)
    assert set(found) == ({"crack"} if len(types) == 1 else {"crack", "stain", "unknown"})


@pytest.mark.parametrize("form", ["mvtec", "anomalib", "coco", "yolo", "png"])
@pytest.mark.parametrize("name", ["scratch (deep)", "R&D", "Öl 'fett' 50 %"])
def test_a_type_that_a_bank_may_have_can_be_exported(labels, images, name, form) -> None:
    path = labels / "crack/001.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["objects"][0]["type"] = name
    path.write_text(json.dumps(facts), encoding="utf-8")
    output = exported(labels, images, form)
    if form in ("mvtec", "anomalib"):
        assert (output / f"ground_truth/{name}/crack-001_mask.png").is_file()
    if form == "anomalib":
        text = (output / "labels.csv").read_text(encoding="utf-8")
        assert name in {row["defect_type"] for row in csv.DictReader(StringIO(text))}
    if form == "yolo":
        names = yaml.safe_load((output / "data.yaml").read_text(encoding="utf-8"))["names"]
        assert name in names.values()


@pytest.mark.parametrize(
    ("image_id", "path"),
    [
        ("train/crack/000", "cap/train/crack/000.png"),
        ("test/blowhole/exp1", "MT_Blowhole/Imgs/exp1.png"),
        ("train/scratch/a-1", "somewhere else/a/1.png"),
    ],
)
@pytest.mark.parametrize("kept", ["in the run", "elsewhere"])
def test_what_was_labelled_in_a_run_is_exported_from_its_data(
    tmp_path, image_id: str, path: str, kept: str
) -> None:
    """Ids are not paths: in MVTec's layout the ends of paths, in others neither."""
    run, data = tmp_path / "run", tmp_path / "data"
    labels = run / "annotate/labels" if kept == "in the run" else tmp_path / "labels"
    columns = {"image_id": [image_id], "path": [path], "role": ["train_defect"]}
    columns |= {"defect_type": [image_id.split("/")[1]]}
    write_csv(run / "make_manifest/manifest.csv", pd.DataFrame(columns), stamp={})
    (run / "make_manifest/images.h5").touch()
    write_png(data / path, np.full((*SHAPE, 3), 60, np.uint8))
    write_png((data / path).with_suffix(".jpg"), np.full((*SHAPE, 3), 60, np.uint8))
    pictures = find_run_pictures(run, data)
    desk = Desk(pictures, labels=labels, model=FakeModel({image_id: data / path}.__getitem__))
    click = ClickAction(kind="click", row=10, column=10, positive=True)
    session = desk.act(image_id, "ann", desk.open(image_id, "ann")["revision"], click)
    desk.save(image_id, "ann", session["revision"], "done")
    if kept == "in the run":  # as labels were before they said which file they are of
        facts = json.loads((labels / f"{image_id}.json").read_text())
        (labels / f"{image_id}.json").write_text(json.dumps({**facts, "path": None}))
    for number, images in enumerate((data, data / Path(path).parts[0])):
        output = tmp_path / f"out{number}"
        export_labels(labels, images=images, output=output, form="png")
        assert read_mask(output / f"masks/{image_id.replace('/', '-')}.png")[10, 10]


def test_a_picture_of_the_same_name_further_below_is_another(labels, images, capsys) -> None:
    (images / "old/crack").mkdir(parents=True)
    for name in ("zz", "crack/000", "crack/001"):
        (images / f"old/{name}.png").write_bytes(b"no picture")
    assert len(list((exported(labels, images, "png") / "masks").iterdir())) == 3
    said = capsys.readouterr().err
    assert (
        f"crack/000 is taken for {images}/crack/000.png, not for {images}/old/crack/000.png" in said
    )


def test_two_images_of_one_exported_name_are_refused(labels, images) -> None:
    (images / "crack-000.png").write_bytes((images / "crack/000.png").read_bytes())
    for suffix in (".png", ".json"):
        source = labels / f"crack/000{suffix}"
        (labels / f"crack-000{suffix}").write_bytes(source.read_bytes())
    with pytest.raises(InputError, match="two images would both be crack-000"):
        export_labels(labels, images=images, output=labels.parent / "out", form="png")


@pytest.fixture
def turned(images, tmp_path) -> Callable[[str, Image.Image, int], Path]:
    """The folder of labels of a picture that was saved with an orientation, as a normal one."""

    def label(name: str, stored: Image.Image, orientation: int) -> Path:
        exif = stored.getexif()
        exif[ExifTags.Base.Orientation] = orientation
        stored.save(images / name, exif=exif)
        made = make_desk(images, tmp_path / "turned-labels")
        key = Path(name).stem
        session = made.open(key, "ann")
        edit = ClickAction(kind="click", row=10, column=30, positive=True)
        made.act(key, "ann", session["revision"], edit)
        made.save(key, "ann", 1, "done")
        return tmp_path / "turned-labels"

    return label


NOISE = np.random.default_rng(1).integers(0, 256, (60, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["turned.png", "turned.jpg"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_a_turned_photograph_is_exported_upright_and_whole(
    turned, images, name, orientation
) -> None:
    output = exported(turned(name, Image.fromarray(NOISE), orientation), images, "mvtec")
    with Image.open(output / "test/unknown/turned.png") as picture:
        assert picture.getexif().get(ExifTags.Base.Orientation, 1) == 1
        upright = np.asarray(picture)
    assert np.array_equal(upright, read_image(images / name))
    mask = read_mask(output / "ground_truth/unknown/turned_mask.png")
    assert mask.shape == upright.shape[:2]


def test_a_turned_photograph_keeps_its_sixteen_bits(turned, images) -> None:
    stored = NOISE[:, :, 0].astype(np.uint16) * 250
    output = exported(turned("turned.png", Image.fromarray(stored), 6), images, "coco")
    with Image.open(output / "images/turned.png") as picture:
        assert np.array_equal(np.asarray(picture), np.rot90(stored, -1))


@pytest.mark.parametrize("orientation", [0, 1, 9])
def test_what_needs_no_turning_is_copied(turned, images, orientation) -> None:
    labels = turned("upright.jpg", Image.fromarray(NOISE), orientation)
    output = exported(labels, images, "yolo")
    assert (output / "images/upright.jpg").read_bytes() == (images / "upright.jpg").read_bytes()


# --- what went in comes back ---------------------------------------------------------------------


def from_mvtec(output: Path, name: str) -> dict[str, np.ndarray]:
    (path,) = output.glob(f"ground_truth/*/{name}_mask.png")
    return {"": read_mask(path)}


def from_anomalib(output: Path, name: str) -> dict[str, np.ndarray]:
    if not SHEETS.get(output):
        SHEETS[output] = {
            Path(row["image_path"]).stem: row for row in rows_of(output / "labels.csv")
        }
    return {"": read_mask(output / SHEETS[output][name]["mask_path"])}


def decoded(segmentation: dict[str, Any]) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        return coco_masks.decode(segmentation) > 0


def from_coco(output: Path, name: str) -> dict[str, np.ndarray]:
    if output not in SHEETS:
        content = json.loads((output / COCO_FILE).read_text())
        SHEETS[output] = defaultdict(dict)
        kinds = {one["id"]: one["name"] for one in content["categories"]}
        names = {one["id"]: Path(one["file_name"]).stem for one in content["images"]}
        for one in content["annotations"]:
            own = SHEETS[output][names[one["image_id"]]]
            mask = decoded(one["segmentation"])
            own[kinds[one["category_id"]]] = mask | own.get(kinds[one["category_id"]], False)
    return SHEETS[output][name]


def from_yolo(output: Path, name: str) -> dict[str, np.ndarray]:
    kinds = yaml.safe_load((output / "data.yaml").read_text())["names"]
    shape = read_image(output / f"images/{name}.png").shape[:2]
    lines = [line.split() for line in (output / f"labels/{name}.txt").read_text().splitlines()]
    return {
        kinds[int(number)]: filled(
            [np.array(line[1:], float) for line in lines if line[0] == number], shape
        )
        for number in {line[0] for line in lines}
    }


def from_pngs(output: Path, name: str) -> dict[str, np.ndarray]:
    numbers = json.loads((output / "classes.json").read_text())
    index = np.asarray(Image.open(output / f"types/{name}.png"))
    assert np.array_equal(read_mask(output / f"masks/{name}.png"), index > 0)
    return {kind: index == number for kind, number in numbers.items() if number in index[index > 0]}


SHEETS: dict[Path, Any] = {}
READERS = {
    "mvtec": from_mvtec,
    "anomalib": from_anomalib,
    "coco": from_coco,
    "yolo": from_yolo,
    "png": from_pngs,
}


@pytest.mark.parametrize("form", FORMATS)
def test_five_hundred_masks_come_back(tmp_path, form, monkeypatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)
    labels = []
    for index, mask in enumerate(MASKS):
        path = tmp_path / f"{mask.shape}.png"
        if not path.exists():
            write_png(path, np.zeros(mask.shape, bool))
        left = np.arange(mask.shape[1]) < mask.shape[1] // 2
        defects = [("crack", mask & left), ("stain", mask & ~left)]
        defects = [(kind, own) for kind, own in defects if own.any()]
        picture = Picture(str(index), path, mask.shape, None)
        labels.append(Label(picture, str(index), f"{index}.png", mask, defects))
    FORMATS[form](labels, tmp_path / form)
    for label in labels:
        found = READERS[form](tmp_path / form, label.name)
        assert np.array_equal(np.any(list(found.values()), axis=0), label.mask)
        for kind, mask in label.defects if "" not in found else ():
            assert np.array_equal(found[kind], mask)


def overlapping(mask: np.ndarray) -> dict[str, np.ndarray]:
    """A mask as the defects of two types, which share its middle."""
    share = np.arange(mask.shape[1]) / mask.shape[1]
    found = {"crack": mask & (share < 0.6), "stain": mask & (share > 0.4)}
    return {kind: own for kind, own in found.items() if own.any()}


@pytest.mark.parametrize("form", FORMATS)
def test_saved_labels_whose_objects_overlap_come_back(tmp_path, form, monkeypatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)
    pictures = {}
    for index, mask in enumerate(MASKS[::10]):
        key, path = f"part/{index}", tmp_path / f"{mask.shape}.png"
        if not path.exists():
            write_png(path, np.zeros(mask.shape, bool))
        objects = [
            {"type": kind, "mask": run_lengths(own)} for kind, own in overlapping(mask).items()
        ]
        save_label(tmp_path / "labels", key, {"state": "done", "objects": objects}, mask)
        pictures[key] = Picture(key, path, mask.shape, None)
    saved = saved_labels(tmp_path / "labels")
    FORMATS[form](finished_labels(tmp_path / "labels", saved, pictures), tmp_path / form)
    for index, mask in enumerate(MASKS[::10]):
        found = READERS[form](tmp_path / form, f"part-{index}")
        expected = overlapping(mask)
        if form == "png" and len(expected) == 2:  # a pixel has one type there: the last
            expected["crack"] = expected["crack"] & ~expected["stain"]
        assert np.array_equal(np.any(list(found.values()), axis=0), mask)
        for kind, own in expected.items() if "" not in found else ():
            assert np.array_equal(found.get(kind, np.zeros_like(mask)), own)
