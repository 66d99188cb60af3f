"""Pictures of one category: click sheets, anomaly maps, and mIoU against clicks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from adclick.artifacts import image_ids, open_arrays, read_json, write_text
from adclick.clicks import Click
from adclick.commands.entry import Job, parse_job, run
from adclick.commands.reading import read_masks
from adclick.config import MakeFigures
from adclick.figures import ClickCase, MapCase, click_sheet, map_sheet, miou_curve, save
from adclick.provenance import canonical_json

COMMAND = "adclick.commands.make_figures"
BEST_TO_WORST = {1: ("median",), 2: ("best", "worst"), 3: ("best", "median", "worst")}


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the last click method's best, median and worst cases, and their anomaly maps."""
    job = parse_job(
        COMMAND,
        MakeFigures,
        argv,
        doc=__doc__,
        inputs=["images", "masks"],
        lists=["click_metrics", "click_maps", "maps"],
        outputs=["clicks_figure", "maps_figure", "curve_figure"],
    )
    settings = job.settings
    where = f"{settings.dataset} / {settings.category}"
    metrics = [read_json(path) for path in job.lists["click_metrics"]]
    shown = next(one for one in metrics if one["method"] == settings.click_methods[-1])
    chosen = _chosen_cases(job, shown["ious"])
    with open_arrays(job.inputs["images"]) as file:
        images = dict(zip(image_ids(file), file["images"], strict=True))
    truths = read_masks(job.inputs["masks"])
    sheet = click_sheet(
        _click_cases(job, job.lists["click_maps"][-1], shown["ious"], chosen, images, truths),
        title=f"{where}: {settings.click_methods[-1]}",
    )
    save(sheet, job.outputs["clicks_figure"])
    cases = _map_cases(job, chosen, images, truths)
    save(
        map_sheet(cases, title=f"{where}: anomaly maps without clicks"), job.outputs["maps_figure"]
    )
    save(miou_curve(metrics, methods=settings.click_methods), job.outputs["curve_figure"])
    stamp_path = job.outputs["clicks_figure"].with_name("stamp.json")
    write_text(stamp_path, canonical_json(job.stamp) + "\n")


def _chosen_cases(job: Job[MakeFigures], ious: Sequence[Sequence[float]]) -> dict[int, str]:
    """Rows from the best to the worst IoU after the last click, evenly spaced, and what each is.

    Only images that have anomaly maps too, where there are any maps.
    """
    settings = job.settings
    final = np.array([own[max(settings.clicks.counts) - 1] for own in ious])
    with open_arrays(job.lists["click_maps"][-1]) as file:
        ids = image_ids(file)
    mapped = set(ids)
    for path in job.lists["maps"]:
        with open_arrays(path) as file:
            mapped &= set(image_ids(file))
    order = [int(row) for row in np.argsort(-final, kind="stable") if ids[row] in mapped]
    steps = np.linspace(0, len(order) - 1, min(settings.cases, len(order)))
    places = np.unique(steps.round().astype(int))
    names = BEST_TO_WORST.get(len(places), tuple(f"rank {place + 1}" for place in places))
    return {order[place]: name for place, name in zip(places, names, strict=True)}


def _click_cases(
    job: Job[MakeFigures],
    path: Path,
    ious: Sequence[Sequence[float]],
    chosen: Mapping[int, str],
    images: Mapping[str, np.ndarray],
    truths: Mapping[str, np.ndarray],
) -> list[ClickCase]:
    clicks = job.settings.clicks
    with open_arrays(path) as file:
        ids = image_ids(file)
        return [
            ClickCase(
                image=images[ids[row]],
                truth=truths[ids[row]],
                clicks=tuple(
                    Click(int(click[0]), int(click[1]), bool(click[2]))
                    for click in file["clicks"][row]
                    if click[0] >= 0
                ),
                masks={
                    count: file["probabilities"][row, place] > clicks.threshold
                    for place, count in enumerate(clicks.counts)
                },
                title=f"{name}: {ids[row]}",
                ious={count: ious[row][count - 1] for count in clicks.counts},
            )
            for row, name in chosen.items()
        ]


def _map_cases(
    job: Job[MakeFigures],
    chosen: Mapping[int, str],
    images: Mapping[str, np.ndarray],
    truths: Mapping[str, np.ndarray],
) -> list[MapCase]:
    with open_arrays(job.lists["click_maps"][-1]) as file:
        ids = image_ids(file)
    wanted = {ids[row]: name for row, name in chosen.items()}
    maps: dict[str, dict[str, np.ndarray]] = {image_id: {} for image_id in wanted}
    for method, path in zip(job.settings.map_methods, job.lists["maps"], strict=True):
        with open_arrays(path) as file:
            place = {image_id: row for row, image_id in enumerate(image_ids(file))}
            for image_id in wanted:
                if image_id in place:
                    maps[image_id][method] = file["maps"][place[image_id]]
    return [
        MapCase(
            images[image_id], truths[image_id], maps[image_id], f"{image_id} ({name} after clicks)"
        )
        for image_id, name in wanted.items()
    ]


if __name__ == "__main__":
    run(main)
