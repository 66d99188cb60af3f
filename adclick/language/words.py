"""The words of a category's defect types, and which of them a training step reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from adclick.data.rows import NORMAL_TYPE
from adclick.run.artifacts import ArrayFile, open_arrays
from adclick.run.errors import InputError

UNTOLD = "defect"
AVERAGE_SHARE = 0.5  # Sec. 3.3: half of the texts are the average, half one phrase


@dataclass(frozen=True)
class Text:
    """The words of one defect type: features [phrase channel token] and masks [phrase token], and
    their average.
    """

    average: Float[np.ndarray, "channel token"]
    average_mask: Float[np.ndarray, " token"]
    phrases: Float[np.ndarray, "phrase channel token"]
    phrase_masks: Float[np.ndarray, "phrase token"]


Texts = Mapping[str, Text] | None  # by type; None: of a network that reads none
UNREAD = Text(
    average=np.zeros((1, 1), np.float32),
    average_mask=np.zeros(1, np.float32),
    phrases=np.zeros((1, 1, 1), np.float32),
    phrase_masks=np.zeros((1, 1), np.float32),
)


def read_texts(path: Path | None, category: str) -> Texts:
    """The encoded words of every type of a category, from the artifact of `encode_prompts`; None
    without one.
    """
    if path is None:
        return None
    with open_arrays(path) as file:
        if category not in file:
            raise InputError(
                f"{path}: no prompts for category {category!r}; add it to the prompt bank"
            )
        return {name: _text(file[f"{category}/{name}"]) for name in file[category]}


def text_of(texts: Texts, defect_type: str) -> Text:
    """The words of a type; InputError that lists the known ones when there are none."""
    if texts is None:
        return UNREAD
    if defect_type not in texts:
        raise InputError(
            f"no prompts for defect type {defect_type!r}; known: {', '.join(sorted(texts))}"
        )
    return texts[defect_type]


def defect_types(texts: Texts, kept: Sequence[str]) -> list[str]:
    """The real defect types in the order of `kept`: what Eq. 7 takes the maximum over. Where no
    words are read, all types are one.
    """
    if texts is None:
        return [UNTOLD]
    return [
        name
        for name in dict.fromkeys(kept)
        if name not in (NORMAL_TYPE, "") and text_of(texts, name)
    ]


def _text(group: ArrayFile) -> Text:
    names = ("average", "average_mask", "phrases", "phrase_masks")
    return Text(*(np.asarray(group[name][:], np.float32) for name in names))


def draw_text(
    text: Text, generator: np.random.Generator
) -> tuple[Float[np.ndarray, "channel token"], Float[np.ndarray, " token"]]:
    """The average of a type's phrases half of the time, else one phrase (Sec. 3.3)."""
    if generator.random() < AVERAGE_SHARE:
        return text.average, text.average_mask
    index = int(generator.integers(len(text.phrases)))
    return text.phrases[index], text.phrase_masks[index]
