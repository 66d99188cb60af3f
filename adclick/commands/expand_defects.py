"""Variants of every labelled training defect: more defects on it, or it pasted on normal images
(Sec. 4.3).
"""

from collections.abc import Sequence

import numpy as np

from adclick.clicks.click import Click
from adclick.clicks.labels import strengthen
from adclick.commands.simulate_defects import (
    create_drawn,
    defect_shares,
    minimum_area_px,
    open_textures,
)
from adclick.data.defects import drawing_generator, expand_defect
from adclick.data.rows import train_normal_rows
from adclick.run.artifacts import image_ids, open_arrays, read_csv, write_names
from adclick.run.job import parse_job, run
from adclick.run.plan.detection import ExpandDefects

COMMAND = "adclick.commands.expand_defects"


def main(argv: Sequence[str] | None = None) -> None:
    """Write `images`, `labels` (probabilities, strengthened by the clicks as in Eq. 8), `types`,
    `source_ids`.

    The labelled defects themselves come first of their variants.
    """
    job = parse_job(
        COMMAND,
        ExpandDefects,
        argv,
        doc=__doc__,
        trains=lambda _: True,
        inputs=["manifest", "images", "labels"],
        outputs=["expanded"],
        seeded=True,
    )
    settings = job.settings
    manifest = read_csv(job.inputs["manifest"])
    place = {image_id: row for row, image_id in enumerate(manifest["image_id"])}
    normals = train_normal_rows(job.inputs["manifest"])
    textures = open_textures(settings.simulation.texture_folder)
    with open_arrays(job.inputs["images"]) as images, open_arrays(job.inputs["labels"]) as labels:
        ids = image_ids(labels)
        pictures = images["images"]
        copies = settings.expansion.copies + 1
        drawn_ids = [
            f"expanded/{image_id}/{copy:03d}" for image_id in ids for copy in range(copies)
        ]
        with create_drawn(job, "expanded", drawn_ids, pictures.shape[1]) as file:
            types, sources = [], []
            for index, image_id in enumerate(ids):
                label = strengthen(
                    labels["probabilities"][index].astype(np.float32),
                    _clicks(labels["clicks"][index]),
                    radius_px=settings.radius_px,
                )
                own = pictures[place[image_id]]
                checksum = str(manifest["sha256"][place[image_id]])
                for copy in range(copies):
                    generator = drawing_generator(checksum, job.seed, copy)
                    image, drawn, source = own, label, image_id
                    if copy:
                        normal = int(generator.choice(normals))
                        image, drawn, used = expand_defect(
                            own,
                            label,
                            [pictures[normal]],
                            generator,
                            textures=textures,
                            shares=defect_shares(settings.simulation),
                            minimum_area_px=minimum_area_px(settings.simulation, pictures.shape[1]),
                        )
                        source = image_id if used is None else str(manifest["image_id"][normal])
                    row = index * copies + copy
                    file["images"][row], file["labels"][row] = image, drawn
                    types.append(str(manifest["defect_type"][place[image_id]]))
                    sources.append(source)
            write_names(file, types, sources)


def _clicks(stored: np.ndarray) -> list[Click]:
    return [
        Click(int(row), int(column), bool(positive)) for row, column, positive in stored if row >= 0
    ]


if __name__ == "__main__":
    run(main)
