"""The K most similar normal images of every image of a source, itself and its origin left out (Sec.
3.2).
"""

from collections.abc import Iterator, Sequence

import numpy as np

from adclick.data.geometry import contents_of, first_map_content
from adclick.residuals.comparison import neighbours
from adclick.residuals.retrieval import histogram
from adclick.residuals.streaming import open_backbone, stamp_of_parts, stream_first_maps
from adclick.run.artifacts import ArraySpec, create_arrays, image_ids, open_arrays
from adclick.run.job import parse_job, run
from adclick.run.parts import made_in_parts
from adclick.run.plan.residuals import FindNeighbours

COMMAND = "adclick.commands.find_neighbours"


def main(argv: Sequence[str] | None = None) -> None:
    """Write `neighbours` [image K]: rows of the bank, most similar first."""
    job = parse_job(
        COMMAND,
        FindNeighbours,
        argv,
        doc=__doc__,
        inputs=["images", "retrieval"],
        optional=["backbone"],
        outputs=["neighbours"],
    )
    settings = job.settings.retrieval
    with (
        open_arrays(job.inputs["retrieval"]) as retrieval,
        open_arrays(job.inputs["images"]) as images,
    ):
        bank_ids, ids = image_ids(retrieval), image_ids(images)
        codebook = retrieval["codebook"][:]
        sources = [value.decode() for value in images["source_ids"][:]]
        target, features = job.outputs["neighbours"], job.settings.features
        frame, contents = images["images"].shape[1:3], contents_of(images, "images")
        counts = {"histograms": ArraySpec(retrieval["histograms"].shape[1:], "float32")}
        with open_backbone(
            features, job.settings.precision, size_px=job.settings.size_px, first_only=True
        ) as backbone:

            def compute(start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
                rows = range(start, stop)
                maps = stream_first_maps(backbone, images["images"], rows, features)
                for row, layer1 in zip(rows, maps, strict=True):
                    own = first_map_content(layer1, contents[row], frame, features.stride)
                    yield {"histograms": histogram(own, codebook, settings.blocks)}

            with made_in_parts(
                target,
                ids=ids,
                specs=counts,
                stamp=stamp_of_parts(job.stamp, backbone),
                compute=compute,
            ) as computed:
                histograms = [arrays["histograms"] for arrays in computed]
        found = neighbours(
            np.stack(histograms),
            retrieval,
            kept_blocks=settings.kept_blocks,
            count=settings.neighbours,
            sources=sources,
            bank_ids=bank_ids,
        )
        specs = {"neighbours": ArraySpec(found.shape[1:], "int32")}
        with create_arrays(target, image_ids=ids, specs=specs, stamp=job.stamp) as file:
            file["neighbours"][:] = found


if __name__ == "__main__":
    run(main)
