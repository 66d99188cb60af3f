"""Features of phrases that an earlier run made, found again by all that determines them."""

import hashlib
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float32
from torch import nn

from adclick.language.encoder import TextEncoder, cut_tokens, encode_phrases, token_rows
from adclick.run.artifacts import ArrayFile, open_arrays, replacing, write_texts
from adclick.run.errors import InputError
from adclick.run.provenance import canonical_json, fingerprint

# What a model's settings say besides what its numbers depend on.
OF_NO_EFFECT = {"vocab_size", "architectures", "transformers_version", "dtype", "torch_dtype"}


@dataclass(frozen=True)
class Encoded:
    """Features [channel token], masks [token] and keys by phrase; which phrases the encoder ran on,
    and which have more tokens than it was told to read.
    """

    features: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]
    keys: dict[str, str]
    fresh: tuple[str, ...]
    cut: tuple[str, ...]


def encode_or_find(
    encoder: TextEncoder, phrases: Sequence[str], *, tokens: int, kept: Path
) -> Encoded:
    """The features of phrases: those that the artifact `kept` holds, and the others encoded.

    A damaged or missing `kept` only means that more is encoded: a feature is taken from it when
    its key is that of the phrase and its checksum is right.
    """
    distinct = list(dict.fromkeys(phrases))
    keys = dict(zip(distinct, phrase_keys(encoder, distinct, tokens=tokens), strict=True))
    found = read_kept(kept, set(keys.values()))
    features = {phrase: found[key] for phrase, key in keys.items() if key in found}
    fresh = [phrase for phrase in distinct if phrase not in features]
    if fresh:
        made, _ = encode_phrases(encoder, fresh, tokens=tokens)
        features |= dict(zip(fresh, made, strict=True))
    rows = token_rows(encoder, distinct, tokens)
    lengths = {phrase: len(row) for phrase, row in zip(distinct, rows, strict=True)}
    return Encoded(
        features=features,
        masks={
            phrase: (np.arange(tokens) < length).astype(np.float32)
            for phrase, length in lengths.items()
        },
        keys=keys,
        fresh=tuple(fresh),
        cut=tuple(phrase for phrase, length in lengths.items() if length > tokens),
    )


def phrase_keys(encoder: TextEncoder, phrases: Sequence[str], *, tokens: int) -> list[str]:
    """For each phrase a digest of all that determines its features.

    That is the code that encodes and its libraries, the model's settings and weights, and the rows
    of the vocabulary that the phrase's tokens stand for: not the other rows, so that a vocabulary
    made of the phrases may grow.
    """
    words = cast(nn.Embedding, encoder.model.get_input_embeddings()).weight.numpy()  # pyright: ignore[reportCallIssue]
    settings = {"code": fingerprint("adclick.language.encoder"), "tokens": tokens}
    start = hashlib.sha256(canonical_json(settings | _model_settings(encoder.model)).encode())
    start.update(_weights_digest(encoder.model, words))
    keys: list[str] = []
    for row in token_rows(encoder, phrases, tokens):
        key = start.copy()
        key.update(words[cut_tokens(row, tokens)].tobytes())
        keys.append(key.hexdigest())
    return keys


def _model_settings(model: Any) -> dict[str, Any]:
    settings = model.config.to_dict()
    names = sorted(name for name in settings if name not in OF_NO_EFFECT and name[0] != "_")
    return {name: str(settings[name]) for name in names}


def _weights_digest(model: nn.Module, words: np.ndarray) -> bytes:
    """The sha256 of all weights but the vocabulary's."""
    total = hashlib.sha256()
    for name, weight in sorted(model.named_parameters()):
        values = weight.numpy()
        if not np.shares_memory(values, words):
            total.update(f"{name} {values.shape}".encode())
            total.update(values.tobytes())
    return total.digest()


def write_keys(group: ArrayFile, encoded: Encoded, phrases: Sequence[str]) -> None:
    """Write beside the features of phrases what they are found again by."""
    names = {
        "keys": [encoded.keys[phrase] for phrase in phrases],
        "checksums": [_checksum(encoded.features[phrase]) for phrase in phrases],
    }
    for name, values in names.items():
        write_texts(group, name, values)


def _checksum(feature: Float32[np.ndarray, "channel token"]) -> str:
    return hashlib.sha256(feature.tobytes()).hexdigest()[:16]


def read_kept(path: Path, keys: Collection[str]) -> dict[str, np.ndarray]:
    """The sound features [channel token] in an artifact of `encode_prompts` under these keys."""
    try:
        with open_arrays(path) as file:
            return dict(_sound_features(file, keys))
    except (InputError, OSError, KeyError, ValueError, AttributeError):
        return {}


def _sound_features(file: ArrayFile, keys: Collection[str]) -> Iterator[tuple[str, np.ndarray]]:
    categories = [types for name, types in file.items() if name != "image_ids"]
    for group in (group for types in categories for group in types.values()):
        rows = zip(group["keys"].asstr()[:], group["checksums"].asstr()[:], strict=True)
        for row, (key, expected) in enumerate(rows):
            if key in keys:
                feature = group["phrases"][row]
                if _checksum(feature) == expected:
                    yield key, feature


def keep(result: Path, kept: Path) -> None:
    """Let a result live on under a second name, also after the first is deleted: no second copy."""
    with replacing(kept) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(result, temporary)
        except OSError:
            shutil.copyfile(result, temporary)
