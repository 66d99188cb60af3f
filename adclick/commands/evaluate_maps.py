"""Score anomaly maps on a category's test images: AP, PRO, pixel and image AUROC (Sec. 4.1)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from adclick.artifacts import image_ids, open_arrays, read_csv, write_json
from adclick.commands.entry import Job, parse_job, run
from adclick.config import EvaluateMaps
from adclick.errors import InputError
from adclick.metrics import pixel_metrics

COMMAND = "adclick.commands.evaluate_maps"


def main(argv: Sequence[str] | None = None) -> None:
    """Write the metrics on the two test sets of reference protocol.

    `unsupervised`: the whole test split, training defects put back. `supervised`: without the
    training defects. A method that was trained on those is scored on the second alone.
    """
    job = parse_job(
        COMMAND,
        EvaluateMaps,
        argv,
        doc=__doc__,
        inputs=["manifest", "masks", "maps"],
        outputs=["metrics"],
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
    payload = {
        "kind": "maps",
        "dataset": settings.dataset,
        "category": settings.category,
        "method": settings.method,
        "seed": job.seed,
        "test_sets": {name: _score(job, ids) for name, ids in sets.items()},
    }
    write_json(job.outputs["metrics"], payload, stamp=job.stamp)


def _score(job: Job[EvaluateMaps], ids: list[str]) -> dict[str, Any]:
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
    found = pixel_metrics(shown, truths)
    return {
        "pixel_ap": found.ap,
        "pixel_pro": found.pro,
        "pixel_auroc": found.auroc,
        "image_auroc": found.image_auroc,
        "images": len(ids),
    }


if __name__ == "__main__":
    run(main)
