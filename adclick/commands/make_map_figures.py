"""Pictures of one category's anomaly maps: best, median and worst cases, and their curves."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from adclick.data.geometry import contents_of, cropped
from adclick.data.rows import defect_rows, read_masks
from adclick.metrics.pixels import image_results
from adclick.reporting.case_sheets import MapCase, choose_cases, map_sheet
from adclick.reporting.line_figures import detection_curves
from adclick.reporting.style import place_title, save
from adclick.run.artifacts import image_ids, open_arrays, read_json
from adclick.run.errors import InputError
from adclick.run.job import Job, parse_job, run
from adclick.run.plan.figures import MakeMapFigures

COMMAND = "adclick.commands.make_map_figures"


def main(argv: Sequence[str] | None = None) -> None:
    """Cases are defective test images, none of them labelled for training, chosen by the AP of one
    method's map, of its first seed.
    """
    job = parse_job(
        COMMAND,
        MakeMapFigures,
        argv,
        doc=__doc__,
        inputs=["manifest", "images", "masks"],
        lists=["maps", "curves"],
        outputs=["maps_figure", "curves_figure"],
    )
    settings = job.settings
    names = settings.titles
    where = place_title(settings.dataset, settings.category, names)
    title = f"{where}: anomaly maps without any click"
    save(map_sheet(_cases(job), title=title), job.outputs["maps_figure"], stamp=job.stamp)
    curves = detection_curves(
        [read_json(path) for path in job.lists["curves"]],
        methods=settings.methods,
        titles=names,
        title=where,
    )
    save(curves, job.outputs["curves_figure"], stamp=job.stamp)


def _cases(job: Job[MakeMapFigures]) -> list[MapCase]:
    settings = job.settings
    truths = _test_defects(job)
    ids = list(truths)
    paths = dict(zip(settings.columns, job.lists["maps"], strict=True))
    shown = _read_rows(paths[settings.shown], "maps", ids)
    scores = [_average_precision(shown[image_id], truths[image_id]) for image_id in ids]
    ranked = choose_cases(scores, settings.figure_cases)
    chosen = {ids[place]: name for place, name in ranked.items()}
    printed = {method: settings.titles.get(method, method) for method in settings.columns}
    pictures = _read_rows(job.inputs["images"], "images", chosen)
    maps = {method: _read_rows(path, "maps", chosen) for method, path in paths.items()}
    cases: list[MapCase] = []
    for image_id, name in chosen.items():
        own = {printed[method]: found[image_id] for method, found in maps.items()}
        truth = truths[image_id]
        aps = {method: _average_precision(found, truth) for method, found in own.items()}
        main = printed[settings.shown]
        title = f"{name}, AP {100 * aps[main]:.1f} % of {main}: {image_id}"
        cases.append(MapCase(pictures[image_id], truth, own, title, aps))
    return cases


def _average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    found = image_results([scores], [truth])[0].ap
    assert found is not None  # neither empty nor full
    return found


def _test_defects(job: Job[MakeMapFigures]) -> dict[str, np.ndarray]:
    """Masks of the defective test images whose maps can be scored: not empty, not full."""
    truths = read_masks(job.inputs["masks"])
    found = {
        image_id: truths[image_id]
        for _, image_id, _ in defect_rows(job.inputs["manifest"], roles=["test_defect"])
        if image_id in truths and truths[image_id].any() and not truths[image_id].all()
    }
    if not found:
        raise InputError(f"{job.inputs['manifest']}: no defective test image to draw")
    return found


def _read_rows(path: Path, name: str, ids: Iterable[str]) -> dict[str, np.ndarray]:
    """One array's entries of some images, by image id, each as large as its picture."""
    with open_arrays(path) as file:
        rows = {image_id: row for row, image_id in enumerate(image_ids(file))}
        contents = contents_of(file, name)
        return {
            image_id: cropped(file[name][rows[image_id]], contents[rows[image_id]])
            for image_id in ids
        }


if __name__ == "__main__":
    run(main)
