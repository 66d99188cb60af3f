"""The bank: 3x3 patch features and layer-1 features of every normal training image (Sec. 3.2)."""

from collections.abc import Iterator, Sequence

import numpy as np

from adclick.data.geometry import Shape, cells_in, contents_of, edge_repeated, write_contents
from adclick.data.rows import train_normal_rows
from adclick.residuals.streaming import (
    feature_shapes,
    open_backbone,
    stamp_of_parts,
    stream_features,
)
from adclick.run.artifacts import ArraySpec, create_arrays, image_ids, open_arrays
from adclick.run.errors import InputError
from adclick.run.job import parse_job, run
from adclick.run.parts import made_in_parts
from adclick.run.plan.residuals import ExtractFeatures

COMMAND = "adclick.commands.extract_features"


def main(argv: Sequence[str] | None = None) -> None:
    """Write `patches` [image row column channel] and `layer1` [image height width channel], both
    float16; with `contents` [image 2], rows and columns of patches, where some are padding (which
    repeats the content's edge).
    """
    job = parse_job(
        COMMAND,
        ExtractFeatures,
        argv,
        doc=__doc__,
        trains=lambda _: True,
        inputs=["manifest", "images"],
        optional=["backbone"],
        outputs=["features"],
    )
    rows = train_normal_rows(job.inputs["manifest"])
    if not rows:
        raise InputError(
            f"{job.inputs['manifest']}: no normal training image; add some to train/good"
        )
    settings = job.settings.features
    with (
        open_arrays(job.inputs["images"]) as images,
        open_backbone(settings, job.settings.precision, size_px=job.settings.size_px) as backbone,
    ):
        ids = image_ids(images)
        contents = contents_of(images, "images")
        cells = [cells_in(contents[row], settings.stride) for row in rows]
        shapes = feature_shapes(backbone, images["images"].shape[1:], settings)
        specs = {name: ArraySpec(shape, "float16") for name, shape in shapes.items()}
        chosen = [ids[row] for row in rows]
        target = job.outputs["features"]

        def compute(start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
            found = stream_features(backbone, images["images"], rows[start:stop], settings)
            for own in cells[start:stop]:
                yield _edges_repeated(next(found), own)

        with (
            made_in_parts(
                target,
                ids=chosen,
                specs=specs,
                stamp=stamp_of_parts(job.stamp, backbone),
                compute=compute,
            ) as computed,
            create_arrays(target, image_ids=chosen, specs=specs, stamp=job.stamp) as file,
        ):
            for index, arrays in enumerate(computed):
                for name in specs:
                    file[name][index] = arrays[name]
            height, width = specs["patches"].shape[:2]
            write_contents(file, cells, (height, width))


def _edges_repeated(arrays: dict[str, np.ndarray], own: Shape) -> dict[str, np.ndarray]:
    grid = (arrays["patches"].shape[0], arrays["patches"].shape[1])
    return {name: edge_repeated(array, own, grid) for name, array in arrays.items()}


if __name__ == "__main__":
    run(main)
