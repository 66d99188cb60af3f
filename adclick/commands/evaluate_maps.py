"""Score anomaly maps on a category's test images: AP, PRO, pixel and image AUROC (Sec. 4.1)."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from adclick.metrics.curves import map_curves
from adclick.metrics.pixels import pixel_metrics
from adclick.run.artifacts import image_ids, open_arrays, read_csv, write_json
from adclick.run.errors import InputError
from adclick.run.job import Job, parse_job, run
from adclick.run.plan.detection import EvaluateMaps

COMMAND = "adclick.commands.evaluate_maps"


def main(argv: Sequence[str] | None = None) -> None:
    """Write the metrics on the two test sets of reference protocol, and the curves behind them.

    `unsupervised`: the whole test split, training defects put back. `supervised`: without the
    training defects. A method that was trained on those is scored on the second alone.
    """
    job = parse_job(
        COMMAND,
        EvaluateMaps,
        argv,
        doc=__doc__,
        inputs=["manifest", "masks", "maps"],
        outputs=["metrics", "curves"],
        seeded=True,
    )
    settings = job.settings
    manifest = read_csv(job.inputs["manifest"])
    in_test = manifest["split"] == "test"
    kept = manifest["role"].isin(["test_normal", "test_defect"])
    sets = {"supervised": manifest.loc[kept, "image_id"].tolist()}
    if not settings.supervised:
        sets["unsupervised"] = manifest.loc[
            in_test & (manifest["role"] != "train_normal"), "image_id"
        ].tolist()
    scores: dict[str, Any] = {}
    curves: dict[str, Any] = {}
    for name, ids in sets.items():
        maps, masks = _read(job, ids)
        scores[name] = _score(maps, masks)
        curves[name] = asdict(map_curves(maps, masks))
    place = {
        "dataset": settings.dataset,
        "category": settings.category,
        "method": settings.method,
        "seed": job.seed,
    }
    for output, kind, found in (("metrics", "maps", scores), ("curves", "curves", curves)):
        payload = {"kind": kind, **place, "test_sets": found}
        write_json(job.outputs[output], payload, stamp=job.stamp)


def _read(job: Job[EvaluateMaps], ids: list[str]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Maps and masks of the given images; an image without a mask is normal."""
    with open_arrays(job.inputs["maps"]) as maps, open_arrays(job.inputs["masks"]) as masks:
        map_row = {image_id: row for row, image_id in enumerate(image_ids(maps))}
        mask_row = {image_id: row for row, image_id in enumerate(image_ids(masks))}
        missing = [image_id for image_id in ids if image_id not in map_row]
        if missing:
            raise InputError(
                f"{job.inputs['maps']}: no map of {len(missing)} test images, first {missing[0]}"
            )
        shape = maps["maps"].shape[1:]
        shown = [maps["maps"][map_row[image_id]] for image_id in ids]
        truths = [
            masks["masks"][mask_row[image_id]] > 0
            if image_id in mask_row
            else np.zeros(shape, bool)
            for image_id in ids
        ]
    return shown, truths


def _score(maps: list[np.ndarray], masks: list[np.ndarray]) -> dict[str, Any]:
    found = pixel_metrics(maps, masks)
    return {
        "pixel_ap": found.ap,
        "pixel_pro": found.pro,
        "pixel_auroc": found.auroc,
        "image_auroc": found.image_auroc,
        "images": len(maps),
    }


if __name__ == "__main__":
    run(main)
