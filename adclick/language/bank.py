"""Phrases that describe what a defect looks like: the prompt bank.

A prompt bank is a YAML file `{category: {type: [phrase, ...]}}`. The types of a category are its
defect types, `good` for normal images and `contamination` for every simulated defect.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adclick.run.errors import InputError
from adclick.run.folders import fault_of_type
from adclick.run.yaml_files import read_yaml

Bank = dict[str, dict[str, tuple[str, ...]]]

PROBLEMS_SHOWN = 5


def read_bank(path: Path) -> Bank:
    """The phrases of every category and type, in the order of the file.

    An `InputError` names what is wrong: no such file, not YAML, a key that is there twice, another
    structure than category -> type -> phrases, a type without phrases, an entry that is not text,
    or a phrase that occurs twice in a type (letter case and spaces aside).
    """
    content = read_yaml(path, "prompt bank")
    problems = list(_bank_problems(content))
    if problems:
        if len(problems) > PROBLEMS_SHOWN:
            problems[PROBLEMS_SHOWN:] = [f"and {len(problems) - PROBLEMS_SHOWN} more"]
        raise InputError(f"prompt bank {path}: {'; '.join(problems)}")
    return {
        category: {kind: tuple(phrases) for kind, phrases in types.items()}
        for category, types in content.items()
    }


def _bank_problems(content: Any) -> Iterator[str]:
    """What is wrong with the structure of a bank, one sentence each."""
    if not isinstance(content, Mapping) or not content:
        yield "must be {category: {type: [phrase, ...]}}, with at least one category"
        return
    for category, types in content.items():
        if not isinstance(category, str):
            yield f"category {category!r} is not text: put it in quotes"
        elif not isinstance(types, Mapping) or not types:
            yield f"category '{category}' must be {{type: [phrase, ...]}}, with at least one type"
        else:
            for kind, phrases in types.items():
                yield from _type_problems(f"{category} / {kind}", kind, phrases)


def _type_problems(where: str, kind: Any, phrases: Any) -> Iterator[str]:
    """What is wrong with the phrases of one type."""
    if not isinstance(kind, str):
        yield f"{where}: the type {kind!r} is not text: put it in quotes"
    elif (fault := fault_of_type(kind)) is not None:
        yield f"{where}: {kind!r} is no name of a kind of defect: it {fault}"
    if not isinstance(phrases, list):
        yield f"{where} must be a list of phrases"
        return
    if not phrases:
        yield f"{where} has no phrases: add some or remove the type"
    seen: dict[str, int] = {}
    for number, phrase in enumerate(phrases, start=1):
        if not isinstance(phrase, str):
            yield f"{where}, phrase {number} is not text ({phrase!r}): put it in quotes"
        elif not phrase.strip():
            yield f"{where}, phrase {number} is blank: remove it"
        elif (first := seen.setdefault(plain(phrase), number)) != number:
            yield f"{where}, phrase {number} repeats phrase {first} ({phrase!r}): remove it"


def select_phrases(
    bank: Mapping[str, Mapping[str, Sequence[str]]], category: str, types: Iterable[str], count: int
) -> dict[str, tuple[str, ...]]:
    """The first `count` phrases of each wanted type of a category (the paper's U = 40, Sec. 3.5).

    An `InputError` lists every wanted type that is missing or has too few, and says how to add
    phrases.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    remedy = (
        "add them to the bank's YAML file (adclick prompts generate proposes some),"
        " or set prompts.source to llm"
    )
    if category not in bank:
        known = ", ".join(sorted(bank)) or "nothing"
        raise InputError(f"prompt bank: no category '{category}' (it has {known}): {remedy}")
    phrases = {kind: tuple(bank[category].get(kind, ())) for kind in types}
    missing = [kind for kind, found in phrases.items() if not found]
    short = [
        f"{kind} has {len(found)}" for kind, found in phrases.items() if 0 < len(found) < count
    ]
    if missing or short:
        faults = ([f"no phrases for {', '.join(missing)}"] if missing else []) + short
        needed = f"{count} phrases are needed for each type"
        raise InputError(
            f"prompt bank, category '{category}': {'; '.join(faults)} ({needed}): {remedy}"
        )
    return {kind: found[:count] for kind, found in phrases.items()}


def chosen_phrases(
    path: Path, categories: Iterable[str], types: Mapping[str, Sequence[str]], count: int | None
) -> dict[str, dict[str, tuple[str, ...]]]:
    """The phrases of every type in the bank of each category, `count` of each; all without a count.

    InputError for a category that is not in the bank, a type of `types` (category to types) that
    has no phrases, and a type that has too few.
    """
    bank = read_bank(path)
    chosen: dict[str, dict[str, tuple[str, ...]]] = {}
    for category in categories:
        if category not in bank:
            raise InputError(f"{path}: no category {category!r}; add it with its defect types")
        wanted = sorted({*bank[category], *types.get(category, ())})
        chosen[category] = select_phrases(bank, category, wanted, count or 1)
        if count is None:
            chosen[category] = {kind: bank[category][kind] for kind in wanted}
    return chosen


def plain(phrase: str) -> str:
    """A phrase as it is compared: letter case and spaces do not count."""
    return " ".join(phrase.lower().split())
