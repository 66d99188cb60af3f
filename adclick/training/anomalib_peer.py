"""Models of the library anomalib, which has an environment of its own: this end of it."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from jaxtyping import Float32

from adclick.residuals.backbone import load_backbone
from adclick.run.errors import InputError
from adclick.run.settings.residuals import Features
from adclick.training.anomalib_runner import main as runner
from adclick.training.peer_pictures import Learnt, Picture, Pictures


def learn(
    model: str,
    settings: dict[str, Any],
    *,
    normal: Pictures,
    backbone: Features | None,
    textures: str | None,
    python: str,
    seed: int,
    device: torch.device,
    epochs: int,
    batch: int,
    most_steps: int,
) -> Learnt:
    """A model by its class in `anomalib.models`, trained on normal pictures by the interpreter
    `python`, which then answers pictures until this process ends.

    It reads the run's `backbone`, if any, with the run's weights; pictures are taken at their size.
    `epochs` are the library's or the paper's; `most_steps`, if not 0, ends training
    before. Maps are the model's own, before the library normalises them and cuts them off.
    InputError when the interpreter is missing, or ends early, which says why in the log.
    """
    if backbone is not None:
        _check(backbone)
    shape = normal.images.shape[1:]
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder, "normal.npy")
        np.save(pictures, np.stack([normal.images[row] for row in normal.rows]))
        steps = _steps(len(normal), epochs=epochs, batch=batch, most=most_steps)
        task = {
            **{"model": model, "settings": settings, "backbone": _weights(backbone)},
            **{"normal": str(pictures), "textures": textures, "seed": seed},
            **{"device": str(device), "epochs": epochs, "batch": batch, "steps": steps},
        }
        child = _start(python, task)
        facts = json.loads(_read_line(child))

    def map_of(picture: Picture) -> Float32[np.ndarray, "height width"]:
        assert child.stdin is not None and child.stdout is not None
        size = 4 * shape[0] * shape[1]
        try:
            child.stdin.write(picture.image.tobytes())
            child.stdin.flush()
            answer = child.stdout.read(size)
        except OSError:
            answer = b""
        if len(answer) < size:
            _gone(child)
        return np.frombuffer(answer, np.float32).reshape(shape[:2])

    said = {"anomalib": facts["anomalib"], "epochs": epochs, "batch": batch}
    said |= {"most_steps": most_steps}
    return Learnt(map_of, facts["parameters"], said, lambda: _finish(child))


def _steps(pictures: int, *, epochs: int, batch: int, most: int) -> int:
    """How many steps shorten a training; 0 when its epochs are no more than that."""
    whole = epochs * max(1, pictures // batch)
    return most if most and most < whole else 0


def _start(python: str, task: dict[str, Any]) -> "subprocess.Popen[bytes]":
    # -P: the runner's own folder is not where libraries are looked for.
    command = [python, "-P", str(sys.modules[runner.__module__].__file__), json.dumps(task)]
    quiet = {**os.environ, "TQDM_DISABLE": "1"}  # a bar of thousands of steps is a log of megabytes
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=quiet)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(
            f"{python}: cannot be run ({reason}); run `make peers`, or name an interpreter that has"
            " anomalib under anomalib_python"
        ) from None


def _finish(child: "subprocess.Popen[bytes]") -> dict[str, Any]:
    """End the other process; the most memory (MB) that it held, and held on a GPU."""
    assert child.stdin is not None and child.stdout is not None
    child.stdin.close()
    memory = json.loads(_read_line(child))
    child.stdout.close()
    child.wait()
    return {"peak_memory_mb": memory}


def _read_line(child: "subprocess.Popen[bytes]") -> bytes:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        _gone(child)
    return line


def _gone(child: "subprocess.Popen[bytes]") -> NoReturn:
    child.communicate()
    raise InputError(f"anomalib ended early (status {child.returncode}); the lines above say why")


def _weights(backbone: Features | None) -> dict[str, Any] | None:
    if backbone is None:
        return None
    weights = backbone.weights
    return {"name": backbone.backbone, "source": weights.source, "file": weights.file}


def _check(backbone: Features) -> None:
    """InputError when the run's weights do not fit, which the library would not notice."""
    weights = backbone.weights
    load_backbone(
        backbone.backbone,
        layers=tuple(backbone.layers),
        source=weights.source,
        file=Path(weights.file) if weights.file else None,
        sha256=weights.sha256,
        seed=weights.seed,
    )
