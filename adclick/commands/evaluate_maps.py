"""Score anomaly maps on a category's test images: AP, PRO, pixel and image AUROC (Sec. 4.1)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from adclick.data.geometry import Shape, contents_of, cropped
from adclick.data.native_masks import has_native_masks, native_mask
from adclick.metrics.curves import map_curves
from adclick.metrics.pixels import component_results, pixel_metrics
from adclick.metrics.sizes import by_size
from adclick.residuals.maps import resize_map
from adclick.run.artifacts import ArrayFile, image_ids, open_arrays, read_csv, write_json
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
    columns = (manifest["image_id"], manifest["height"], manifest["width"])
    shapes = {
        str(image_id): (int(height), int(width))
        for image_id, height, width in zip(*columns, strict=True)
    }
    sets = {"supervised": manifest.loc[kept, "image_id"].tolist()}
    if not settings.supervised:
        sets["unsupervised"] = manifest.loc[
            in_test & (manifest["role"] != "train_normal"), "image_id"
        ].tolist()
    scores: dict[str, Any] = {}
    curves: dict[str, Any] = {}
    for name, ids in sets.items():
        maps, masks = _read(job, ids, shapes)
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


def _read(
    job: Job[EvaluateMaps], ids: list[str], shapes: Mapping[str, Shape]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Maps and masks of the given images; an image without a mask is normal. Where masks are kept
    at the photographs' own pixels (`shapes`), maps are stretched to these.
    """
    with open_arrays(job.inputs["maps"]) as maps, open_arrays(job.inputs["masks"]) as masks:
        map_row = {image_id: row for row, image_id in enumerate(image_ids(maps))}
        mask_row = {image_id: row for row, image_id in enumerate(image_ids(masks))}
        missing = [image_id for image_id in ids if image_id not in map_row]
        if missing:
            raise InputError(
                f"{job.inputs['maps']}: no map of {len(missing)} test images, first {missing[0]}"
            )
        contents, is_native = contents_of(maps, "maps"), has_native_masks(masks)
        shown, truths = [], []
        for image_id in ids:
            place = map_row[image_id]
            own = cropped(maps["maps"][place], contents[place])
            shown.append(resize_map(own, shapes[image_id]) if is_native else own)
            truth = np.zeros(shown[-1].shape, bool)
            if image_id in mask_row:
                truth = _mask(masks, mask_row[image_id], contents[place])
            truths.append(truth)
    return shown, truths


def _mask(masks: ArrayFile, row: int, content: Shape) -> np.ndarray:
    native = native_mask(masks, row)
    return cropped(masks["masks"][row] > 0, content) if native is None else native


def _score(maps: list[np.ndarray], masks: list[np.ndarray]) -> dict[str, Any]:
    found = pixel_metrics(maps, masks)
    return {
        "pixel_ap": found.ap,
        "pixel_pro": found.pro,
        "pixel_auroc": found.auroc,
        "image_auroc": found.image_auroc,
        "images": len(maps),
        "sizes_of_defects": _by_size(maps, masks),
    }


def _by_size(maps: list[np.ndarray], masks: list[np.ndarray]) -> list[dict[str, Any]]:
    components = [one for own in component_results(maps, masks) for one in own]
    return [asdict(one) for one in by_size(components)]


if __name__ == "__main__":
    run(main)
