"""Proposed phrases: what is suspicious about each, and the file in which a person strikes some.

A proposals file is YAML, `{category: {object, model, types: {type: [...]}}}`; each phrase says
which answer it came from and, where there is something, what is suspicious about it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Float64
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from adclick.language.bank import plain
from adclick.language.llm import MAX_WORDS, spaced
from adclick.run.artifacts import write_text
from adclick.run.errors import InputError
from adclick.run.settings.section import validation_line
from adclick.run.yaml_files import read_yaml

NEAR_DUPLICATE = 0.75  # shared words of two phrases, as a part of all their words
ARTICLES = {"a", "an", "the"}
CLEARLY = 2.0  # how much more alike another type must be
FILLER = {"ai", "answer", "certainly", "description", "example", "json", "phrase", "sorry"}
HEADER = (
    "# Phrases that a language model proposed. Delete a line, or give it `strike: true`, or reword"
    " it; then:\n# adclick prompts curate THIS_FILE --bank BANK --accept\n"
)


class Proposal(BaseModel):
    """One phrase, the answer that it came from, what is suspicious, and whether it was struck."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    phrase: str = Field(pattern=r"\S")
    answer: str | None = None
    suspicious: str | None = None
    strike: bool = False


class CategoryProposals(BaseModel):
    """The phrases proposed for each type, what the object was called, and the model asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    object: str
    model: str
    types: dict[str, list[Proposal]]


Proposals = dict[str, CategoryProposals]


def mark(proposed: CategoryProposals, known: Mapping[str, Sequence[str]]) -> CategoryProposals:
    """The proposals that nobody struck and a bank's category lacks, and what is suspicious now."""
    types: dict[str, list[Proposal]] = {}
    for kind, listed in proposed.types.items():
        have = {plain(phrase) for phrase in known.get(kind, ())}
        types[kind] = [one for one in listed if not one.strike and plain(one.phrase) not in have]
    phrases = {kind: [one.phrase for one in listed] for kind, listed in types.items()}
    reasons = suspicions(phrases, known, object_name=proposed.object)
    marked = {
        kind: [
            one.model_copy(update={"suspicious": reason or None})
            for one, reason in zip(listed, reasons[kind], strict=True)
        ]
        for kind, listed in types.items()
    }
    return proposed.model_copy(update={"types": marked})


def suspicions(
    proposals: Mapping[str, Sequence[str]],
    bank: Mapping[str, Sequence[str]],
    *,
    object_name: str,
) -> dict[str, list[str]]:
    """What is suspicious about each proposed phrase of one category, empty where nothing is.

    `proposals` and `bank` map types to phrases. A phrase is suspicious where it does not name the
    object, says something about the answer instead of the object, may be too long for the encoder,
    nearly repeats another phrase of the category, or has the words of another type.
    """
    kinds = dict.fromkeys([*bank, *proposals])
    everything = {kind: [*bank.get(kind, ()), *proposals.get(kind, ())] for kind in kinds}
    types = other_types(everything)
    earlier = [(kind, phrase, _content(phrase)) for kind, known in bank.items() for phrase in known]
    found: dict[str, list[str]] = {}
    for kind, phrases in proposals.items():
        guesses = types[kind][len(bank.get(kind, ())) :]
        found[kind] = []
        for phrase, guess in zip(phrases, guesses, strict=True):
            reasons = [
                *faults(phrase, object_name),
                *_repetitions(phrase, kind, earlier),
                *([f"reads like {guess}"] if guess else []),
            ]
            found[kind].append("; ".join(reasons))
            earlier.append((kind, phrase, _content(phrase)))
    return found


def faults(phrase: str, object_name: str) -> Iterator[str]:
    """What is wrong with a phrase whatever the others are."""
    words = word_set(phrase)
    if not words & named_by(object_name):
        yield f"does not name the {spaced(object_name)}"
    if filler := sorted(words & FILLER):
        yield f"filler ({', '.join(filler)})"
    if len(phrase.split()) > MAX_WORDS:
        yield f"longer than {MAX_WORDS} words"


def word_set(phrase: str) -> set[str]:
    """The words of a phrase, in lower case."""
    return set(re.findall(r"[^\W\d_]+", phrase.lower()))


def named_by(object_name: str) -> set[str]:
    """The words that name an object: its name's last word, in the singular and the plural."""
    words = re.findall(r"[^\W\d_]+", spaced(object_name).lower())
    last = words[-1] if words else object_name.lower()
    return {last, f"{last}s", f"{last}es", last.removesuffix("s")}


def _content(phrase: str) -> set[str]:
    return word_set(phrase) - ARTICLES


def _repetitions(
    phrase: str, kind: str, earlier: Sequence[tuple[str, str, set[str]]]
) -> Iterator[str]:
    words = _content(phrase)
    for other_kind, other, others in earlier:
        if len(words & others) >= NEAR_DUPLICATE * len(words | others):
            where = "" if other_kind == kind else f" of {other_kind}"
            yield f"nearly repeats {other!r}{where}"
            return


def other_types(phrases: Mapping[str, Sequence[str]]) -> dict[str, list[str | None]]:
    """For each phrase of each type, the other type that it is clearly more alike; None mostly."""
    listed = list(phrases)
    likeness = type_likeness(phrases)
    found: dict[str, list[str | None]] = {}
    start = 0
    for index, kind in enumerate(listed):
        rows = likeness[start : start + len(phrases[kind])]
        start += len(rows)
        found[kind] = [
            listed[best] if row[best] > CLEARLY * row[index] else None
            for row, best in zip(rows, rows.argmax(axis=1), strict=True)
        ]
    return found


def type_likeness(phrases: Mapping[str, Sequence[str]]) -> Float64[np.ndarray, "phrase type"]:
    """How alike each phrase (all types' in turn) and the *other* phrases of each type are, 0 to 1.

    The cosine of a phrase's bag of words and the mean bag of the type, without the phrase itself in
    its own type. A word weighs log((1 + phrases) / (1 + phrases that contain it)), so nothing where
    all do.
    """
    bags = [word_set(phrase) for listed in phrases.values() for phrase in listed]
    kinds = np.repeat(np.arange(len(phrases)), [len(listed) for listed in phrases.values()])
    vocabulary = {word: column for column, word in enumerate(sorted(set().union(*bags)))}
    counts = np.zeros((len(bags), len(vocabulary)))
    for row, bag in enumerate(bags):
        counts[row, [vocabulary[word] for word in bag]] = 1
    weighted = counts * np.log((1 + len(bags)) / (1 + counts.sum(axis=0)))
    likeness = np.zeros((len(bags), len(phrases)))
    for kind in range(len(phrases)):
        own = (kinds == kind)[:, None]
        others = weighted[kinds == kind].sum(axis=0) - own * weighted
        lengths = np.linalg.norm(others, axis=1) * np.linalg.norm(weighted, axis=1)
        likeness[:, kind] = (weighted * others).sum(axis=1) / np.maximum(lengths, 1e-12)
    return likeness


def write_proposals(path: Path, proposals: Proposals) -> None:
    """Write a proposals file whole or not at all."""
    content = {
        category: one.model_dump(exclude_defaults=True) for category, one in proposals.items()
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
    write_text(path, HEADER + text)


def read_proposals(path: Path) -> Proposals:
    """A proposals file, as written or as a person edited it; InputError names what is wrong."""
    content: Any = read_yaml(path, "proposals")
    try:
        return TypeAdapter(Proposals).validate_python(content)
    except ValidationError as error:
        raise InputError(validation_line(f"proposals {path}", error)) from None
