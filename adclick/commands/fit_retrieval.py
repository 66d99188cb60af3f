"""The codebook of the global similarity and the normal images' block histograms (Sec. 3.2)."""

from collections.abc import Sequence

from adclick.data.geometry import cropped, first_map_contents
from adclick.residuals.retrieval import fit_codebook, histogram, sample_pixels
from adclick.run.artifacts import ArraySpec, create_array, create_arrays, image_ids, open_arrays
from adclick.run.job import parse_job, run
from adclick.run.plan.residuals import FitRetrieval

COMMAND = "adclick.commands.fit_retrieval"


def main(argv: Sequence[str] | None = None) -> None:
    """Write `codebook` [word channel] and `histograms` [image block word]."""
    job = parse_job(
        COMMAND, FitRetrieval, argv, doc=__doc__, inputs=["features"], outputs=["retrieval"]
    )
    settings = job.settings.retrieval
    with open_arrays(job.inputs["features"]) as features:
        layer1 = features["layer1"]
        ids = image_ids(features)
        contents = first_map_contents(features)
        codebook = fit_codebook(
            sample_pixels(layer1, settings.sample_pixels, 0, contents), words=settings.words
        )
        specs = {"histograms": ArraySpec((settings.blocks**2, settings.words), "float32")}
        with create_arrays(
            job.outputs["retrieval"], image_ids=ids, specs=specs, stamp=job.stamp
        ) as file:
            create_array(file, "codebook", codebook.shape, "float32")[:] = codebook
            for index in range(len(ids)):
                file["histograms"][index] = histogram(
                    cropped(layer1[index], contents[index]), codebook, settings.blocks
                )


if __name__ == "__main__":
    run(main)
