"""Phrases that describe what a defect looks like: the prompt bank, and an LLM that proposes them.

A prompt bank is a YAML file `{category: {type: [phrase, ...]}}`. The types of a category are its
defect types, `good` for normal images and `contamination` for every simulated defect.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from adclick.errors import InputError

Bank = dict[str, dict[str, tuple[str, ...]]]

MAX_WORDS = 12  # not stated; keeps nearly every phrase within the 20 tokens that the encoder reads
PROBLEMS_SHOWN = 5
NOT_A_CHAT_SERVER = (
    "the answer is not a chat completion: check the base URL (mostly it ends in /v1)"
)
LIST_MARK = re.compile(r"^\s*(?:[-*•–]\s+|[(\[]?\d{1,3}[.):\]]\s+)")
JSON_START = re.compile(r"[\[{]")
EDGE_CHARACTERS = " \t.,;:!?\"'`*_“”‘’«»"


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key that is there twice is an error: its first value would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = sorted((key.value for key, _ in node.value), key=str)
        for key, following in pairwise(names):
            if key == following:
                problem = f"the key '{key}' is there twice"
                raise yaml.constructor.ConstructorError(
                    problem=problem, problem_mark=node.start_mark
                )
        return super().construct_mapping(node, deep)


def read_bank(path: Path) -> Bank:
    """The phrases of every category and type, in the order of the file.

    An `InputError` names what is wrong: no such file, not YAML, a key that is there twice, another
    structure than category -> type -> phrases, a type without phrases, an entry that is not text,
    or a phrase that occurs twice in a type (letter case and spaces aside).
    """
    content = _read_yaml(path)
    problems = list(_bank_problems(content))
    if problems:
        if len(problems) > PROBLEMS_SHOWN:
            problems[PROBLEMS_SHOWN:] = [f"and {len(problems) - PROBLEMS_SHOWN} more"]
        raise InputError(f"prompt bank {path}: {'; '.join(problems)}")
    return {
        category: {kind: tuple(phrases) for kind, phrases in types.items()}
        for category, types in content.items()
    }


def _read_yaml(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"prompt bank {path} cannot be read ({reason}): check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"prompt bank {path} is not UTF-8 text: save it as UTF-8") from error
    try:
        return yaml.load(text, Loader=_StrictLoader)  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = _one_line(getattr(error, "problem", None) or str(error))
        raise InputError(f"prompt bank {path}{where}: not valid YAML: {problem}") from error


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
        elif (first := seen.setdefault(" ".join(phrase.lower().split()), number)) != number:
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
    remedy = "add them to the bank's YAML file, or set prompts.source to llm"
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


def instruction(defect_type: str, object_name: str, count: int, max_words: int = MAX_WORDS) -> str:
    """What the LLM is asked: `count` phrases about one defect type on one object, as JSON (Eq. 5).

    The type `good` asks for flawless examples, `contamination` for foreign matter on the object.
    Underscores in names become spaces. More are asked for than are needed (n > U), since some are
    thrown away.
    """
    name, product = _spaced(defect_type), _spaced(object_name)
    subject = {
        "good": f'a flawless example, without any defect, of the industrial product "{product}"',
        "contamination": f'foreign matter that soils the industrial product "{product}"',
    }.get(defect_type, f'the defect "{name}" as it looks on the industrial product "{product}"')
    return (
        f"Write {count} short English phrases. Each one describes {subject}."
        f' Each is in lower case, has at most {max_words} words, contains the word "{product}", is'
        " worded unlike the others, and has neither a number in front nor a full stop at the end."
        f' Answer with JSON only: {{"phrases": ["...", "..."]}} with exactly {count} strings.'
    )


def _spaced(name: str) -> str:
    return " ".join(name.replace("_", " ").split())


def generate_phrases(
    *,
    defect_type: str,
    object_name: str,
    count: int,
    needed: int,
    model: str,
    key_variable: str,
    temperature: float | None,
    seed: int | None,
    base_url: str | None = None,
    json_mode: bool = True,
    timeout_s: float = 60.0,
    max_retries: int = 3,
    max_words: int = MAX_WORDS,
) -> tuple[str, ...]:
    """Phrases that an LLM proposes for one defect type, cleaned; a person should still read them.

    `count` phrases (the paper's n) are asked for, and at least `needed` (U) must survive cleaning.
    Any server that speaks OpenAI's chat completions will do: `base_url` None means OpenAI's own.
    The key is the value of the environment variable `key_variable`; a local server takes any.
    `temperature` and `seed` are left out of the request where None, and `json_mode` False leaves
    out the request for JSON, for servers that refuse them. A seed makes an answer likelier to come
    back equal, no more: what is kept is the bank.

    Too many requests (429), server errors and lost connections are tried again `max_retries` times
    by the client. What then fails is an `InputError` that says what to do.
    """
    text = _ask(
        instruction(defect_type, object_name, count, max_words),
        key=_key(key_variable),
        key_variable=key_variable,
        base_url=base_url,
        model=model,
        temperature=temperature,
        seed=seed,
        json_mode=json_mode,
        timeout_s=timeout_s,
        max_retries=max_retries,
    )
    phrases = clean_phrases(parse_phrases(text), max_words)
    if len(phrases) < needed:
        raise InputError(
            f"model '{model}' gave {len(phrases)} usable phrase(s) of at most {max_words} words for"
            f" '{defect_type}' on '{object_name}', {needed} are needed: ask for more than {count},"
            " or add some by hand"
        )
    return phrases


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii():
        state = "is not set" if not key else "holds something that is not a key"
        raise InputError(
            f"the environment variable {variable} {state}: export the server's key there"
            " (any word will do for most local servers), or write the phrases by hand"
        )
    return key


def _ask(
    question: str,
    *,
    key: str,
    key_variable: str,
    base_url: str | None,
    model: str,
    temperature: float | None,
    seed: int | None,
    json_mode: bool,
    timeout_s: float,
    max_retries: int,
) -> str:
    """The text that a chat completions server answers."""
    import openai

    client = openai.OpenAI(
        api_key=key, base_url=base_url, max_retries=max_retries, timeout=timeout_s
    )
    try:
        with client:
            answer = client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": question}],
                temperature=openai.omit if temperature is None else temperature,
                seed=openai.omit if seed is None else seed,
                response_format={"type": "json_object"} if json_mode else openai.omit,
            )
    except openai.OpenAIError as error:
        reason = _failure(error, model, key_variable, timeout_s, max_retries)
        raise InputError(f"LLM at {client.base_url}: {reason}") from error
    except json.JSONDecodeError as error:
        raise InputError(f"LLM at {client.base_url}: {NOT_A_CHAT_SERVER}") from error
    return _message_text(answer, str(client.base_url))


def _failure(
    error: Exception, model: str, key_variable: str, timeout_s: float, max_retries: int
) -> str:
    """What went wrong with a request, and what to do about it."""
    import openai

    if isinstance(error, openai.APITimeoutError):
        tries = max_retries + 1
        return f"no answer within {timeout_s:g} s ({tries} tries): try later or another model"
    if isinstance(error, openai.APIConnectionError):
        cause = _one_line(str(error.__cause__ or error))
        return f"could not be reached ({cause}): check the base URL and the network"
    if not isinstance(error, openai.APIStatusError):
        return _one_line(str(error))
    code = error.status_code
    remedies = {
        401: f"the key in {key_variable} was refused (401): check it",
        403: f"the key in {key_variable} may not do this (403): check its rights",
        404: f"no model '{model}', or no chat completions, there (404): check model and base URL",
        429: f"still too many requests (429) after {max_retries} retries: wait, or check the quota",
    }
    if code in remedies:
        return remedies[code]
    if code >= 500:
        return f"still failing ({code}) after {max_retries} retries: try later"
    return f"refused the request ({code}: {_one_line(error.message)}): check the model's settings"


def _message_text(answer: Any, url: str) -> str:
    """The text of the first choice of a chat completion, whole."""
    choices = getattr(answer, "choices", None)
    if not choices or choices[0].message is None:
        raise InputError(f"LLM at {url}: {NOT_A_CHAT_SERVER}")
    if choices[0].finish_reason == "length":
        raise InputError(f"LLM at {url}: the answer was cut off: ask for fewer phrases")
    text = choices[0].message.content
    if not text:
        raise InputError(f"LLM at {url}: the answer is empty or a refusal: try another model")
    return text


def parse_phrases(text: str) -> tuple[str, ...]:
    """The raw phrases in an LLM's answer.

    Read as a JSON list, or as a JSON object that holds one (with words or a code fence around it),
    else as lines that start with a number or a bullet. An answer with neither is an `InputError`.
    """
    for value in _json_values(text):
        phrases = tuple(_strings(value))
        if phrases:
            return phrases
    lines = tuple(line for line in text.splitlines() if LIST_MARK.match(line))
    if not lines:
        start = _one_line(text, 60)
        raise InputError(
            f"the LLM's answer is neither JSON nor a list ({start!r}): try another model"
        )
    return lines


def _json_values(text: str) -> Iterator[Any]:
    """Each outermost JSON list or object in a text."""
    decoder = json.JSONDecoder()
    position = 0
    while match := JSON_START.search(text, position):
        try:
            value, position = decoder.raw_decode(text, match.start())
        except (json.JSONDecodeError, RecursionError):
            position = match.end()
        else:
            yield value


def _strings(value: Any) -> Iterator[str]:
    """The texts in a JSON value; of an object that holds lists, only those in its lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)
    elif isinstance(value, dict):
        lists = [part for part in value.values() if isinstance(part, list)]
        for part in lists or value.values():
            yield from _strings(part)


def clean_phrases(phrases: Iterable[str], max_words: int = MAX_WORDS) -> tuple[str, ...]:
    """Phrases in lower case, without list marks and outer punctuation, each once, in their order.

    Those without a letter and those of more than `max_words` words are dropped. Cleaning twice
    changes nothing.
    """
    cleaned = (_clean(phrase) for phrase in phrases)
    kept = (
        phrase for phrase in cleaned if len(phrase.split()) <= max_words and _has_letter(phrase)
    )
    return tuple(dict.fromkeys(kept))


def _has_letter(phrase: str) -> bool:
    return any(character.isalpha() for character in phrase)


def _clean(phrase: str) -> str:
    phrase = " ".join(phrase.lower().split())
    while (shorter := LIST_MARK.sub("", phrase).strip(EDGE_CHARACTERS)) != phrase:
        phrase = shorter
    return phrase


def _one_line(text: str, limit: int = 200) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[:limit]}…"
