"""A click method's answers to a robot user on all real defects of a category (Sec. 4.2)."""

import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from adclick.clicks.cut_map import click_threshold
from adclick.clicks.robot import Answer, Predict, RobotUser, click_generator, simulate_clicks
from adclick.data.geometry import Shape, contents_of, cropped
from adclick.data.rows import defect_rows, read_masks
from adclick.residuals.maps import training_free_map
from adclick.run.artifacts import (
    ArraySpec,
    create_array,
    create_arrays,
    open_arrays,
    write_json,
    write_values,
)
from adclick.run.errors import InputError
from adclick.run.job import Job, parse_job, run
from adclick.run.kinds import load_kind
from adclick.run.plan.clicks import SimulateClicks
from adclick.run.settings.clicks import MAP_THRESHOLD, PEERS

COMMAND = "adclick.commands.simulate_clicks"
DEFECT_ROLES = ("train_defect", "test_defect", "spare_defect")

# A method opens an image, given its row in the manifest and its defect type.
Opener = Callable[[int, str], Predict]


def main(argv: Sequence[str] | None = None) -> None:
    """Write, for every draw of the robot user, the `clicks` [image draw click 3] (row, column,
    positive; -1 where none was needed), the `masks` after each of them
    [image draw click height width / 8] (bits), and the `probabilities` after some
    [image draw count height width] (float16).

    Only images with a defect count, training defects included, as in the paper. Without a peer the
    method is the network of the weights. The record says what an answer costs: the median seconds
    to open a picture and to answer a click, the parameters in the weights, and the most memory (MB)
    that the process held and allocated on a GPU.
    """
    job = parse_job(
        COMMAND,
        SimulateClicks,
        argv,
        doc=__doc__,
        inputs=["manifest", "images", "masks"],
        optional=["residuals", "weights", "language"],
        lists=["peer_weights"],
        outputs=["maps", "record"],
    )
    rows = defect_rows(job.inputs["manifest"], roles=DEFECT_ROLES)
    truths = read_masks(job.inputs["masks"])
    rows = [row for row in rows if row[1] in truths]
    if not rows:
        raise InputError(
            f"{job.inputs['manifest']}: no image with a defect mask; clicks cannot be scored"
        )
    opening: list[float] = []
    answering: list[float] = []
    with _method(job) as opener:

        def timed_opener(row: int, kind: str) -> Predict:
            return _timed(_timed(opener, opening)(row, kind), answering)

        _write_maps(job, rows, truths, timed_opener)
    write_json(job.outputs["record"], _costs(job, opening, answering), stamp=job.stamp)


def _timed(function: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    """The function, which adds to `seconds` what each of its calls takes."""

    def call(*arguments: Any) -> Any:
        started = time.perf_counter()
        answer = function(*arguments)
        seconds.append(time.perf_counter() - started)
        return answer

    return call


def _costs(
    job: Job[SimulateClicks], opening: Sequence[float], answering: Sequence[float]
) -> dict[str, Any]:
    import torch

    from adclick.networks.checkpoints import parameter_count
    from adclick.run.device import device_name

    own = [job.inputs["weights"]] if "weights" in job.inputs else []
    weights = [one for one in (*own, *job.lists["peer_weights"]) if one.suffix == ".safetensors"]
    on_gpu = torch.cuda.is_initialized()
    memory = {
        "process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "gpu": torch.cuda.max_memory_allocated() / 1024**2 if on_gpu else 0,
    }
    return {
        "images": len(opening),
        "clicks": len(answering),
        "seconds": {"open": median(opening), "click": median(answering)},
        "parameters": sum(parameter_count(path) for path in weights),
        "peak_memory_mb": memory,
        "device": device_name(torch.device("cuda" if on_gpu else "cpu")),
    }


@contextmanager
def _method(job: Job[SimulateClicks]) -> Iterator[Opener]:
    peer = job.settings.peer
    open_method = {None: _network, MAP_THRESHOLD: _threshold}.get(peer, _picture_peer)
    with open_method(job) as opener:
        yield opener


@contextmanager
def _network(job: Job[SimulateClicks]) -> Iterator[Opener]:
    from adclick.models.opening import open_network
    from adclick.run.device import compute_device

    clicks = job.settings.clicks
    with (
        compute_device() as device,
        open_network(
            job.inputs["weights"],
            images=job.inputs["images"],
            residuals=job.inputs["residuals"],
            language=job.inputs.get("language"),
            category=job.settings.category,
            radius_px=clicks.radius_px,
            device=device,
        ) as opened,
    ):
        yield lambda row, kind: opened.answers(
            row, [kind], zoom=clicks.zoom, edges=clicks.edges, threshold=clicks.threshold
        )


@contextmanager
def _picture_peer(job: Job[SimulateClicks]) -> Iterator[Opener]:
    from adclick.run.device import compute_device

    assert job.settings.peer is not None
    settings = dict[str, Any](job.settings.peer_settings)
    if job.lists["peer_weights"]:  # a file, or the folder of several
        settings["weights"] = os.path.commonpath(job.lists["peer_weights"])
    open_peer = partial(
        load_kind(PEERS, job.settings.peer).open_peer,
        radius_px=job.settings.clicks.radius_px,
        **settings,
    )
    with compute_device() as device, open_arrays(job.inputs["images"]) as images:
        contents = contents_of(images, "images")
        yield lambda row, _: open_peer(
            np.ascontiguousarray(cropped(images["images"][row], contents[row])), device=device
        )


@contextmanager
def _threshold(job: Job[SimulateClicks]) -> Iterator[Opener]:
    detection = job.settings.detection
    if detection is None:
        raise ValueError("the threshold method needs detection settings")
    with (
        open_arrays(job.inputs["residuals"]) as residuals,
        open_arrays(job.inputs["images"]) as images,
    ):
        contents = contents_of(images, "images")
        stride = images["images"].shape[1] // residuals["lengths"].shape[1]

        def opener(row: int, _: str) -> Predict:
            shown = training_free_map(
                residuals["lengths"][row],
                residuals["foreground"][row],
                content=contents[row],
                stride=stride,
                **detection.model_dump(),
            )
            return lambda given, _previous: click_threshold(shown, given)

        yield opener


def _write_maps(
    job: Job[SimulateClicks],
    rows: Sequence[tuple[int, str, str]],
    truths: dict[str, np.ndarray],
    opener: Opener,
) -> None:
    counts, draws = job.settings.clicks.counts, job.settings.robot.draws
    most = max(counts)
    with open_arrays(job.inputs["images"]) as images:
        height, width = images["images"].shape[1:3]
    specs = {
        "probabilities": ArraySpec((draws, len(counts), height, width), "float16"),
        "masks": ArraySpec((draws, most, height, -(-width // 8)), "uint8"),
    }
    ids = [image_id for _, image_id, _ in rows]
    with create_arrays(job.outputs["maps"], image_ids=ids, specs=specs, stamp=job.stamp) as file:
        create_array(file, "clicks", (len(ids), draws, most, 3), "int32")[:] = -1
        write_values(file, "counts", np.asarray(counts, np.int32))
        for index, (row, image_id, kind) in enumerate(rows):
            predict = opener(row, kind)
            found = [_answers(job, predict, truths[image_id], image_id, k) for k in range(draws)]
            shown = [[own[count - 1].probability for count in counts] for own in found]
            file["probabilities"][index] = _framed(np.array(shown, np.float16), (height, width))
            file["masks"][index] = _bits(job, found, (height, width))
            for draw, own in enumerate(found):
                for place, click in enumerate(own[-1].clicks):
                    value = (click.row, click.column, int(click.positive))
                    file["clicks"][index, draw, place] = value


def _answers(
    job: Job[SimulateClicks], predict: Predict, truth: np.ndarray, image_id: str, draw: int
) -> list[Answer]:
    clicks, robot = job.settings.clicks, job.settings.robot
    return simulate_clicks(
        predict,
        truth,
        count=max(clicks.counts),
        threshold=clicks.threshold,
        user=RobotUser(robot.place, robot.wrong),
        generator=click_generator(image_id, draw),
    )


def _bits(
    job: Job[SimulateClicks], answers: Sequence[Sequence[Answer]], frame: Shape
) -> np.ndarray:
    """The masks of every draw after each click as bits [draw click height width / 8]."""
    threshold = job.settings.clicks.threshold
    masks = np.array([[one.probability > threshold for one in own] for own in answers])
    return np.packbits(_framed(masks, frame), axis=-1)


def _framed(stack: np.ndarray, frame: Shape) -> np.ndarray:
    """Maps [… height width] in the upper left of a frame of zeros."""
    missing = [whole - own for own, whole in zip(stack.shape[-2:], frame, strict=True)]
    return np.pad(stack, [(0, 0)] * (stack.ndim - 2) + [(0, after) for after in missing])


if __name__ == "__main__":
    run(main)
