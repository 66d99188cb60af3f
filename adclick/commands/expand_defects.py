"""Variants of every labelled training defect: more defects on it, or it pasted on normal images
(Sec. 4.3).
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from adclick.clicks.click import Click
from adclick.clicks.labels import strengthen
from adclick.commands.simulate_defects import (
    create_drawn,
    defect_shares,
    object_mask,
    open_textures,
    write_drawn,
)
from adclick.data.defects import (
    Paste,
    Simulate,
    drawing_generator,
    expand_defect,
    minimum_area_px,
    simulate_in_window,
)
from adclick.data.geometry import Shape, contents_of, cropped, padded
from adclick.data.lifelike import areas_of
from adclick.data.pasting import paste_anywhere, paste_in_place
from adclick.data.rows import train_normal_rows
from adclick.data.shapes import Mask, Plane
from adclick.run.artifacts import ArrayFile, image_ids, open_arrays, read_csv, write_names
from adclick.run.job import Job, parse_job, run
from adclick.run.plan.detection import ExpandDefects

COMMAND = "adclick.commands.expand_defects"


def main(argv: Sequence[str] | None = None) -> None:
    """Write `images`, `labels` (probabilities, strengthened by the clicks as in Eq. 8), `types`,
    `source_ids`.

    The labelled defects themselves come first of their variants. Lifelike pasting needs the
    `residuals` of the same images, for where the object is.
    """
    job = parse_job(
        COMMAND,
        ExpandDefects,
        argv,
        doc=__doc__,
        trains=lambda _: True,
        inputs=["manifest", "images", "labels"],
        optional=["residuals"],
        outputs=["expanded"],
        seeded=True,
    )
    settings = job.settings
    manifest = read_csv(job.inputs["manifest"])
    place = {image_id: row for row, image_id in enumerate(manifest["image_id"])}
    normals = train_normal_rows(job.inputs["manifest"])
    textures = open_textures(settings.simulation.texture_folder)
    with open_arrays(job.inputs["images"]) as images, open_arrays(job.inputs["labels"]) as labels:
        ids, contents = image_ids(labels), contents_of(images, "images")
        frame = images["images"].shape[1:3]
        paste, simulate = _tools(job, labels, contents, frame, textures)
        copies = settings.expansion.copies + 1
        drawn_ids = [
            f"expanded/{image_id}/{copy:03d}" for image_id in ids for copy in range(copies)
        ]
        shown = [contents[place[image_id]] for image_id in ids for _ in range(copies)]
        with create_drawn(job, "expanded", drawn_ids, shown, frame, textures) as file:
            types, sources = [], []
            for index, image_id in enumerate(ids):
                row = place[image_id]
                picture = cropped(images["images"][row], contents[row])
                label = cropped(_label(labels, index, settings.radius_px), contents[row])
                least = minimum_area_px(settings.simulation.minimum_area, contents[row])
                checksum = str(manifest["sha256"][row])
                for copy in range(copies):
                    image, drawn, source = picture, label, row
                    if copy:
                        generator = drawing_generator(checksum, job.seed, copy)
                        normal = int(generator.choice(normals))
                        image, drawn, is_pasted = expand_defect(
                            picture,
                            label,
                            _fitted(images["images"][normal], contents[normal], contents[row]),
                            generator,
                            paste=paste(normal),
                            simulate=simulate(row),
                            minimum_area_px=least,
                        )
                        source = normal if is_pasted else row
                    write_drawn(file, index * copies + copy, image, drawn)
                    types.append(str(manifest["defect_type"][row]))
                    sources.append(str(manifest["image_id"][source]))
            write_names(file, types, sources)


def _tools(
    job: Job[ExpandDefects],
    labels: ArrayFile,
    contents: Sequence[Shape],
    frame: Shape,
    textures: Sequence[Path] | None,
) -> tuple[Callable[[int], Paste], Callable[[int], Simulate]]:
    """What pastes onto the picture of a row, and what draws a defect on it."""
    settings = job.settings.simulation
    draw = partial(
        simulate_in_window,
        window_px=job.settings.size_px,
        minimum_area=settings.minimum_area,
        textures=textures,
        shares=defect_shares(settings),
    )
    if job.settings.expansion.pasting == "published":
        return (lambda _: paste_in_place), (lambda _: draw)
    areas = [
        area
        for index in range(len(image_ids(labels)))
        for area in areas_of(_label(labels, index, job.settings.radius_px) > 0.5)
    ]
    with open_arrays(job.inputs["residuals"]) as residuals:
        maps = residuals["foreground"][:]

    def on_object(row: int) -> Mask | None:
        mask = cropped(object_mask(maps[row], frame), contents[row])
        return mask if mask.any() else None

    return (
        lambda row: partial(paste_anywhere, foreground=on_object(row)),
        lambda row: partial(draw, areas_px=areas, foreground=on_object(row)),
    )


def _fitted(picture: np.ndarray, own: Shape, content: Shape) -> np.ndarray:
    """A normal picture cut, or continued with its edge, to the size of a defective one."""
    return padded(cropped(cropped(picture, own), content), content)


def _label(labels: ArrayFile, index: int, radius_px: float) -> Plane:
    probabilities = labels["probabilities"][index].astype(np.float32)
    return strengthen(probabilities, _clicks(labels["clicks"][index]), radius_px=radius_px)


def _clicks(stored: np.ndarray) -> list[Click]:
    return [
        Click(int(row), int(column), bool(positive)) for row, column, positive in stored if row >= 0
    ]


if __name__ == "__main__":
    run(main)
