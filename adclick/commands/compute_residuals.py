"""The residual of every image of a source against its neighbours' nearest patches (Eq. 3-4)."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from adclick.data.geometry import Shape, cells_in, contents_of, write_contents
from adclick.residuals.bank_rows import BankRows
from adclick.residuals.comparison import Bank, chosen_matching, compare
from adclick.residuals.streaming import open_backbone, stamp_of_parts, stream_features
from adclick.run.artifacts import (
    ArrayFile,
    ArraySpec,
    create_array,
    create_arrays,
    image_ids,
    open_arrays,
)
from adclick.run.job import parse_job, run
from adclick.run.parts import made_in_parts
from adclick.run.plan.residuals import ComputeResiduals

COMMAND = "adclick.commands.compute_residuals"


def main(argv: Sequence[str] | None = None) -> None:
    """Write signed `residuals` [image row column channel] (float16; not with `lengths_only`), with
    `patches` the pictures' own features likewise, the residuals' `lengths` and the `foreground`
    [image row column], all zero (features: repeated) beyond `contents`, and `normal_mean_square`
    [channel], the mean square residual of the bank's own images (zero if none is here).
    """
    job = parse_job(
        COMMAND,
        ComputeResiduals,
        argv,
        doc=__doc__,
        inputs=["images", "neighbours", "features", "foreground"],
        optional=["backbone", "choice"],
        outputs=["residuals"],
    )
    settings, matching = job.settings, job.settings.matching
    if matching.candidates is not None:
        matching = chosen_matching(job.inputs["choice"])
    with (
        open_arrays(job.inputs["images"]) as images,
        open_arrays(job.inputs["neighbours"]) as neighbours,
        open_arrays(job.inputs["features"]) as features,
        open_arrays(job.inputs["foreground"]) as foreground,
        open_backbone(settings.features, settings.precision, size_px=settings.size_px) as backbone,
    ):
        bank_ids = set(image_ids(features))
        device, stride = next(backbone.buffers()).device, settings.features.stride
        patches = BankRows(features["patches"], device)
        bank = Bank(patches, foreground["maps"], foreground["weight"], foreground["numbers"])
        ids, target, channels = image_ids(images), job.outputs["residuals"], patches.shape[3]
        grid = cells_in(images["images"].shape[1:3], stride)
        contents = [cells_in(own, stride) for own in contents_of(images, "images")]
        specs = _specs(settings, grid, channels)
        squared = {"mean_square": ArraySpec((channels,), "float64")}

        def compute(start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
            """The arrays of images `start` … `stop` - 1, one image after the other."""
            rows = range(start, stop)
            queries = stream_features(backbone, images["images"], rows, settings.features)
            for row in rows:
                found, query = neighbours["neighbours"][row], next(queries)
                yield compare(
                    query.pop("patches"),
                    query.pop("layer1"),  # passed on: it is gone before the matching
                    bank,
                    content=contents[row],
                    matched=found[: matching.neighbours],
                    joined=found[: settings.foreground.neighbours],
                    radius=matching.radius,
                    device=device,
                )._asdict()

        with (
            made_in_parts(
                target,
                ids=ids,
                specs=specs | squared,
                stamp=stamp_of_parts(job.stamp, backbone),
                compute=compute,
            ) as computed,
            create_arrays(target, image_ids=ids, specs=specs, stamp=job.stamp) as file,
        ):
            of_bank = [image_id in bank_ids for image_id in ids]
            mean_square = _write(file, computed, specs, of_bank, channels)
            create_array(file, "normal_mean_square", (channels,), "float32")[:] = mean_square
            write_contents(file, contents, grid)


def _write(
    file: ArrayFile,
    computed: Iterator[Mapping[str, np.ndarray]],
    specs: Collection[str],
    of_bank: Sequence[bool],
    channels: int,
) -> Float64[np.ndarray, " channel"]:
    """Write all images' arrays; the mean square residual of the bank's own, or zeros."""
    total, count = np.zeros(channels, np.float64), 0
    for index, arrays in enumerate(computed):
        for name in specs:
            file[name][index] = arrays[name]
        if of_bank[index]:
            total, count = total + arrays["mean_square"], count + 1
    return total / max(count, 1)


def _specs(settings: ComputeResiduals, grid: Shape, channels: int) -> dict[str, ArraySpec]:
    """What is written of every image: with `lengths_only`, no `residuals`; `patches`, if asked."""
    specs = {
        "lengths": ArraySpec(grid, "float32"),
        "foreground": ArraySpec(grid, "float16"),
    }
    if settings.lengths_only:
        return specs
    specs |= {"residuals": ArraySpec((*grid, channels), "float16")}
    if settings.patches:
        specs |= {"patches": ArraySpec((*grid, channels), "float16")}
    return specs


if __name__ == "__main__":
    run(main)
