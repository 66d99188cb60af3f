"""Drawn photographs of any size with a defect of 12 px, from `adclick init` to a labelled picture
and a detector's map, all by the commands as they are typed.

`python -m tools.large_pictures WORK 6000x4000 20000x256` prints for each size where the defect was
found and clicked, whether its exported mask is the one that was seen, whether a new picture's is
found by `adclick predict` and called defective, how long clicks, strokes and all steps took, by the
clock and of a core (which is what an idle machine would take), and the most memory that each step's
largest process held.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import psutil
import yaml
from jaxtyping import UInt8

from adclick.data.images import read_mask, write_png
from adclick.run.artifacts import read_json
from tools.browser.serving import free_port
from tools.own_product import ANNOTATOR, call, decoded, environment, wait_for

DEFECT_PX = 12
PRODUCT, DEFECT, OTHER, NEW = "sheet", "pit/first", "pit/other", "second"  # a detector needs two
CLICKS, STROKES = 40, 20
HELD_OUT = ("--held-out", "2")  # normal photographs, for the level above which one is defective
OUTPUT = ("--output", "model")
PHOTOGRAPHS = "photos"
PHOTOS = (f"{PHOTOGRAPHS}/good", f"{PHOTOGRAPHS}/defects", "--output", PRODUCT)
# Barely trained, and few of everything: how long it takes and what it needs is looked at, no more.
SETTINGS = {
    "simulation": {"per_normal": 1},
    "expansion": {"copies": 1},
    "retrieval": {"neighbours": 3},
    "training": {"steps": 20},
    "feature_training": {"steps": 20, "folds": 2, "held_normals": 1},
}
SEEDED = {"features": {"backbone": "resnet18", "weights": {"source": "seeded", "seed": 0}}}


class Size(NamedTuple):
    """A picture's size in pixels."""

    height: int
    width: int

    @property
    def megapixels(self) -> float:
        return self.height * self.width / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="where everything is put")
    parser.add_argument("sizes", nargs="+", help="WIDTHxHEIGHT in pixels")
    parser.add_argument("--normals", type=int, default=6, help="normal photographs of each size")
    parser.add_argument("--scale", type=float, default=1.0, help="network pixels a photograph's")
    parser.add_argument("--cores", default="1")
    parser.add_argument("--weights", type=Path, help="the backbone's; without: drawn from a seed")
    asked = parser.parse_args()
    found = {}
    for text in asked.sizes:
        width, height = (int(length) for length in text.split("x"))
        found[text] = measured(
            asked.work.resolve() / text,
            Size(height, width),
            normals=asked.normals,
            scale=asked.scale,
            cores=asked.cores,
            weights=asked.weights,
        )
        print(json.dumps({text: found[text]}, indent=1), flush=True)
    (asked.work / "found.json").write_text(json.dumps(found, indent=1))


def measured(
    work: Path,
    size: Size,
    *,
    normals: int,
    scale: float,
    cores: str,
    weights: Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """All that is said of one size; `settings` are laid over those of this file."""
    places = draw_photographs(work, size, normals=normals)
    steps: dict[str, Any] = {}
    given = ["--backbone", str(weights.resolve())] if weights else []
    typed(work, steps, "init", "adclick", "init", *PHOTOS, "--scale", str(scale), *HELD_OUT, *given)
    project = work / PRODUCT
    _lay_over(project, {} if weights else SEEDED, SETTINGS, settings or {})
    results = f"results/own/own/{PRODUCT}"
    snakemake = ("snakemake", "--configfile", "adclick.yaml", "--cores", cores)
    typed(project, steps, "click_models", *snakemake, "click_models")
    clicked = label(project, steps, results, places[DEFECT], places[OTHER])
    typed(project, steps, "detectors", *snakemake, "detectors")
    typed(project, steps, "export-model", *("adclick", "export-model", results, "human"), *OUTPUT)
    predicted = predict(work, project, steps, places[NEW])
    return {
        "megapixels": size.megapixels,
        **clicked,
        **predicted,
        "steps": steps,
        "largest_process_mb": max(step["mb"] for step in steps.values()),
    }


# --- photographs ----------------------------------------------------------------------------------


def draw_photographs(work: Path, size: Size, *, normals: int) -> dict[str, tuple[int, int]]:
    """Write normal photographs of a brushed sheet with holes, and three with a pit; the pits' upper
    left pixels (row, column), by the pictures' names.
    """
    for number in range(normals):
        write_png(work / f"{PHOTOGRAPHS}/good/{number:03d}.png", photograph(size, seed=number))
    places = {
        DEFECT: (size.height * 2 // 3, size.width * 2 // 3),
        OTHER: (size.height // 3, size.width // 2),
        NEW: (size.height * 2 // 5, size.width // 4),
    }
    folders = (f"{PHOTOGRAPHS}/defects", f"{PHOTOGRAPHS}/defects", "new")
    for number, (name, folder) in enumerate(zip(places, folders, strict=True)):
        picture = photograph(size, seed=1000 + number)
        draw_pit(picture, places[name])
        write_png(work / folder / f"{name}.png", picture)
    return places


def photograph(size: Size, *, seed: int) -> UInt8[np.ndarray, "height width 3"]:
    """A sheet with a hole every 512 px; its grain and the light differ from one to the next."""
    generator = np.random.default_rng(seed)
    rows, columns = (np.arange(length, dtype=np.float32) for length in size)
    light = 120 + 12 * np.sin(rows / 700 + generator.uniform(0, 0.3))[:, None]
    sheet = light + 8 * np.sin(columns / 9)[None, :]
    grain = generator.normal(0, 3, (size.height, -(-size.width // 8))).astype(np.float32)
    sheet += np.repeat(grain, 8, axis=1)[:, : size.width]
    for row in range(256, size.height, 512):
        for column in range(256, size.width, 512):
            cv2.circle(sheet, (column, row), 40, 45.0, cv2.FILLED, cv2.LINE_AA)
    grey = np.clip(np.rint(sheet), 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def draw_pit(picture: UInt8[np.ndarray, "height width 3"], place: tuple[int, int]) -> None:
    """Draw the defect, its upper left at a place (row, column)."""
    row, column = (first + DEFECT_PX // 2 for first in place)
    cv2.circle(picture, (column, row), DEFECT_PX // 2, (35, 30, 30), cv2.FILLED)


# --- steps ----------------------------------------------------------------------------------------


def typed(folder: Path, steps: dict[str, Any], name: str, *words: str) -> None:
    """A command as typed in a folder; its seconds, a core's, and its memory become a step."""
    started, of_core = time.monotonic(), _core_seconds()
    with subprocess.Popen(words, cwd=folder, env=environment(), stdout=sys.stderr) as process:
        with watched(process.pid, steps, name):
            process.wait()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, words)
    steps[name]["s"] = round(time.monotonic() - started, 1)
    steps[name]["core_s"] = round(_core_seconds() - of_core, 1)
    print(f"{name}: {steps[name]}", file=sys.stderr, flush=True)


@contextmanager
def watched(process_id: int, steps: dict[str, Any], name: str) -> Iterator[None]:
    """Looks five times a second at the most memory that a process, or one that it started, held."""
    most: dict[str, int] = {}
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.2):
            for title, megabytes in _most_memory(process_id):
                most[title] = max(most.get(title, 0), megabytes)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        steps[name] = {"mb": max(most.values(), default=0)}
        if len(most) > 1:
            steps[name]["processes"] = most


def _most_memory(process_id: int) -> Iterator[tuple[str, int]]:
    try:
        parent = psutil.Process(process_id)
        family = [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return
    for one in family:
        try:
            words = one.cmdline()
            status = Path(f"/proc/{one.pid}/status").read_text()
        except (psutil.Error, OSError):
            continue
        held = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
        if held:
            yield _title(words), int(held[0]) // 1024


def _title(words: Sequence[str]) -> str:
    """A stage's name, or the command's."""
    stages = [word.split(".")[-1] for word in words if word.startswith("adclick.commands.")]
    return stages[0] if stages and words[0] != "/bin/bash" else Path(words[0] if words else "").name


def _core_seconds() -> float:
    """What the processes that this one started and that ended took of the cores."""
    times = os.times()
    return times.children_user + times.children_system


def _core_seconds_of(process_id: int) -> float:
    """What a process and those that it started took of the cores so far."""
    parent = psutil.Process(process_id)
    family = [parent, *parent.children(recursive=True)]
    return sum(sum(one.cpu_times()[:2]) for one in family)


def _lay_over(project: Path, *settings: Mapping[str, Any]) -> None:
    from snakemake.utils import update_config

    path = project / "adclick.yaml"
    values = yaml.safe_load(path.read_text("utf-8"))
    for one in settings:
        update_config(values, one)
    path.write_text(yaml.safe_dump(values), encoding="utf-8")


def label(
    project: Path, steps: dict[str, Any], results: str, *places: tuple[int, int]
) -> dict[str, Any]:
    """Click and paint in the annotation server where the first picture's defect is, save, export,
    and compare; milliseconds of both. Those of further pictures are clicked once.
    """
    port = free_port()
    words = ["adclick", "annotate", results, "--port", str(port), "--no-open"]
    with subprocess.Popen(words, cwd=project, env=environment(), stdout=sys.stderr) as server:
        try:
            with watched(server.pid, steps, "annotate"):
                found = _worked(f"http://127.0.0.1:{port}/api/v1", places, server.pid)
        finally:
            server.terminate()
    key, seen = found.pop("key"), found.pop("mask")
    own = project / results / "annotate/images"  # of a run; a project's photographs lie elsewhere
    images = own if own.is_dir() else project.parent / PHOTOGRAPHS
    exported = ("labels", "--images", str(images), "--output", "exported")
    source = f"{results}/annotate/labels"
    typed(
        project,
        steps,
        "export-labels",
        *("adclick", "export-labels", source, *exported[1:], "--format", "png"),
    )
    (written,) = (project / "exported/masks").glob(f"*{Path(key).name}.png")
    return {**found, "exported_exactly": bool(np.array_equal(read_mask(written), seen))}


def _worked(api: str, places: Sequence[tuple[int, int]], server_id: int) -> dict[str, Any]:
    wait_for(api)
    keys = [image["key"] for image in call(f"{api}/images")["images"][: len(places)]]
    for other, where in zip(keys[1:], places[1:], strict=True):
        _clicked_once(api, other, where)
    key, place = keys[0], places[0]
    address = f"{api}/images/{urllib.parse.quote(key)}"
    who = {"annotator": ANNOTATOR, "seconds": 1.0}
    started = time.monotonic()
    session = call(f"{address}/open", who)
    opened, waits = time.monotonic() - started, {"click": [], "stroke": []}
    taken: dict[str, list[float]] = {"click": [], "stroke": []}

    def act(action: Mapping[str, Any]) -> dict[str, Any]:
        asked = {**who, "revision": session["revision"], "action": action}
        began, of_core = time.monotonic(), _core_seconds_of(server_id)
        answer = call(f"{address}/actions", asked)
        waits[action["kind"]].append(1000 * (time.monotonic() - began))
        taken[action["kind"]].append(1000 * (_core_seconds_of(server_id) - of_core))
        return answer

    started = time.monotonic()
    row, column = (first + DEFECT_PX // 2 for first in place)
    session = act({"kind": "click", "row": row, "column": column, "positive": True})
    prepared, first = time.monotonic() - started, waits["click"].pop()
    taken["click"].pop()
    for number in range(CLICKS):  # all around it, each a pixel further away
        down, across = ((-1, 0), (0, 1), (1, 0), (0, -1))[number % 4]
        away = DEFECT_PX + number
        beside = {"row": row + down * away, "column": column + across * away}
        session = act({"kind": "click", **beside, "positive": False})
    for number in range(STROKES):
        points = [[row - 3, column - 4 + number], [row + 3, column - 4 + number]]
        session = act({"kind": "stroke", "erase": False, "radius": 1.5, "points": points})
    mask = seen_mask(session)
    call(f"{address}/save", {**who, "revision": session["revision"], "state": "done"})
    return {
        "key": key,
        "mask": mask,
        "clicked": bool(mask[row, column]),
        "open_s": round(opened, 2),
        "first_click_s": round(prepared, 2),
        "first_click_ms": round(first),
        **{
            f"{kind}_{name}_ms": round(float(np.quantile(values, share)), 1)
            for kind, values in waits.items()
            for name, share in (("median", 0.5), ("p95", 0.95))
        },
        **{
            f"{kind}_core_p95_ms": round(float(np.quantile(values, 0.95)))
            for kind, values in taken.items()
        },
    }


def _clicked_once(api: str, key: str, place: tuple[int, int]) -> None:
    address, who = f"{api}/images/{urllib.parse.quote(key)}", {"annotator": ANNOTATOR, "seconds": 1}
    opened = call(f"{address}/open", who)
    row, column = (first + DEFECT_PX // 2 for first in place)
    click = {"kind": "click", "row": row, "column": column, "positive": True}
    session = call(f"{address}/actions", {**who, "revision": opened["revision"], "action": click})
    call(f"{address}/save", {**who, "revision": session["revision"], "state": "done"})


def seen_mask(session: Mapping[str, Any]) -> np.ndarray:
    """The mask of the defect that is worked on, as the page shows it."""
    mask = np.zeros((session["height"], session["width"]), bool)
    whole = [[0, 0, *mask.shape, session["mask"]]] if session["mask"] else []
    for top, left, height, width, content in session["pieces"].get("mask", whole):
        mask[top : top + height, left : left + width] = decoded(content) > 127
    return mask


def predict(
    work: Path, project: Path, steps: dict[str, Any], place: tuple[int, int]
) -> dict[str, Any]:
    """`adclick predict` of the picture that nothing was told about: where its map is highest, and
    whether it is called defective (None where no normal picture was held out).
    """
    words = ("adclick", "predict", "--model", "model", "--images", "../new", "--output", "found")
    typed(project, steps, "predict", *words)
    scores = cv2.imread(str(project / f"found/maps/{NEW}.tiff"), cv2.IMREAD_UNCHANGED)
    assert scores is not None
    highest = np.unravel_index(int(np.argmax(scores)), scores.shape)
    off = [got + 0.5 - (first + DEFECT_PX / 2) for got, first in zip(highest, place, strict=True)]
    (told,) = read_json(project / "found/results.json")["images"]
    return {
        "predict_off_px": round(math.hypot(*off), 1),
        "predict_defective": told["defective"],
        "predict_regions": len(told["regions"]),
    }


if __name__ == "__main__":
    main()
