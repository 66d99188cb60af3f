"""What runs in the environment of anomalib: a model of that library is trained on normal pictures,
then answers pictures with maps.

Nothing of this package is imported here, so that the other environment needs anomalib alone. See
`adclick.training.anomalib_peer` for the other end.
"""

import json
import math
import os
import resource
import sys
import tempfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import torch

Task = Mapping[str, Any]


def main() -> None:
    """Train as the JSON of the first argument says, write a line of JSON, then a map for every
    picture that comes in, both as the bytes of their arrays; when no more come, a line of JSON on
    the most memory (MB) that was held.

    What libraries print goes to the log.
    """
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    task: Task = json.loads(sys.argv[1])
    normal = np.load(task["normal"], mmap_mode="r")
    model = train(task, normal)
    replies.write(json.dumps(facts_of(model)).encode() + b"\n")
    replies.flush()
    answer_all(model, normal.shape[1:], sys.stdin.buffer, replies)
    replies.write(json.dumps(memory_mb()).encode() + b"\n")
    replies.flush()


def memory_mb() -> dict[str, float]:
    """The most memory that this process held, and that it held on a GPU."""
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    return {
        "process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "gpu": torch.cuda.max_memory_allocated() / 1024**2 if on_gpu else 0,
    }


def facts_of(model: Any) -> dict[str, Any]:
    """The version of the library, and how many numbers a map is made with: weights, statistics, and
    a bank of features, if the model has one.
    """
    from importlib.metadata import version

    numbers = sum(value.numel() for value in model.model.state_dict().values())
    return {"anomalib": version("anomalib"), "parameters": numbers}


def answer_all(model: Any, shape: tuple[int, ...], pictures: BinaryIO, replies: BinaryIO) -> None:
    """A map for every picture of this shape until there are no more."""
    while len(sent := pictures.read(math.prod(shape))) == math.prod(shape):
        replies.write(raw_map(model, np.frombuffer(sent, np.uint8).reshape(shape)).tobytes())
        replies.flush()


@torch.no_grad()
def raw_map(model: Any, picture: np.ndarray) -> np.ndarray:
    """The anomaly map [height width] float32 of a uint8 RGB picture, as the model makes it, before
    the library normalises maps and cuts them off.
    """
    device = next(model.parameters()).device
    batch = model.pre_processor(_tensor(picture)[None].to(device))
    return model.model(batch).anomaly_map.float().reshape(picture.shape[:2]).cpu().numpy()


def train(task: Task, normal: np.ndarray) -> Any:
    """The model of a task, trained on the normal pictures [image height width 3] as the library
    trains it; `steps`, if not 0, shortens it to so many.
    """
    from lightning.pytorch import Trainer, seed_everything  # pyright: ignore
    from torch.utils.data import DataLoader

    seed_everything(task["seed"], verbose=False)
    model = _build(task, normal.shape[1:3])
    items = _Items(normal)
    loader = DataLoader(
        items,  # pyright: ignore[reportArgumentType]
        batch_size=min(task["batch"], len(items)),
        shuffle=True,
        drop_last=len(items) > task["batch"] and task["epochs"] > 1,
        collate_fn=items.collate,
    )
    device = torch.device(task["device"])
    epochs = math.ceil(task["steps"] / len(loader)) if task["steps"] else task["epochs"]
    arguments = {**model.trainer_arguments, "max_epochs": epochs}
    arguments["devices"] = [device.index or 0] if device.type == "cuda" else 1
    Trainer(
        **arguments,
        max_steps=task["steps"] or -1,
        accelerator="gpu" if device.type == "cuda" else "cpu",
        **{name: False for name in ("logger", "enable_checkpointing", "enable_progress_bar")},
        enable_model_summary=False,
    ).fit(model, loader)
    return model.to(task["device"]).eval()


class _Items:
    """Normal pictures as the library's items."""

    def __init__(self, normal: np.ndarray) -> None:
        from anomalib.data import ImageBatch, ImageItem  # pyright: ignore

        self.normal, self.item, self.collate = normal, ImageItem, ImageBatch.collate

    def __len__(self) -> int:
        return len(self.normal)

    def __getitem__(self, index: int) -> Any:
        return self.item(image=_tensor(self.normal[index]), gt_label=torch.tensor(False))


def _tensor(picture: np.ndarray) -> torch.Tensor:
    """uint8 [height width 3] as float32 [3 height width] in [0, 1]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def _build(task: Task, size: tuple[int, int]) -> Any:
    """The untrained model with the run's backbone, pictures of `size` taken as they are."""
    from anomalib import models  # pyright: ignore

    kind, settings = getattr(models, task["model"]), dict(task["settings"])
    without = {name: False for name in ("post_processor", "evaluator", "visualizer")}
    without["pre_processor"] = kind.configure_pre_processor(image_size=size)
    if task["backbone"] is None:  # the model has a network of its own, and wants textures
        folder = task["textures"] or tempfile.mkdtemp()
        return kind(dtd_dir=folder, **settings, **without)
    weights = _backbone(task["backbone"])
    name = task["backbone"]["name"].partition(".")[0]
    if task["model"] == "Supersimplenet":
        return kind(backbone=weights, **settings, **without)
    model = kind(backbone=name, pre_trained=False, **settings, **without)
    extractor = getattr(model.model, "feature_extractor", None) or model.model.encoder
    own = extractor.feature_extractor
    own.load_state_dict({key: weights.state_dict()[key] for key in own.state_dict()})
    return model


def _backbone(given: Mapping[str, Any]) -> Any:
    """The timm network of the run, with the run's weights; keys that a file lacks stay as drawn,
    since no layer that is read needs them (the main process has checked that).
    """
    import timm
    from safetensors.torch import load_file

    network = timm.create_model(given["name"], pretrained=given["source"] == "hub")
    if given["source"] == "file":
        network.load_state_dict(load_file(given["file"]), strict=False)
    return network.eval()


if __name__ == "__main__":
    main()
