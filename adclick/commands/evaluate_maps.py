"""Score anomaly maps on a category's test images: AP, PRO, pixel and image AUROC (Sec. 4.1)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from adclick.data.geometry import Shape, contents_of, cropped
from adclick.data.native_masks import has_native_masks, native_mask
from adclick.metrics.curves import map_curves, streamed_curves
from adclick.metrics.pixels import component_results, pixel_metrics
from adclick.metrics.ranks import ComponentResult, PixelMetrics
from adclick.metrics.sizes import by_size
from adclick.metrics.streaming import StreamingMetrics
from adclick.residuals.maps import resize_map
from adclick.run.artifacts import ArrayFile, image_ids, open_arrays, read_csv, write_json
from adclick.run.errors import InputError
from adclick.run.job import Job, parse_job, run
from adclick.run.plan.detection import EvaluateMaps

COMMAND = "adclick.commands.evaluate_maps"
MOST_PIXELS = 2**28  # of a test set that is sorted, in some 4 GB; those of a larger one are counted
Picture = tuple[np.ndarray, np.ndarray]  # its map, and where it is defective


def main(argv: Sequence[str] | None = None) -> None:
    """Write the metrics on the two test sets of reference protocol, and the curves behind them.

    `unsupervised`: the whole test split, training defects put back. `supervised`: without the
    training defects. A method that was trained on those is scored on the second alone. A set too
    large for the memory is counted in bins: `counted_in_bins` says in how many, and by how much the
    metrics may differ from the exact ones.
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
        rated = _counted if _pixels(job, ids, shapes) > MOST_PIXELS else _sorted
        scores[name], curves[name] = rated(job, ids, shapes)
    place = {
        "dataset": settings.dataset,
        "category": settings.category,
        "method": settings.method,
        "seed": job.seed,
    }
    for output, kind, found in (("metrics", "maps", scores), ("curves", "curves", curves)):
        payload = {"kind": kind, **place, "test_sets": found}
        write_json(job.outputs[output], payload, stamp=job.stamp)


def _pixels(job: Job[EvaluateMaps], ids: list[str], shapes: Mapping[str, Shape]) -> int:
    """How many pixels are scored."""
    with open_arrays(job.inputs["maps"]) as maps, open_arrays(job.inputs["masks"]) as masks:
        if has_native_masks(masks):
            return sum(math.prod(shapes[image_id]) for image_id in ids)
        return len(ids) * math.prod(maps["maps"].shape[1:])


def _sorted(
    job: Job[EvaluateMaps], ids: list[str], shapes: Mapping[str, Shape]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metrics and curves, exactly: all pixels are in memory."""
    pictures = list(_read(job, ids, shapes))
    maps, masks = [shown for shown, _ in pictures], [truth for _, truth in pictures]
    components = [one for own in component_results(maps, masks) for one in own]
    scores = _score(pixel_metrics(maps, masks), components, len(ids))
    return scores, asdict(map_curves(maps, masks))


def _counted(
    job: Job[EvaluateMaps], ids: list[str], shapes: Mapping[str, Shape]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same of pictures that are read one after the other, in bins (`StreamingMetrics`)."""
    ends = [(float(shown.min()), float(shown.max())) for shown, _ in _read(job, ids, shapes)]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    counted = StreamingMetrics(low, high)
    for shown, truth in _read(job, ids, shapes):
        counted.add(shown, truth)
    components = [
        one for shown, truth in _read(job, ids, shapes) for one in counted.components(shown, truth)
    ]
    scores = _score(counted.result(), components, len(ids))
    scores["counted_in_bins"] = {
        "bins": counted.bins,
        "may_differ_by": _pixel(counted.uncertainty()),
    }
    return scores, asdict(streamed_curves(counted))


def _read(job: Job[EvaluateMaps], ids: list[str], shapes: Mapping[str, Shape]) -> Iterator[Picture]:
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
        for image_id in ids:
            place = map_row[image_id]
            own = cropped(maps["maps"][place], contents[place])
            shown = resize_map(own, shapes[image_id]) if is_native else own
            truth = np.zeros(shown.shape, bool)
            if image_id in mask_row:
                truth = _mask(masks, mask_row[image_id], contents[place])
            yield shown, truth


def _mask(masks: ArrayFile, row: int, content: Shape) -> np.ndarray:
    native = native_mask(masks, row)
    return cropped(masks["masks"][row] > 0, content) if native is None else native


def _score(
    found: PixelMetrics, components: Sequence[ComponentResult], images: int
) -> dict[str, Any]:
    return {
        **_pixel(found),
        "image_auroc": found.image_auroc,
        "images": images,
        "sizes_of_defects": [asdict(one) for one in by_size(components)],
    }


def _pixel(found: PixelMetrics) -> dict[str, float]:
    return {"pixel_ap": found.ap, "pixel_pro": found.pro, "pixel_auroc": found.auroc}


if __name__ == "__main__":
    run(main)
