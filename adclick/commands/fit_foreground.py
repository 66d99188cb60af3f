"""Where the object is: a linear classifier of layer-1 features, and its maps of the normal images
(Sec. 3.5).
"""

from collections.abc import Sequence

import numpy as np

from adclick.data.geometry import blank_beyond, first_map_contents
from adclick.residuals.foreground import EVERYWHERE, fit_foreground, foreground_map
from adclick.run.artifacts import (
    ArraySpec,
    create_array,
    create_arrays,
    image_ids,
    open_arrays,
    write_values,
)
from adclick.run.job import parse_job, run
from adclick.run.plan.residuals import FitForeground

COMMAND = "adclick.commands.fit_foreground"


def main(argv: Sequence[str] | None = None) -> None:
    """Write the classifier and `maps` [image height width] in [0, 1]; ones for textures."""
    job = parse_job(
        COMMAND, FitForeground, argv, doc=__doc__, inputs=["features"], outputs=["foreground"]
    )
    settings = job.settings.foreground
    with open_arrays(job.inputs["features"]) as features:
        layer1 = features["layer1"]
        ids = image_ids(features)
        contents = first_map_contents(features)
        found = EVERYWHERE
        if job.settings.estimate:
            found = fit_foreground(
                layer1,
                sample_pixels=settings.sample_pixels,
                samples_per_class=settings.samples_per_class,
                contents=contents,
            )
        specs = {"maps": ArraySpec(layer1.shape[1:3], "float16")}
        with create_arrays(
            job.outputs["foreground"], image_ids=ids, specs=specs, stamp=job.stamp
        ) as file:
            create_array(file, "weight", found.weight.shape, "float32")[:] = found.weight
            numbers = np.array([found.bias, found.minimum, found.maximum], "float32")
            write_values(file, "numbers", numbers)
            for index in range(len(ids)):
                own = foreground_map(layer1[index : index + 1].astype("float32"), found)[0]
                file["maps"][index] = blank_beyond(own, contents[index])


if __name__ == "__main__":
    run(main)
