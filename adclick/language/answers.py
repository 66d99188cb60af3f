"""What a language model answered, kept by question, so that nothing is asked or paid for twice."""

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from adclick.language.curation import faults
from adclick.language.llm import (
    CUT_OFF,
    FORMS,
    Answer,
    Endpoint,
    answered_phrases,
    ask,
    instruction,
)
from adclick.run.errors import InputError
from adclick.run.provenance import canonical_json, digest
from adclick.run.settings.language import Prompts

TRIES = 2  # a second answer, of another seed, where the first one brought too few phrases
USAGE_FILE = "usage.jsonl"


@dataclass(frozen=True)
class Harvest:
    """What the questions about one defect type brought.

    `phrases` maps each phrase to the key of the answer that it came from; `usable` are those
    without a fault; `problems` says what was wrong with answers; `usage` counts what new answers
    cost, and `asked` how many those were.
    """

    phrases: dict[str, str]
    usable: tuple[str, ...]
    problems: tuple[str, ...]
    usage: dict[str, float]
    asked: int
    form: int


def cache_folder() -> Path:
    """Where answers are kept: `ADCLICK_CACHE`, else `adclick` in the user's cache folder."""
    named = os.environ.get("ADCLICK_CACHE")
    if named:
        return Path(named) / "answers"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "adclick" / "answers"


def collect_phrases(
    endpoint: Endpoint,
    *,
    defect_type: str,
    object_name: str,
    count: int,
    needed: int,
    folder: Path,
    form: int = 0,
) -> Harvest:
    """Phrases for one defect type: `count` (the paper's n) are asked for, `needed` (U) are wanted.

    Where the first answer brings fewer than `needed` usable ones, a second is asked for with the
    next seed; what there is comes back, also when it is too little. Answers lie in `folder`, a file
    each, from the moment they arrive: a rerun asks nothing, an interrupted one what is left.
    What a server refuses is an `InputError`.
    """
    question = instruction(defect_type, object_name, count)
    phrases: dict[str, str] = {}
    problems: list[str] = []
    fresh: list[Answer] = []
    for attempt in range(TRIES):
        asked = _question(endpoint, question, attempt)
        key = digest(asked)
        answer = _kept(folder, key, asked)
        if answer is None:
            _check_writable(folder)
            answer = ask(endpoint, question, seed=asked["seed"], form=form)
            fresh.append(answer)
            _keep(folder, key, asked, answer)
            _log(folder, key, endpoint.model, f"{object_name} / {defect_type}", answer)
        form = answer.form
        try:
            found = answered_phrases(answer)
        except InputError as error:
            problems.append(str(error))
            found = ()
        phrases |= {phrase: key for phrase in found if phrase not in phrases}
        too_long = answer.finish_reason == CUT_OFF  # another one would be, too
        if too_long or len(_usable(phrases, object_name)) >= needed:
            break
    return Harvest(
        phrases=phrases,
        usable=_usable(phrases, object_name),
        problems=tuple(problems),
        usage=total_usage(one.usage for one in fresh),
        asked=len(fresh),
        form=form,
    )


def _usable(phrases: Iterable[str], object_name: str) -> tuple[str, ...]:
    return tuple(phrase for phrase in phrases if not any(faults(phrase, object_name)))


def shortage(harvest: Harvest, *, needed: int, what: str) -> str:
    """One sentence for a type that got too few usable phrases."""
    said = "".join(f" ({problem})" for problem in harvest.problems[:1])
    return f"{what}: {len(harvest.usable)} usable phrases, {needed} are needed{said}"


def total_usage(usages: Iterable[dict[str, float]]) -> dict[str, float]:
    """Tokens and costs of several answers, summed."""
    total: Counter[str] = Counter()
    for usage in usages:
        total.update(usage)  # pyright: ignore[reportArgumentType]
    return dict(total)


def logged_usage(folder: Path) -> dict[str, float]:
    """Tokens and costs of all answers that were ever kept in a folder."""
    path = folder / USAGE_FILE
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return total_usage(usage for line in lines for usage in _logged(line))


def _logged(line: str) -> Iterator[dict[str, float]]:
    """The usage that a line of the log states; nothing for one that was cut off."""
    with suppress(ValueError, KeyError, TypeError):
        yield {name: float(count) for name, count in json.loads(line)["usage"].items()}


def _question(endpoint: Endpoint, text: str, attempt: int) -> dict[str, Any]:
    """Everything that determines an answer."""
    seed = None if endpoint.seed is None else endpoint.seed + attempt
    return {
        "base_url": endpoint.base_url,
        "model": endpoint.model,
        "temperature": endpoint.temperature,
        "seed": seed,
        "attempt": attempt,
        "text": text,
        "forms": digest(FORMS),
    }


def _kept(folder: Path, key: str, question: dict[str, Any]) -> Answer | None:
    """The answer under a key; None where there is none, or it is damaged or another question's."""
    try:
        kept = json.loads((folder / f"{key}.json").read_text(encoding="utf-8"))
        answer = Answer(**kept["answer"])
        whole = kept["digest"] == digest(kept["answer"]) and kept["question"] == question
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return answer if whole else None


def _check_writable(folder: Path) -> None:
    """InputError, before anything is asked, when answers could not be kept."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{folder}: answers cannot be kept there ({error.strerror});"
            " set ADCLICK_CACHE to a folder that can be written"
        ) from None


def _keep(folder: Path, key: str, question: dict[str, Any], answer: Answer) -> None:
    """Write an answer whole or not at all, also beside other processes that do the same."""
    folder.mkdir(parents=True, exist_ok=True)
    said = asdict(answer)
    text = json.dumps({"question": question, "answer": said, "digest": digest(said)}, indent=1)
    with tempfile.NamedTemporaryFile(
        "w", dir=folder, prefix=".part", delete=False, encoding="utf-8"
    ) as file:
        file.write(text)
    Path(file.name).replace(folder / f"{key}.json")


def _log(folder: Path, key: str, model: str, what: str, answer: Answer) -> None:
    """Add a line to the log of what was paid for."""
    line = canonical_json({"answer": key, "model": model, "for": what, "usage": answer.usage})
    with (folder / USAGE_FILE).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def ask_types(
    settings: Prompts,
    category: str,
    types: Iterable[str],
    *,
    called: str | None = None,
    timeout_s: float = 180.0,
) -> dict[str, Harvest]:
    """What the model says about types of a category, each told as soon as it is there.

    Answers come from the user's cache where they are kept, so a rerun asks nothing again.
    """
    endpoint = Endpoint(
        model=settings.model,
        key_variable=settings.key_variable,
        base_url=settings.base_url,
        temperature=settings.temperature,
        seed=settings.seed,
        timeout_s=timeout_s,
    )
    found: dict[str, Harvest] = {}
    form = 0
    for kind in types:
        harvest = collect_phrases(
            endpoint,
            defect_type=kind,
            object_name=called or category,
            count=settings.requested,
            needed=settings.phrases,
            folder=cache_folder(),
            form=form,
        )
        found[kind] = harvest
        form = harvest.form
        source = f"{harvest.asked} new answers" if harvest.asked else "kept answers"
        print(f"{category} / {kind}: {len(harvest.phrases)} phrases ({source})", flush=True)
    return found
