"""Which of its candidates a matching is for a category: the one whose training-free map finds
simulated defects on held-out normal images best.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from adclick.commands.simulate_defects import object_mask
from adclick.data.defects import drawing_generator, simulate_in_window
from adclick.data.geometry import (
    cells_in,
    contents_of,
    cropped,
    first_map_content,
    padded,
)
from adclick.data.rows import train_normal_rows
from adclick.data.shapes import Mask
from adclick.data.textures import Image
from adclick.residuals.backbone import Backbone
from adclick.residuals.bank_rows import BankRows
from adclick.residuals.comparison import Bank, compare, neighbours
from adclick.residuals.maps import training_free_map
from adclick.residuals.matching_choice import (
    NORMAL,
    Trial,
    choose_candidate,
    record_of,
    score_candidates,
)
from adclick.residuals.retrieval import histogram
from adclick.residuals.streaming import open_backbone, stream_features
from adclick.run.artifacts import ArrayFile, image_ids, open_arrays, read_csv, write_json
from adclick.run.job import Job, parse_job, run
from adclick.run.plan.residuals import ChooseMatching

COMMAND = "adclick.commands.choose_matching"
KINDS = ("cracks", "pits", "scratches", "blobs", "shades", "missing", "displaced")
OF_OBJECTS = ("missing", "displaced")  # on a texture these are no defects, but at their edges


def main(argv: Sequence[str] | None = None) -> None:
    """Write the name that was `chosen`, its `matching` (radius and neighbours), what each of the
    `candidates` reached, and the images that were `held_out`.
    """
    job = parse_job(
        COMMAND,
        ChooseMatching,
        argv,
        doc=__doc__,
        inputs=["manifest", "images", "features", "retrieval", "foreground"],
        optional=["backbone"],
        outputs=["choice"],
    )
    settings = job.settings
    with (
        open_arrays(job.inputs["images"]) as images,
        open_arrays(job.inputs["features"]) as features,
        open_arrays(job.inputs["retrieval"]) as retrieval,
        open_arrays(job.inputs["foreground"]) as foreground,
        open_backbone(settings.features, settings.precision, size_px=settings.size_px) as backbone,
    ):
        held = _spread(len(image_ids(features)), settings.matching_choice.normals)
        trials = list(_trials(job, held, images, features, retrieval, foreground, backbone))
    scores = score_candidates(trials)
    chosen = choose_candidate(scores, least_gain=settings.matching_choice.least_gain)
    matching = settings.candidates[chosen.name].model_dump()
    held_out = list(dict.fromkeys(trial.source for trial in trials))
    choice = {**record_of(scores, chosen), "matching": matching, "held_out": held_out}
    write_json(job.outputs["choice"], choice, stamp=job.stamp)


def _spread(total: int, count: int) -> list[int]:
    """As many rows as wanted, or all, evenly spread."""
    return sorted({round(row) for row in np.linspace(0, total - 1, min(count, total))})


def _trials(
    job: Job[ChooseMatching],
    held: Sequence[int],
    images: ArrayFile,
    features: ArrayFile,
    retrieval: ArrayFile,
    foreground: ArrayFile,
    backbone: Backbone,
) -> Iterator[Trial]:
    """Each held-out normal image, as it is and with simulated defects, in order."""
    settings, manifest = job.settings, read_csv(job.inputs["manifest"])
    rows = train_normal_rows(job.inputs["manifest"])
    device, stride = next(backbone.buffers()).device, settings.features.stride
    patches = BankRows(features["patches"], device)
    bank = Bank(patches, foreground["maps"], foreground["weight"], foreground["numbers"])
    ids = image_ids(features)
    known = {name: retrieval[name][:] for name in ("histograms", "codebook")}
    frame, contents = images["images"].shape[1:3], contents_of(images, "images")
    for index, place in enumerate(held):
        content = contents[rows[place]]
        pictures, masks, kinds = _pictures(
            settings,
            cropped(images["images"][rows[place]], content),
            cropped(object_mask(foreground["maps"][place], frame), content),
            str(manifest["sha256"][rows[place]]),
            first_kind=index * settings.matching_choice.defects,
        )
        framed = [padded(picture, frame) for picture in pictures]
        queries = stream_features(backbone, framed, range(len(framed)), settings.features)
        for query, mask, kind in zip(queries, masks, kinds, strict=True):
            own = first_map_content(query["layer1"], content, frame, stride)
            found = neighbours(
                histogram(own, known["codebook"], settings.retrieval.blocks)[None],
                known,
                kept_blocks=settings.retrieval.kept_blocks,
                count=settings.retrieval.neighbours,
                sources=[ids[place]],
                bank_ids=ids,
            )[0]
            maps = {}
            for name, matching in settings.candidates.items():
                compared = compare(
                    **query,
                    bank=bank,
                    content=cells_in(content, stride),
                    matched=found[: matching.neighbours],
                    joined=found[: settings.foreground.neighbours],
                    radius=matching.radius,
                    device=device,
                )
                maps[name] = training_free_map(
                    compared.lengths,
                    compared.foreground,
                    content=content,
                    stride=stride,
                    **settings.detection.model_dump(),
                )
            yield Trial(ids[place], kind, mask, maps)


def _pictures(
    settings: ChooseMatching,
    normal: Image,
    foreground: Mask,
    sha256: str,
    *,
    first_kind: int,
) -> tuple[list[Image], list[Mask], list[str]]:
    """A normal picture and it with defects of kinds in turn, their masks, and the kinds."""
    known = [kind for kind in KINDS if not (settings.texture and kind in OF_OBJECTS)]
    pictures, masks, kinds = [normal], [np.zeros(normal.shape[:2], bool)], [NORMAL]
    for copy in range(settings.matching_choice.defects):
        kind = known[(first_kind + copy) % len(known)]
        picture, mask = simulate_in_window(
            normal,
            drawing_generator(sha256, copy),
            window_px=settings.size_px,
            minimum_area=settings.minimum_area,
            foreground=foreground,
            shares={kind: 1.0},
        )
        pictures.append(picture)
        masks.append(mask)
        kinds.append(kind)
    return pictures, masks, kinds


if __name__ == "__main__":
    run(main)
