"""The figures' commands on small made-up artifacts: which cases are chosen, and what they say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from adclick.commands import (
    evaluate_maps,
    make_click_figures,
    make_label_costs,
    make_map_figures,
    make_training_figure,
)
from adclick.metrics.pixels import pixel_metrics
from adclick.run.artifacts import (
    ArraySpec,
    create_array,
    create_arrays,
    open_arrays,
    write_csv,
    write_json,
)

SIDE, DEFECTS, STAMP = 24, 5, {"command": "made up"}
DEFECT_IDS = [f"test/scratch/{number}" for number in range(DEFECTS)]
IDS = [*DEFECT_IDS, "test/good/0", "train/scratch/0"]
ROLES = ["test_defect"] * DEFECTS + ["test_normal", "train_defect"]
# How far each image's defect stands out in the maps; the last image was labelled for training.
CONTRASTS = [0.2, 3.0, -1.0, 1.0, 2.0, 0.0, 9.0]
IOUS = [[0.1, 0.6], [0.9, 0.2], [0.5, 0.3], [0.3, 0.9], [0.2, 0.4]]
TITLES = {"toy": "Toy", "weak": "ours"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    masks = np.zeros((len(IDS), SIDE, SIDE), np.uint8)
    for number in [*range(DEFECTS), len(IDS) - 1]:
        masks[number, 4 + number : 10 + number, 6:14] = 1
    noise = np.random.default_rng(0).normal(size=masks.shape)
    maps = noise + masks * np.array(CONTRASTS)[:, None, None]
    images = np.random.default_rng(1).integers(0, 256, (*masks.shape, 3))
    write(tmp_path / "images.h5", IDS, images=images.astype(np.uint8))
    defective = [number for number, mask in enumerate(masks) if mask.any()]
    write(tmp_path / "masks.h5", [IDS[place] for place in defective], masks=masks[defective])
    write(tmp_path / "weak.h5", IDS, maps=maps.astype(np.float32))
    write(tmp_path / "training_free.h5", IDS, maps=noise.astype(np.float32))
    table = pd.DataFrame(
        {
            "image_id": IDS,
            "split": ["test"] * (len(IDS) - 1) + ["train"],
            "defect_type": "scratch",
            "role": ROLES,
            "height": SIDE,
            "width": SIDE,
        }
    )
    write_csv(tmp_path / "manifest.csv", table, stamp=STAMP)
    return tmp_path


def write(path: Path, ids: list[str], **arrays: np.ndarray) -> None:
    specs = {name: ArraySpec(array.shape[1:], str(array.dtype)) for name, array in arrays.items()}
    with create_arrays(path, image_ids=ids, specs=specs, stamp=STAMP) as file:
        for name, array in arrays.items():
            file[name][:] = array


def flags(**values: Any) -> list[str]:
    found: list[str] = []
    for name, value in values.items():
        listed = value if isinstance(value, list) else [value]
        found += [f"--{name.replace('_', '-')}", *map(str, listed)]
    return found


def settings(**values: Any) -> str:
    return json.dumps({"dataset": "toy", "category": "cloth", "titles": TITLES, **values})


def evaluate(folder: Path, method: str) -> tuple[Path, Path]:
    outputs = folder / f"{method}.metrics.json", folder / f"{method}.curves.json"
    own = {"dataset": "toy", "category": "cloth", "method": method, "supervised": method == "weak"}
    made = folder / "manifest.csv", folder / "masks.h5", folder / f"{method}.h5"
    evaluate_maps.main(
        flags(
            settings=json.dumps(own),
            seed=0,
            **dict(zip(("manifest", "masks", "maps"), made, strict=True)),
            **dict(zip(("metrics", "curves"), outputs, strict=True)),
        )
    )
    return outputs


def row_titles(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.texts]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the commands save, by file name; the files are written as well."""
    kept: dict[str, Any] = {}
    for module in (make_click_figures, make_label_costs, make_map_figures, make_training_figure):
        write_figure = module.save

        def save(figure: Any, path: Path, *, stamp: Any, write_figure: Any = write_figure) -> None:
            kept[path.name] = figure
            write_figure(figure, path, stamp=stamp)

        monkeypatch.setattr(module, "save", save)
    return kept


def test_the_curves_have_the_area_of_the_metrics(folder: Path) -> None:
    for method, sets in (("weak", 1), ("training_free", 2)):
        metrics, curves = (json.loads(path.read_text()) for path in evaluate(folder, method))
        assert len(metrics["test_sets"]) == len(curves["test_sets"]) == sets
        for name, found in curves["test_sets"].items():
            for kind, number in (("precision", "pixel_ap"), ("overlap", "pixel_pro")):
                steps = found[kind]
                area = np.average(steps["means"], weights=np.diff(steps["edges"]))
                assert area == pytest.approx(metrics["test_sets"][name][number], abs=1e-12)
                assert len(steps["means"]) <= 200


def test_maps_are_the_best_median_and_worst_test_images_by_their_ap(
    folder: Path, figures: dict[str, Any]
) -> None:
    methods = ["training_free", "weak"]
    curves = [evaluate(folder, method)[1] for method in methods]
    make_map_figures.main(
        flags(
            settings=settings(figure_cases=3, columns=methods, methods=methods, shown="weak"),
            manifest=folder / "manifest.csv",
            images=folder / "images.h5",
            masks=folder / "masks.h5",
            maps=[folder / f"{method}.h5" for method in methods],
            curves=curves,
            maps_figure=folder / "maps.png",
            curves_figure=folder / "curves.png",
        )
    )
    title, *rows = row_titles(figures["maps.png"])
    assert title == "Toy, cloth: anomaly maps without any click"
    assert [row.split(",")[0] for row in rows] == ["best", "median", "worst"]
    assert [row.split(": ")[1] for row in rows] == [DEFECT_IDS[place] for place in (1, 3, 2)]
    best = rows[0].split("AP ")[1].split(" % of ours")[0]
    assert f"ours\nAP {best} %" in [axes.get_title() for axes in figures["maps.png"].axes]
    assert float(best) == pytest.approx(100 * own_ap(folder, 1), abs=0.05)
    assert (folder / "curves.png.stamp.json").is_file()


def own_ap(folder: Path, place: int) -> float:
    with open_arrays(folder / "weak.h5") as maps, open_arrays(folder / "masks.h5") as masks:
        return pixel_metrics(maps["maps"][place][None], masks["masks"][place][None] > 0).ap


def test_clicks_are_the_best_median_and_worst_images_by_their_last_iou(
    folder: Path, figures: dict[str, Any]
) -> None:
    with create_arrays(
        folder / "clicks.h5",
        image_ids=DEFECT_IDS,
        specs={"masks": ArraySpec((1, 2, SIDE, -(-SIDE // 8)), "uint8")},
        stamp=STAMP,
    ) as file:
        create_array(file, "clicks", (DEFECTS, 1, 2, 3), "int32")[:] = [[8, 9, 1], [-1, -1, -1]]
    record = {"kind": "clicks", "dataset": "toy", "category": "cloth", "seed": 0, "ious": IOUS}
    paths = [folder / "threshold.json", folder / "weak.json"]
    for path in paths:
        counts = {"1": {"miou": 0.4}, "2": {"miou": 0.5}}
        write_json(path, {**record, "method": path.stem, "counts": counts}, stamp=STAMP)
    clicks = {"counts": [1, 2], "threshold": 0.5, "radius_px": 2, "label_clicks": 2}
    make_click_figures.main(
        flags(
            settings=settings(
                figure_cases=3, clicks=clicks, methods=["threshold", "weak"], shown="weak"
            ),
            images=folder / "images.h5",
            masks=folder / "masks.h5",
            maps=folder / "clicks.h5",
            metrics=paths,
            clicks_figure=folder / "clicks.png",
            miou_figure=folder / "miou.png",
        )
    )
    assert row_titles(figures["clicks.png"]) == [
        "Toy, cloth: ours",
        f"best, IoU 90.0 % after 2 clicks: {DEFECT_IDS[3]}",
        f"median, IoU 40.0 % after 2 clicks: {DEFECT_IDS[4]}",
        f"worst, IoU 20.0 % after 2 clicks: {DEFECT_IDS[1]}",
    ]
    (legend,) = figures["miou.png"].legends
    assert [text.get_text() for text in legend.get_texts()] == ["threshold", "ours"]


def test_a_shared_pretraining_is_part_of_each_line(folder: Path, figures: dict[str, Any]) -> None:
    records = [folder / f"record{place}.json" for place in range(2)]
    for path, losses in zip(records, ([0.5, 0.4], [0.3, 0.2, 0.1]), strict=True):
        write_json(path, {"losses": losses, "seconds": 1.0}, stamp=STAMP)
    trainings = [
        {"network": "ADClick", "method": "pretrained", "pretraining": 0, "training": None},
        {"network": "ADClick", "method": "weak", "pretraining": 0, "training": 1},
    ]
    make_training_figure.main(
        flags(
            settings=settings(trainings=trainings),
            records=records,
            figure=folder / "losses.png",
        )
    )
    lines = figures["losses.png"].axes[0].get_lines()[:3]
    assert [list(line.get_ydata()) for line in lines] == [[0.5, 0.4], [0.5, 0.4], [0.3, 0.2, 0.1]]


def test_what_labels_buy_is_a_table_and_a_figure(folder: Path, figures: dict[str, Any]) -> None:
    records = [folder / f"metrics{place}.json" for place in range(2)]
    for path, method, ap in zip(records, ("none", "weak"), (0.4, 0.7), strict=True):
        scores = {"pixel_ap": ap, "pixel_pro": 0.9, "pixel_auroc": 0.95}
        payload = {"method": method, "seed": 0, "test_sets": {"supervised": scores}}
        write_json(path, payload, stamp=STAMP)
    costs = [
        {"method": "none", "supervision": "unsupervised", "images": 0, "clicks": 0},
        {"method": "weak", "supervision": "weak", "images": 3, "clicks": 5},
    ]
    make_label_costs.main(
        flags(
            settings=settings(costs=costs),
            metrics=records,
            table=folder / "labels.csv",
            figure=folder / "labels.png",
        )
    )
    table = pd.read_csv(folder / "labels.csv")
    assert table["method"].tolist() == ["none", "ours"]
    assert table["clicks in all"].tolist() == [0, 15]
    (line,) = figures["labels.png"].axes[0].get_lines()
    assert list(line.get_ydata()) == pytest.approx([40, 70])
