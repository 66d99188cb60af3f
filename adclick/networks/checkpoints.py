"""Trained models on disk: safetensors that say which model they are and of which sizes."""

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from adclick.run.artifacts import CHECKSUM, NO_CHECKSUM, open_tensors, replacing, seal_tensors
from adclick.run.errors import InputError
from adclick.run.provenance import canonical_json

Model = TypeVar("Model", bound=nn.Module)

NO_FIELDS = ("format", CHECKSUM)
KINDS = ("adclick", "adclick_seg", "feature_detector", "simpleclick")


@dataclass(frozen=True)
class ModelMetadata:
    """What a model file says of itself: kind, sizes it was built with, what its writer added."""

    kind: str
    sizes: dict[str, Any]
    extra: dict[str, Any]


def seeded(build: Callable[..., Model], seed: int, **sizes: Any) -> Model:
    """A model built from a seed on the CPU; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build(**sizes)


def save_model(
    path: Path, model: nn.Module, *, sizes: Mapping[str, Any], kind: str, extra: Mapping[str, Any]
) -> None:
    """Write a model whole or not at all; equal models give equal bytes.

    `sizes` are the keywords it was built with, `kind` is one of `KINDS`. Each key of
    `extra` (JSON values; `stamp` is the one that other stages read) is kept beside them in the
    file's header.
    """
    if kind not in KINDS:
        raise ValueError(f"model kind is {kind!r}; choose from {KINDS}")
    fields = {**extra, "kind": kind, "sizes": sizes}
    metadata = {key: canonical_json(value) for key, value in fields.items()}
    save_tensors(path, model.state_dict(), metadata)


def save_tensors(path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors by name whole or not at all; equal ones give equal bytes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={**metadata, CHECKSUM: NO_CHECKSUM})
        seal_tensors(temporary)


def read_metadata(path: Path) -> ModelMetadata:
    """What a model file says of itself, its weights unread; InputError when it says nothing."""
    with open_tensors(path, framework="pt") as file:
        header = file.metadata() or {}
    try:
        fields = {key: json.loads(header[key]) for key in header if key not in NO_FIELDS}
        kind, sizes = fields.pop("kind"), dict(fields.pop("sizes"))
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{path}: weights without kind and sizes; give a model written by a training"
        ) from None
    if kind not in KINDS:
        raise InputError(f"{path}: a model of unknown kind {kind}; known are {', '.join(KINDS)}")
    return ModelMetadata(kind=kind, sizes=sizes, extra=fields)


def parameter_count(path: Path) -> int:
    """How many numbers the tensors of a safetensors file hold."""
    with open_tensors(path, framework="pt") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    return sum(math.prod(shape) for shape in shapes)


def load_weights_into(
    model: nn.Module,
    path: Path,
    *,
    allow_unused: bool = False,
    may_lack: Collection[str] = (),
    advice: str = "give weights of a model of equal sizes",
) -> None:
    """Copy the weights of a file into a model of equal sizes: pretrained to fine-tuned, or a part.

    Every parameter must be in the file with its shape; weights that the model lacks are an error
    too, unless `allow_unused` (a four-stage language branch for a model that uses two). A file may
    be without all of `may_lack` together, which then stay as they are. InputError names the first
    key, in the model's order, that does not fit, and ends in `advice`; the model is then left as it
    was.
    """
    with open_tensors(path, framework="pt") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        if not any(name in found for name in may_lack):
            expected = {name: shape for name, shape in expected.items() if name not in may_lack}
        _check_fit(path, expected, found, allow_unused, advice)
        weights: dict[str, Tensor] = {name: file.get_tensor(name) for name in expected}
    model.load_state_dict(model.state_dict() | weights)


def _check_fit(
    path: Path,
    expected: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
    allow_unused: bool,
    advice: str,
) -> None:
    for name, shape in expected.items():
        if name not in found:
            raise InputError(f"{path}: no weights for {name}; {advice}")
        if found[name] != shape:
            raise InputError(
                f"{path}: {name} has shape {found[name]}, the model needs {shape}; {advice}"
            )
    unused = [name for name in found if name not in expected]
    if unused and not allow_unused:
        raise InputError(f"{path}: the model has no {unused[0]}; {advice}")
