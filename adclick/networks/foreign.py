"""Weights that others published, renamed to our networks' names; no code in a file is ever run."""

import argparse
import math
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from adclick.networks.neck import NECK_STRIDES
from adclick.networks.simpleclick import build_simpleclick
from adclick.networks.vision_language import LanguageSizes, VisionLanguageSwin, language_parts
from adclick.run.artifacts import refuse_pointer
from adclick.run.errors import InputError

Weights = dict[str, Tensor]

# Names in LAVT's and the original Swin's state dicts, and in ours.
SWIN_NAMES = (
    (r"patch_embed\.proj\.(.+)", r"patch_embed.\1"),
    (r"patch_embed\.norm\.(.+)", r"patch_norm.\1"),
    (r"layers\.(\d+)\.(blocks\..+)", r"stages.\1.\2"),
    (r"layers\.(\d+)\.downsample\.(.+)", r"stages.\1.merge.\2"),
)
LANGUAGE_NAMES = (
    (r"norm(\d)\.(.+)", r"stages.\1.norm.\2"),
    (r"layers\.(\d+)\.fusion\.vis_project\.0\.(.+)", r"stages.\1.fusion.visual.\2"),
    (r"layers\.(\d+)\.fusion\.image_lang_att\.f_query\.0\.(.+)", r"stages.\1.fusion.query.\2"),
    (r"layers\.(\d+)\.fusion\.image_lang_att\.f_key\.0\.(.+)", r"stages.\1.fusion.key.\2"),
    (r"layers\.(\d+)\.fusion\.image_lang_att\.f_value\.0\.(.+)", r"stages.\1.fusion.value.\2"),
    (r"layers\.(\d+)\.fusion\.image_lang_att\.W\.0\.(.+)", r"stages.\1.fusion.reading.\2"),
    (r"layers\.(\d+)\.fusion\.project_mm\.0\.(.+)", r"stages.\1.fusion.output.\2"),
    (r"layers\.(\d+)\.res_gate\.0\.(.+)", r"stages.\1.gate.first.\2"),
    (r"layers\.(\d+)\.res_gate\.2\.(.+)", r"stages.\1.gate.second.\2"),
)
SIMPLECLICK_NAMES = (
    (r"backbone\.(patch_embed\.proj\..+|pos_embed|blocks\..+)", r"vit.\1"),
    (r"patch_embed_coords\.proj\.(.+)", r"click_stem.projection.\1"),
    *(
        (rf"neck\.down_{stride}\.(.+)", rf"neck.levels.{level}.\1")
        for level, stride in enumerate(NECK_STRIDES)
    ),
    (r"head\.convs\.(\d+)\.conv\.(.+)", r"head.project.\1.\2"),
    (r"head\.fusion_conv\.conv\.(.+)", r"head.mix.\1"),
    (r"head\.conv_seg\.(.+)", r"head.logit.\1"),
)
# What SimpleClick's transformer has of a classifier, and layers that its head does not use.
SIMPLECLICK_UNUSED = r"backbone\.(cls_token|fc_norm\..+|head\..+)|head\.up_conv\d\..+"
SIMPLECLICK_CODE = "isegm."  # a loss of its own code lies in the checkpoint
PRETRAINED_PX = 224  # its windows are of the pictures that the transformer was pretrained on
MOST_HEADS, HEAD_CHANNELS = 16, 64  # of the published sizes: base 12, large and huge 16
# Tables that follow from the sizes, and the classifier of a Swin.
SWIN_UNUSED = r".+\.relative_position_index|.+\.attn_mask|norm\..+|head\..+"
BERT_UNUSED = r"pooler\..+|embeddings\.position_ids"
BERT_HEAD_CHANNELS = 64  # of every published BERT


class _Unread:
    """What a checkpoint has of its own code becomes this, which holds values and does nothing."""


def read_checkpoint(path: Path, *, unread: str | None = None) -> dict[str, Any]:
    """What a `.safetensors` or torch file holds; InputError for anything but tensors and values.

    A torch file is a pickle: only tensors, plain values and `argparse.Namespace` are made of it,
    and whatever else it names is refused, unexecuted; in place of what begins with `unread` stands
    an object that does nothing.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    refuse_pointer(path)
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        known = [argparse.Namespace, *_stand_ins(path, unread)]
        with torch.serialization.safe_globals(known), warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of old pickles, which are read or refused all the same
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"it asks for {found[1]}" if found else "it is damaged, or no torch file"
        raise InputError(f"{path}: holds more than weights ({what}): refused, not run") from None
    except Exception as error:  # a damaged file fails in many ways
        line = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not a readable weights file ({line})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, not weights by name")
    return content


def _stand_ins(path: Path, unread: str | None) -> list[tuple[type, str]]:
    if unread is None:
        return []
    named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    return [(_Unread, name) for name in named if name.startswith(unread)]


def lavt_swin(checkpoint: Mapping[str, Any]) -> Weights:
    """The language-vision Swin of a LAVT checkpoint (arXiv 2112.02244) in our names.

    Source of the names: the modules of LAVT's published code; its last stage's gate leads nowhere
    and is left out.
    """
    named = _tensors(checkpoint, "model")
    backbone = {
        name.removeprefix("backbone."): value
        for name, value in named.items()
        if name.startswith("backbone.")
    }
    if not backbone:
        raise InputError(f"{next(iter(named), 'nothing')}: no name begins with backbone.")
    weights = _renamed(backbone, (*SWIN_NAMES, *LANGUAGE_NAMES), SWIN_UNUSED)
    weights = {name: _as_linear(name, value) for name, value in _merged_before(weights).items()}
    last = max((name.split(".")[1] for name in weights if ".blocks." in name), default="")
    unused = f"stages.{last}.gate."
    return _checked_swin({name: value for name, value in weights.items() if unused not in name})


def plain_swin(checkpoint: Mapping[str, Any]) -> Weights:
    """A Swin without language, in timm's names or in the original ones, in our names.

    The original code merges patches at the end of a stage, timm and ours at the beginning of the
    next one.
    """
    named = _tensors(checkpoint, "model")
    weights = _renamed(named, SWIN_NAMES, SWIN_UNUSED)
    if "stages.0.merge.norm.weight" in weights:
        weights = _merged_before(weights)
    return _checked_swin(weights)


def simpleclick(checkpoint: Mapping[str, Any]) -> tuple[Weights, dict[str, Any]]:
    """A published SimpleClick in our names, and its sizes.

    Source of the names: the modules of SimpleClick's published code, whose transformer keeps a
    classifier and the place of its class token, which nothing reads.
    """
    named = _tensors(checkpoint, "state_dict")
    weights = _renamed(named, SIMPLECLICK_NAMES, SIMPLECLICK_UNUSED)
    try:
        weights["vit.pos_embed"] = weights["vit.pos_embed"][:, 1:]
        sizes = _simpleclick_sizes(weights)
        with torch.device("meta"):
            expected = build_simpleclick(**sizes).state_dict()
    except KeyError as error:
        raise InputError(f"no weights for {error.args[0]}: there is no SimpleClick in it") from None
    except ValueError as error:
        raise InputError(f"sizes of no SimpleClick ({error})") from None
    return _checked(weights, expected), sizes


def _simpleclick_sizes(weights: Weights) -> dict[str, Any]:
    dim, _, patch, _ = weights["vit.patch_embed.proj.weight"].shape
    blocks = {name.split(".")[2] for name in weights if name.startswith("vit.blocks.")}
    widths = [weights[f"head.project.{level}.weight"].shape[1] for level in range(4)]
    return {
        "image_px": math.isqrt(weights["vit.pos_embed"].shape[1]) * patch,
        "patch": patch,
        "dim": dim,
        "depth": len(blocks),
        "heads": min(MOST_HEADS, max(1, dim // HEAD_CHANNELS)),
        "window": PRETRAINED_PX // patch,
        "global_every": 6 if len(blocks) == 12 else max(1, len(blocks) // 4),
        "neck_channels": widths,
        "head_hidden": len(weights["head.mix.weight"]),
    }


def lavt_bert(checkpoint: Mapping[str, Any]) -> tuple[Weights, dict[str, Any]]:
    """The text encoder in a LAVT checkpoint: weights and settings as transformers names them."""
    if "bert_model" in checkpoint:
        named = _tensors(checkpoint, "bert_model")
    else:
        inside = _tensors(checkpoint, "model")
        named = {
            name.removeprefix("text_encoder."): value
            for name, value in inside.items()
            if name.startswith("text_encoder.")
        }
    weights = {
        name.removeprefix("bert."): value.float().contiguous()
        for name, value in named.items()
        if not re.fullmatch(BERT_UNUSED, name.removeprefix("bert."))
    }
    return weights, _bert_settings(weights)


def _bert_settings(weights: Weights) -> dict[str, Any]:
    """A BERT's sizes, read off the shapes of its weights."""
    try:
        rows, channels = weights["embeddings.word_embeddings.weight"].shape
        settings = {
            "vocab_size": rows,
            "hidden_size": channels,
            "max_position_embeddings": len(weights["embeddings.position_embeddings.weight"]),
            "type_vocab_size": len(weights["embeddings.token_type_embeddings.weight"]),
            "intermediate_size": len(weights["encoder.layer.0.intermediate.dense.weight"]),
        }
    except KeyError as error:
        raise InputError(f"no weights for {error.args[0]}: there is no BERT in it") from None
    if channels % BERT_HEAD_CHANNELS:
        raise InputError(f"a BERT of {channels} channels, no multiple of {BERT_HEAD_CHANNELS}")
    layers = {name.split(".")[2] for name in weights if name.startswith("encoder.layer.")}
    heads = channels // BERT_HEAD_CHANNELS
    return settings | {"num_hidden_layers": len(layers), "num_attention_heads": heads}


def swin_sizes(weights: Mapping[str, Tensor]) -> LanguageSizes:
    """The sizes of a language-vision Swin, read off the shapes of its weights (in our names)."""
    tables = [
        re.fullmatch(r"stages\.(\d+)\.blocks\.\d+\.attn\.relative_position_bias_table", name)
        for name in weights
    ]
    stages = [int(found[1]) for found in tables if found]
    if not stages or "patch_embed.weight" not in weights:
        raise InputError("no weights for patch_embed or any block: there is no Swin in it")
    first = [
        weights[f"stages.{stage}.blocks.0.attn.relative_position_bias_table"]
        for stage in range(max(stages) + 1)
        if f"stages.{stage}.blocks.0.attn.relative_position_bias_table" in weights
    ]
    key = weights.get("stages.0.fusion.key.weight")
    return {
        "embed_dim": len(weights["patch_embed.weight"]),
        "depths": [stages.count(stage) for stage in range(max(stages) + 1)],
        "heads": [table.shape[1] for table in first],
        "window": (round(len(first[0]) ** 0.5) + 1) // 2,
        "text_channels": 1 if key is None else key.shape[1],
        "trainable": "all",
    }


def _tensors(checkpoint: Mapping[str, Any], part: str) -> Weights:
    """The tensors of a part of a checkpoint, or of all of it; what several GPUs prefix is cut."""
    content = checkpoint.get(part, checkpoint)
    if not isinstance(content, Mapping):
        raise InputError(f"{part} holds a {type(content).__name__}, not weights by name")
    return {
        name.removeprefix("module."): value
        for name, value in content.items()
        if isinstance(value, Tensor)
    }


def _renamed(weights: Weights, names: tuple[tuple[str, str], ...], unused: str) -> Weights:
    """Weights in our names, without those `unused`; InputError for the first name that none of the
    patterns knows.
    """
    renamed: Weights = {}
    for name, value in weights.items():
        if re.fullmatch(unused, name):
            continue
        found = [re.sub(old, new, name) for old, new in names if re.fullmatch(old, name)]
        if not found:
            raise InputError(f"{name}: no such weights in the network that this is to be")
        renamed[found[0]] = value.float()
    return renamed


def _merged_before(weights: Weights) -> Weights:
    """Patch merging moved from the end of a stage to the beginning of the next."""
    pattern = r"stages\.(\d+)\.merge\."
    return {
        re.sub(pattern, lambda found: f"stages.{int(found[1]) + 1}.merge.", name): value
        for name, value in weights.items()
    }


def _as_linear(name: str, value: Tensor) -> Tensor:
    """A 1x1 convolution's weights [out in 1] as a linear layer's [out in]."""
    pointwise = ".fusion." in name and value.ndim == 3 and value.shape[2] == 1
    return value[..., 0] if pointwise else value


def _checked_swin(weights: Weights) -> Weights:
    """The weights of a Swin, with those of the language parts or without any (`_checked`)."""
    sizes = swin_sizes(weights)
    image_px = 32 * sizes["window"]  # the smallest whose coarsest map holds a window
    with torch.device("meta"):
        try:
            branch = VisionLanguageSwin(image_px=image_px, stages=len(sizes["depths"]), **sizes)
        except ValueError as error:
            raise InputError(f"sizes of no Swin ({error})") from None
    expected = branch.state_dict()
    language = language_parts(expected)
    if not any(name in weights for name in language):
        expected = {name: value for name, value in expected.items() if name not in language}
    return _checked(weights, expected)


def _checked(weights: Weights, expected: Weights) -> Weights:
    """The weights in our module's order; InputError for the first that is missing, misshapen or too
    many.
    """
    for name, value in expected.items():
        if name not in weights:
            raise InputError(f"no weights for {name}")
        if weights[name].shape != value.shape:
            raise InputError(
                f"{name} has shape {tuple(weights[name].shape)}, not {tuple(value.shape)}"
            )
    surplus = [name for name in weights if name not in expected]
    if surplus:
        raise InputError(f"{surplus[0]}: no such weights in a network of these sizes")
    return {name: weights[name].contiguous() for name in expected}
