"""The bank: 3x3 patch features and layer-1 features of every normal training image (Sec. 3.2)."""

from collections.abc import Iterator, Sequence

import numpy as np

from adclick.data.rows import train_normal_rows
from adclick.residuals.streaming import open_backbone, stamp_of_parts, stream_features
from adclick.run.artifacts import ArraySpec, create_arrays, image_ids, open_arrays
from adclick.run.errors import InputError
from adclick.run.job import parse_job, run
from adclick.run.parts import made_in_parts
from adclick.run.plan.residuals import ExtractFeatures

COMMAND = "adclick.commands.extract_features"


def main(argv: Sequence[str] | None = None) -> None:
    """Write `patches` [image grid grid channel] and `layer1` [image height width channel], both
    float16.
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
        open_backbone(settings, job.settings.precision) as backbone,
    ):
        ids = image_ids(images)
        first = next(stream_features(backbone, images["images"], rows[:1], settings))
        specs = {name: ArraySpec(array.shape, "float16") for name, array in first.items()}
        chosen = [ids[row] for row in rows]
        target = job.outputs["features"]

        def compute(start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
            return stream_features(backbone, images["images"], rows[start:stop], settings)

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
                for name, array in arrays.items():
                    file[name][index] = array


if __name__ == "__main__":
    run(main)
