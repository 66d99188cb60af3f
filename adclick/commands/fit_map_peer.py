"""A peer of the detectors: it learns from a category's pictures, then answers the test images."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from adclick.data.geometry import contents_of, write_contents
from adclick.data.rows import defect_rows, train_normal_rows
from adclick.residuals.streaming import open_backbone
from adclick.run.artifacts import ArraySpec, create_arrays, open_arrays, write_json
from adclick.run.costs import machine_costs
from adclick.run.device import compute_device
from adclick.run.errors import InputError
from adclick.run.job import Job, parse_job, run
from adclick.run.kept import made_once
from adclick.run.kinds import load_kind
from adclick.run.plan.detection import FitMapPeer
from adclick.run.settings.peers import DETECTOR_PEERS, PYTHON
from adclick.training.peer_pictures import (
    KeptFeatures,
    Picture,
    Pictures,
    features_of,
    kept_features,
)

COMMAND = "adclick.commands.fit_map_peer"
SHOWN_ROLES = ("train_defect", "spare_normal", "test_defect", "test_normal")  # have a map


def main(argv: Sequence[str] | None = None) -> None:
    """Write `maps` [image height width] float32 of all test images and the defects that were
    chosen for training, as the peer makes them: what it smooths or weighs is its own.

    It learns from the normal training images, and if it asks for them from the simulated and from
    the labelled, expanded defects; the labels may be of clicks or true masks, as those of a
    detector of ours. The record says what it costs: seconds to learn and, the median, of a map,
    both with the backbone; the numbers that it holds beside this; the most memory.
    """
    job = parse_job(
        COMMAND,
        FitMapPeer,
        argv,
        doc=__doc__,
        inputs=["manifest", "images"],
        optional=["simulated", "expanded", "backbone"],
        outputs=["maps", "record"],
        texts=["python"],
        seeded=True,
    )
    made_once(job.outputs, job.stamp, lambda: _make(job))


def _make(job: Job[FitMapPeer]) -> None:
    settings = job.settings
    rows = defect_rows(job.inputs["manifest"], roles=SHOWN_ROLES)
    started = time.monotonic()
    with _opened(job) as (given, backbone, images):
        learnt = load_kind(DETECTOR_PEERS, settings.peer).fit_peer(
            **given, **settings.peer_settings
        )
        trained = time.monotonic() - started
        seconds = []
        size = images.shape[1:3]
        with open_arrays(job.inputs["images"]) as shown:
            contents = contents_of(shown, "images")
        specs = {"maps": ArraySpec(tuple(size), "float32")}
        ids = [image_id for _, image_id, _ in rows]
        with create_arrays(
            job.outputs["maps"], image_ids=ids, specs=specs, stamp=job.stamp
        ) as file:
            for index, (row, _, _) in enumerate(rows):
                began = time.perf_counter()
                file["maps"][index] = learnt.map_of(_picture(images[row], backbone, settings))
                seconds.append(time.perf_counter() - began)
            write_contents(file, [contents[row] for row, _, _ in rows], (size[0], size[1]))
        finished = learnt.finish()
    record = {
        "images": len(rows),
        "seconds": {"training": trained, "picture": median(seconds)},
        "parameters": learnt.parameters,
        **machine_costs(),
        **learnt.facts,
        **finished,
    }
    write_json(job.outputs["record"], record, stamp=job.stamp)


def _picture(image: Any, backbone: Any, settings: FitMapPeer) -> Picture:
    """A picture with its features, where the peer reads these."""
    if backbone is None:
        return Picture(image, None)
    return Picture(image, features_of(backbone, image, settings.features).astype("float32"))


@contextmanager
def _opened(job: Job[FitMapPeer]) -> Iterator[tuple[dict[str, Any], Any, Any]]:
    """What the peer asks for, the backbone of its features (None: it reads pictures alone), and the
    real images.
    """
    settings = job.settings
    with ExitStack() as stack:
        images = stack.enter_context(open_arrays(job.inputs["images"]))["images"]
        wants = set(settings.wants)
        device, backbone, kept = _reader(stack, settings)
        normal = Pictures(images, None, train_normal_rows(job.inputs["manifest"]), kept(images))
        _require(job.inputs["manifest"], "normal training", normal)
        given: dict[str, Any] = {"normal": normal, "device": device, "seed": job.seed}
        given |= {"backbone": settings.features, "python": job.texts["python"]}
        given |= {"textures": settings.textures, "progress": _progress(job, device)}
        for name, source in (("simulated", "simulated"), ("labelled", "expanded")):
            if name in wants:
                path = job.inputs[source]
                file = stack.enter_context(open_arrays(path))
                given[name] = _drawn(file, kept(file["images"]))
                _require(path, name, given[name])
        yield (
            {name: value for name, value in given.items() if name in wants},
            backbone,
            images,
        )


def _reader(
    stack: ExitStack, settings: FitMapPeer
) -> tuple[Any, Any, Callable[[Any], KeptFeatures | None]]:
    """The device, the backbone, and a function of pictures to their features; the latter two empty
    for a peer in an environment of its own.
    """
    if PYTHON in settings.wants:
        return stack.enter_context(compute_device()), None, lambda _: None
    backbone = stack.enter_context(
        open_backbone(settings.features, settings.precision, size_px=settings.size_px)
    )
    kept = stack.enter_context(kept_features(backbone, settings.features))
    return next(backbone.buffers()).device, backbone, kept


def _drawn(file: Any, features: KeptFeatures | None) -> Pictures:
    images = file["images"]
    return Pictures(images, file["labels"], list(range(len(images))), features)


def _require(path: Path, kind: str, pictures: Pictures) -> None:
    if not len(pictures):
        raise InputError(f"{path}: no {kind} picture, of which this peer would learn; add some")


def _progress(job: Job[FitMapPeer], device: Any) -> Any:
    from adclick.training.resuming import progress_of

    return progress_of(job.outputs["maps"], job.stamp, device)


if __name__ == "__main__":
    run(main)
