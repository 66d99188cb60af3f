"""Asking a language model for phrases about one defect type, over OpenAI's chat completions."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from adclick.run.errors import InputError
from adclick.run.yaml_files import one_line

MAX_WORDS = 12  # not stated; keeps nearly every phrase within the 20 tokens that the encoder reads
NOT_A_CHAT_SERVER = (
    "the answer is not a chat completion: check the base URL (mostly it ends in /v1)"
)
LIST_MARK = re.compile(r"^\s*(?:[-*•–]\s+|[(\[]?\d{1,3}[.):\]]\s+)")
THOUGHTS_START = re.compile(r"<(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
THOUGHTS_END = re.compile(r"</(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
JSON_START = re.compile(r"[\[{]")
EDGE_CHARACTERS = " \t.,;:!?\"'`*_“”‘’«»"
PHRASES_SCHEMA = {
    "type": "object",
    "properties": {"phrases": {"type": "array", "items": {"type": "string"}}},
    "required": ["phrases"],
    "additionalProperties": False,
}
CUT_OFF = "length"
COUNTED = ("prompt_tokens", "completion_tokens", "cost")  # some servers state a cost
# How the answer's form is demanded, the strictest first; servers refuse what they do not know.
FORMS: tuple[dict[str, Any] | None, ...] = (
    {
        "type": "json_schema",
        "json_schema": {"name": "phrases", "strict": True, "schema": PHRASES_SCHEMA},
    },
    {"type": "json_object"},
    None,
)


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server, and how it is asked.

    `base_url` None means OpenAI's own. The key is the value of the environment variable
    `key_variable`; a local server takes any. `temperature` and `seed` are left out of requests
    where None, for models that refuse them. A seed makes an answer likelier to come back equal, no
    more: what is kept is the answer.
    """

    model: str
    key_variable: str
    base_url: str | None = None
    temperature: float | None = None
    seed: int | None = None
    timeout_s: float = 180.0
    max_retries: int = 3


@dataclass(frozen=True)
class Answer:
    """What a model said: its text, why it stopped, what it counted, and the form (index in `FORMS`)
    that the server took.
    """

    text: str
    finish_reason: str
    usage: dict[str, float]
    form: int


def instruction(defect_type: str, object_name: str, count: int, max_words: int = MAX_WORDS) -> str:
    """What the LLM is asked: `count` phrases about one defect type on one object, as JSON (Eq. 5).

    The type `good` asks for flawless examples, `contamination` for foreign matter on the object.
    Underscores in names become spaces. More are asked for than are needed (n > U), since some are
    thrown away.
    """
    name, product = spaced(defect_type), spaced(object_name)
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


def spaced(name: str) -> str:
    """A folder's name as words: underscores become spaces."""
    return " ".join(name.replace("_", " ").split())


def ask(endpoint: Endpoint, question: str, *, seed: int | None, form: int = 0) -> Answer:
    """The answer to one question, its form demanded as strictly as the server allows.

    `form` is where to begin in `FORMS`: what another answer of the same server says it took. Too
    many requests (429), server errors and lost connections are tried again by the client. What then
    fails is an `InputError` that says what to do.
    """
    import openai

    client = openai.OpenAI(
        api_key=_key(endpoint.key_variable),
        base_url=endpoint.base_url,
        max_retries=endpoint.max_retries,
        timeout=endpoint.timeout_s,
    )
    where = f"LLM at {client.base_url}"
    try:
        with client:
            return _negotiate(client, endpoint, question, seed, form)
    except openai.OpenAIError as error:
        raise InputError(f"{where}: {_failure(error, endpoint)}") from error
    except ValueError as error:  # not JSON, or JSON that is something else
        raise InputError(f"{where}: {NOT_A_CHAT_SERVER}") from error


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii():
        state = "is not set" if not key else "holds something that is not a key"
        raise InputError(
            f"the environment variable {variable} {state}: export the server's key there"
            " (any word will do for most local servers), or write the phrases by hand"
        )
    return key


def _negotiate(
    client: Any, endpoint: Endpoint, question: str, seed: int | None, start: int
) -> Answer:
    """Ask with ever weaker demands on the form, until the server takes one."""
    import openai

    for form in range(start, len(FORMS) - 1):
        try:
            return _request(client, endpoint, question, seed, form)
        except (openai.BadRequestError, openai.UnprocessableEntityError):
            continue
    return _request(client, endpoint, question, seed, len(FORMS) - 1)


def _request(client: Any, endpoint: Endpoint, question: str, seed: int | None, form: int) -> Answer:
    wanted = {
        "temperature": endpoint.temperature,
        "seed": seed,
        "response_format": FORMS[form],
    }
    reply = client.chat.completions.create(
        model=endpoint.model,
        messages=[{"role": "user", "content": question}],
        **{name: value for name, value in wanted.items() if value is not None},
    )
    choices = getattr(reply, "choices", None)
    if not choices or choices[0].message is None:
        raise ValueError("no choices")
    counted = getattr(reply.usage, "model_dump", dict)()
    return Answer(
        text=choices[0].message.content or "",
        finish_reason=str(choices[0].finish_reason),
        usage={name: float(counted[name]) for name in COUNTED if _is_number(counted.get(name))},
        form=form,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _failure(error: Exception, endpoint: Endpoint) -> str:
    """What went wrong with a request, and what to do about it."""
    import openai

    retries = endpoint.max_retries
    if isinstance(error, openai.APITimeoutError):
        waited = f"{endpoint.timeout_s:g} s ({retries + 1} tries)"
        return f"no answer within {waited}: try later or another model"
    if isinstance(error, openai.APIConnectionError):
        cause = one_line(str(error.__cause__ or error))
        return f"could not be reached ({cause}): check the base URL and the network"
    if not isinstance(error, openai.APIStatusError):
        return one_line(str(error))
    code, key, model = error.status_code, endpoint.key_variable, endpoint.model
    remedies = {
        401: f"the key in {key} was refused (401): check it",
        403: f"the key in {key} may not do this (403): check its rights",
        404: f"no model '{model}', or no chat completions, there (404): check model and base URL",
        429: f"still too many requests (429) after {retries} retries: wait, or check the quota",
    }
    if code in remedies:
        return remedies[code]
    if code >= 500:
        return f"still failing ({code}) after {retries} retries: try later"
    return f"refused the request ({code}: {one_line(error.message)}): check the model's settings"


def answered_phrases(answer: Answer) -> tuple[str, ...]:
    """The clean phrases in an answer; an `InputError` says why there are none."""
    if answer.finish_reason == CUT_OFF:
        raise InputError("the answer was cut off: ask for fewer phrases")
    if not without_thoughts(answer.text).strip():
        raise InputError("the answer is empty or a refusal: try another model")
    return clean_phrases(parse_phrases(without_thoughts(answer.text)))


def without_thoughts(text: str) -> str:
    """What a model that thinks aloud says in the end: what follows its last `</think>`.

    Some servers cut the first tag off. What was never ended is no answer: empty text.
    """
    said = THOUGHTS_END.split(text)[-1]
    return THOUGHTS_START.split(said)[0]


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
        start = one_line(text, 60)
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
