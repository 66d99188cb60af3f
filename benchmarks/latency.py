"""A click's answer: what an annotator waits for, decoded in several ways (untrained networks)."""

import copy
import importlib.util
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adclick.clicks.click import Click
from adclick.networks.adclick import ADClick, build_adclick
from adclick.networks.checkpoints import seeded
from adclick.networks.inputs import click_maps
from adclick.run.config import Config, read_configuration
from adclick.training.fit import language_sizes, trunk_sizes
from benchmarks.measure import Check, Results, Task, Variant
from benchmarks.pictures import soft_defect

CONFIG = Path(__file__).parents[1] / "config"
OVERLAYS = {
    "micro": [CONFIG / "demo.yaml", CONFIG.parent / "tests/config/micro.yaml"],
    "small": [CONFIG / "small.yaml"],
    "paper": [],
}
SIZES = {"tiny": ["micro"], "quick": ["small"], "normal": ["small"], "full": ["small", "paper"]}
WHOLE = "ours"  # eager, float32
EXACT = 1e-4  # of a probability: what rounding may differ by
TEXT_TOKENS = 20


@dataclass(frozen=True)
class Opened:
    """An image opened for clicks, and what an annotator gives, click by click."""

    model: ADClick
    tokens: Tensor
    maps: list[Tensor]
    inputs: Sequence[Tensor]


def tasks(scale: str) -> Iterator[Task]:
    """Five clicks on one defect, each with the mask so far, at the sizes of a configuration."""
    for name in SIZES[scale]:
        config = read_configuration(OVERLAYS[name], base=CONFIG / "config.yaml")
        yield _task(name, _open(config), elaborate=scale != "tiny")


def _task(name: str, opened: Opened, *, elaborate: bool) -> Task:
    model = opened.model
    ways = {
        WHOLE: model.decode,
        "fused attention": _fused(model).decode,
        "channels last": _channels_last(model).decode,
        "bfloat16": partial(_half, model),
    }
    if elaborate:
        ways["torch.compile"] = _compiled(opened)
    if elaborate and importlib.util.find_spec("onnxruntime"):
        ways["ONNX Runtime"] = _exported(opened)
    variants = [
        Variant(way, partial(_whole, opened, decode), times=len(opened.inputs))
        for way, decode in ways.items()
    ]

    def agreement(results: Results) -> list[Check]:
        return [
            Check(
                f"largest difference of a probability, {variant.name}",
                float(np.abs(results[variant.name] - results[WHOLE]).max()),
                most=0.1 if variant.name == "bfloat16" else EXACT,
            )
            for variant in variants
            if variant.name != WHOLE
        ]

    count = sum(parameter.numel() for parameter in opened.model.parameters())
    return Task(
        name=f"{len(opened.inputs)} clicks at {name} scale, {count / 1e6:.1f} M parameters",
        variants=variants,
        agreement=agreement,
        goals={},
    )


# --- what is decoded --------------------------------------------------------------------------


def _open(config: Config) -> Opened:
    model = _model(config)
    draw = torch.Generator().manual_seed(0)
    size_px, channels = config.size_px, config.residual_input.groups or config.features.dimension
    residual = torch.rand(1, channels, config.grid, config.grid, generator=draw)
    image = torch.rand(1, 3, size_px, size_px, generator=draw)
    text = torch.randn(1, config.language.channels, TEXT_TOKENS, generator=draw)
    with torch.inference_mode():
        tokens = model.embed(residual, image)
        maps = model.language_maps(image, text, torch.ones(1, TEXT_TOKENS))
    return Opened(model, tokens, maps, _inputs(size_px, config.clicks.radius_px))


def _model(config: Config) -> ADClick:
    network = config.network.model_copy(update={"click_cells": None})
    sizes = trunk_sizes(
        network,
        size_px=config.size_px,
        stride=config.features.stride,
        residual_channels=config.residual_input.groups or config.features.dimension,
    )
    model = seeded(
        build_adclick,
        0,
        **sizes,
        click_cells=None,
        inputs="residual",
        image_channels=[],
        neck_channels=network.neck_channels,
        neck_strides=network.neck_strides,
        head_hidden=network.head_hidden,
        language=language_sizes(config.vision_language, text_channels=config.language.channels),
    )
    with torch.no_grad():  # an untrained head's logits are all alike: spread, differences show
        model.head.logit.weight *= 50
    return model.eval()


def _inputs(size_px: int, radius_px: float) -> list[Tensor]:
    """Clicks at the edge of a defect, and the mask that each corrects, bit by bit."""
    soft = soft_defect(np.random.default_rng(3), size_px)
    rows, columns = np.nonzero(np.abs(soft - 0.5) < 0.1)
    picked = np.linspace(0, len(rows) - 1, 5).astype(int)
    clicks = [
        Click(int(rows[place]), int(columns[place]), index % 2 == 0)
        for index, place in enumerate(picked)
    ]
    levels = (None, 0.7, 0.6, 0.55, 0.5)
    return [
        torch.from_numpy(
            click_maps(
                clicks[: index + 1],
                None if level is None else (soft > level).astype(np.float32),
                shape=(size_px, size_px),
                radius_px=radius_px,
                graph=None,
            )[None]
        )
        for index, level in enumerate(levels)
    ]


# --- how --------------------------------------------------------------------------------------


def _whole(opened: Opened, decode: Callable[..., Tensor]) -> np.ndarray:
    """The last click alone: without memory all cost the same."""
    with torch.inference_mode():
        return _probability(decode(opened.tokens, opened.inputs[-1], opened.maps))


def _probability(logits: Tensor) -> np.ndarray:
    return torch.sigmoid(logits.float())[0, 0].numpy()


def _fused(model: ADClick) -> ADClick:
    fused = copy.deepcopy(model)
    for block in fused.trunk.blocks:
        attention: Any = block.attn
        attention.fused_attn = True
    return fused


def _channels_last(model: ADClick) -> Any:
    return copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _half(model: ADClick, *given: Any) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return model.decode(*given)


def _compiled(opened: Opened) -> Callable[..., Tensor]:
    compiled = torch.compile(opened.model.decode)
    _whole(opened, compiled)
    return compiled


class _Decode(nn.Module):
    """`decode` as a module, which is what the exporter takes."""

    def __init__(self, model: ADClick) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, clicks: Tensor, maps: list[Tensor]) -> Tensor:
        return self.model.decode(tokens, clicks, maps)


def _exported(opened: Opened) -> Callable[..., Tensor]:
    """The decoder as ONNX Runtime runs it, on as many threads as torch."""
    import onnxruntime

    given = (opened.tokens.clone(), opened.inputs[0], [level.clone() for level in opened.maps])
    program = torch.onnx.export(
        _Decode(opened.model).eval(), given, dynamo=True, optimize=True, verbose=False
    )
    assert program is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decoder.onnx"
        program.save(path, external_data=True)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def decode(tokens: Tensor, clicks: Tensor, maps: list[Tensor]) -> Tensor:
        arrays = [value.numpy() for value in (tokens, clicks, *maps)]
        (logits,) = session.run(None, dict(zip(names, arrays, strict=True)))
        return torch.from_numpy(logits)

    return decode
