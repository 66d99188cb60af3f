"""docs/own_product.md typed as it stands, with the photographs of a category in MVTec AD's layout:
some defects are labelled in the annotation server over HTTP, the detector is tried on the others.

`python -m tools.own_product /path/to/category WORK` prints what `adclick evaluate` says of the
exported detector and of the training-free map that it starts from, at the photographs' own size;
with `--only-clicks` how long clicks took alone, for which few normal photographs are enough.
"""

import argparse
import base64
import json
import os
import random
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from safetensors import safe_open

from adclick.clicks.deepest import next_click
from adclick.data.images import read_mask
from adclick.models.description import DESCRIPTION, WEIGHTS
from adclick.networks.checkpoints import save_tensors
from adclick.run.provenance import file_sha256
from tools.browser.serving import free_port

REPOSITORY = Path(__file__).parents[1]
HEADERS = {"content-type": "application/json", "x-adclick": "1"}
ANNOTATOR = "robot"
START_S = 300
PATIENCE_S = 1200  # a large picture is encoded before its first click


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("category", type=Path, help="a folder with train/good, test, ground_truth")
    parser.add_argument("work", type=Path, help="where everything is put; a new folder")
    parser.add_argument("--defects", type=int, default=10, help="how many are labelled")
    parser.add_argument("--clicks", type=int, default=5, help="clicks a defect")
    parser.add_argument("--cores", default="all")
    parser.add_argument("--weights", type=Path, help="the backbone's, where there is no network")
    parser.add_argument("--size", help="the side of a square in pixels, not the proposed geometry")
    parser.add_argument("--normals", type=int, help="so many of the normal photographs")
    parser.add_argument("--only-clicks", action="store_true", help="end when all are labelled")
    asked = parser.parse_args()
    if asked.normals is not None and asked.normals < 1:
        parser.error("--normals must be at least 1")
    work, name = asked.work.resolve(), asked.category.name
    labelled, others = share_out(asked.category, work, count=asked.defects, normals=asked.normals)
    given = ["--backbone", str(asked.weights.resolve())] if asked.weights else []
    given += ["--size", asked.size] if asked.size else []
    run(work, "adclick", "init", "photos/good", "photos/defects", "--output", name, *given)
    project = work / name
    snakemake = ["--configfile", "adclick.yaml", "--cores", asked.cores]
    run(project, "snakemake", "click_models", *snakemake)
    waited = label(project, f"results/own/own/{name}", labelled, asked.category, asked.clicks)
    if asked.only_clicks:
        print(json.dumps(waited, indent=2))
        return
    run(project, "snakemake", "detectors", *snakemake)
    run(project, "adclick", "export-model", f"results/own/own/{name}", "human", "--output", "model")
    amount = without_additions(project / "model", project / "training_free")
    found: dict[str, Any] = {"amount": amount, "labelled": sorted(labelled), **waited}
    for model, output in (("model", "found"), ("training_free", "found_training_free")):
        run(
            project,
            *("adclick", "predict", "--model", model, "--images", "../others/test"),
            *("--output", output, "--no-overlays"),
        )
        run(
            project,
            *("adclick", "evaluate", "--maps", f"{output}/maps", "--masks", "../others"),
            *("--output", f"{output}.json"),
        )
        found[output] = json.loads((project / f"{output}.json").read_text())
    found["pictures"] = len(others)
    print(json.dumps(found, indent=2))


def share_out(
    category: Path, work: Path, *, count: int, normals: int | None = None
) -> tuple[list[str], list[str]]:
    """Lay the photographs where docs/own_product.md wants them: `count` defects, drawn at random
    and without masks, beside the normal ones (the first `normals`); the rest with masks under
    `others`.

    The defects' keys, `kind/stem`, that are to be labelled, and the other pictures'.
    """
    kinds = sorted(path for path in (category / "test").iterdir() if path.name != "good")
    defects = [picture for kind in kinds for picture in sorted(kind.iterdir())]
    chosen = set(random.Random(0).sample(defects, count))
    for picture in sorted((category / "train/good").iterdir())[:normals]:
        copy(picture, work / "photos/good")
    rest = [*sorted((category / "test/good").iterdir()), *(d for d in defects if d not in chosen)]
    for picture in chosen:
        copy(picture, work / "photos/defects" / picture.parent.name)
    for picture in rest:
        copy(picture, work / "others/test" / picture.parent.name)
        if picture.parent.name != "good":
            copy(truth(category, key(picture)), work / "others/ground_truth" / picture.parent.name)
    return [key(one) for one in chosen], [key(one) for one in rest]


def copy(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, folder)


def key(picture: Path) -> str:
    return f"{picture.parent.name}/{picture.stem}"


def truth(category: Path, name: str) -> Path:
    """The mask of a defect `kind/stem`."""
    return category / "ground_truth" / f"{name}_mask.png"


def run(work: Path, *words: str) -> None:
    """A command as typed in the project's folder; its first word and what it took are told."""
    started = time.monotonic()
    subprocess.run(words, cwd=work, env=environment(), check=True, stdout=sys.stderr)
    print(f"{time.monotonic() - started:.0f} s: {' '.join(words)}", file=sys.stderr, flush=True)


def environment() -> dict[str, str]:
    beside = Path(sys.executable).parent
    return {
        **os.environ,
        "PATH": f"{beside}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
    }


def label(
    project: Path, results: str, keys: Sequence[str], category: Path, clicks: int
) -> dict[str, Any]:
    """Label the defects in the annotation server as a robot user does, and say how long it took
    to answer a click.
    """
    port = free_port()
    words = ["adclick", "annotate", results, "--port", str(port), "--no-open"]
    server = subprocess.Popen(words, cwd=project, env=environment())
    api = f"http://127.0.0.1:{port}/api/v1"
    try:
        wait_for(api)
        known = [row["key"] for row in call(f"{api}/images")["images"]]
        places = {next(other for other in known if other.endswith(one)): one for one in keys}
        waits = []
        for place in sorted(places, key=known.index):  # as a person goes on to the next
            mask = read_mask(truth(category, places[place]))
            waits += label_one(f"{api}/images/{urllib.parse.quote(place)}", mask, clicks=clicks)
    finally:
        server.terminate()
        server.wait()
    return {
        "clicks": len(waits),
        "median_click_ms": round(float(np.median(waits)), 1),
        "p95_click_ms": round(float(np.quantile(waits, 0.95)), 1),
    }


def label_one(address: str, mask: np.ndarray, *, clicks: int) -> list[float]:
    """Click at the middle of the larger error, save; the milliseconds until each answer."""
    who = {"annotator": ANNOTATOR, "seconds": 1.0}
    session = call(f"{address}/open", who)
    taken, waits = np.zeros(mask.shape, bool), []
    for _ in range(clicks):
        shown = decoded(session["mask"]) > 127
        if not np.any((shown != mask) & ~taken):
            break
        click = next_click(mask, shown, taken)
        taken[click.row, click.column] = True
        place = {"row": click.row, "column": click.column, "positive": click.positive}
        started = time.monotonic()
        asked = {**who, "revision": session["revision"], "action": {"kind": "click", **place}}
        session = call(f"{address}/actions", asked)
        waits.append(1000 * (time.monotonic() - started))
    call(f"{address}/save", {**who, "revision": session["revision"], "state": "done"})
    return waits


def decoded(png64: str) -> np.ndarray:
    """The pixels of a PNG in base64."""
    content = base64.b64decode(png64.split(",")[-1])
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise ValueError("the server's mask is no picture")
    return pixels


def wait_for(api: str) -> None:
    """Return when the server answers; TimeoutError after five minutes."""
    ends = time.monotonic() + START_S
    while time.monotonic() < ends:
        try:
            call(f"{api}/health")
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(f"{api}: no answer in {START_S} s")


def call(address: str, body: dict[str, Any] | None = None) -> Any:
    """What the server answers to a question, or with a body to a deed, as JSON."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data=content, headers=HEADERS)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.loads(answer.read())


def without_additions(folder: Path, other: Path) -> float:
    """A copy of a detector's model folder that shows the training-free map alone; the share of what
    it learned that the detector adds.
    """
    shutil.copytree(folder, other)
    weights = other / WEIGHTS
    with safe_open(weights, framework="pt") as file:
        header = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    amount = json.loads(header["amount"])
    save_tensors(weights, tensors, {**header, "amount": "0.0"})
    described = json.loads((other / DESCRIPTION).read_text())
    described["files"][WEIGHTS] = file_sha256(weights)
    (other / DESCRIPTION).write_text(json.dumps(described))
    return amount


if __name__ == "__main__":
    main()
