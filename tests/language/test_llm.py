"""The LLM client against a real HTTP server on the loopback interface."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from adclick.language.llm import (
    FORMS,
    MAX_WORDS,
    Answer,
    Endpoint,
    answered_phrases,
    ask,
    clean_phrases,
    instruction,
    parse_phrases,
)
from adclick.run.errors import InputError
from tests.language.server import Llm, serving


def test_the_instruction_names_number_defect_object_and_json() -> None:
    text = instruction("broken_large", "metal_nut", 100)
    for part in ("100 short English phrases", '"broken large"', '"metal nut"', "JSON"):
        assert part in text
    assert instruction("good", "nut", 5) != instruction("contamination", "nut", 5)
    assert "without any defect" in instruction("good", "nut", 5)
    assert "foreign matter" in instruction("contamination", "nut", 5)
    assert '"good"' not in instruction("good", "nut", 5)


@pytest.mark.parametrize(
    "text",
    [
        '["a b", "c d"]',
        '{"phrases": ["a b", "c d"]}',
        '{"object": "washer", "phrases": ["a b", "c d"]}',
        '{"first": ["a b"], "second": ["c d"]}',
        '{"1": "a b", "2": "c d"}',
        '{"phrases": [{"text": "a b"}, {"text": "c d"}]}',
        'Here you are [as asked]: [1]\n```json\n["a b",\n "c d"]\n```\nDone.',
    ],
)
def test_phrases_are_found_in_any_json_shape(text: str) -> None:
    assert parse_phrases(text) == ("a b", "c d")


def test_phrases_are_found_in_numbered_and_bulleted_lines() -> None:
    text = "Sure!\n1. A b.\n 2) c d\n[3] e\n- f g\n• h\n\nRegards"
    assert clean_phrases(parse_phrases(text)) == ("a b", "c d", "e", "f g", "h")


@pytest.mark.parametrize("text", ["I am sorry, no.", '{"phrases": ["a b", "c', "[1, 2]", "{}"])
def test_an_answer_without_a_list_is_an_input_error(text: str) -> None:
    with pytest.raises(InputError, match="neither JSON nor a list"):
        parse_phrases(text)


def test_cleaning_lowers_strips_and_keeps_the_first_of_equal_phrases() -> None:
    raw = [
        "1. Small Hole.",
        "small  hole",
        '"Deep scratch!"',
        "- **bent rim**",
        "",
        "...",
        "7.",
        "2) 3.5 mm dent",
    ]
    assert clean_phrases(raw) == ("small hole", "deep scratch", "bent rim", "3.5 mm dent")


def test_cleaning_leaves_inner_punctuation_and_leading_quantities() -> None:
    kept = ("3 mm scratch on the bottle's rim", "hair-thin, curved crack", "10:1 ratio")
    assert clean_phrases(kept) == kept


def test_cleaning_drops_phrases_of_too_many_words() -> None:
    assert clean_phrases(["a b c", "a b"], max_words=2) == ("a b",)
    longest = " ".join("w" * n for n in range(1, MAX_WORDS + 1))
    assert clean_phrases([longest, longest + " x"]) == (longest,)


def test_cleaning_twice_changes_nothing() -> None:
    raw = ["1. 2. A", "- - b", "'*c*'", "1) - 'D e.'", "* 7. ", "4. 'x'. 5) y"]
    once = clean_phrases(raw)
    assert clean_phrases(once) == once


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Llm]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("SOME_KEY", "sk-secret")
    with serving() as server:
        yield server


def endpoint(llm: Llm, **changes: Any) -> Endpoint:
    settings = {
        "model": "some-model",
        "key_variable": "SOME_KEY",
        "base_url": llm.url,
        "temperature": 0.5,
        "max_retries": 1,
    }
    return Endpoint(**(settings | changes))


def refusal(llm: Llm, **changes: Any) -> str:
    """The one line of the error, which never holds the key."""
    with pytest.raises(InputError) as caught:
        ask(endpoint(llm, **changes), "why?", seed=7)
    line = str(caught.value)
    assert "\n" not in line
    assert "sk-secret" not in line
    return line


def test_a_request_says_what_is_asked_and_demands_a_schema(llm: Llm) -> None:
    llm.says('{"phrases": ["a"]}', prompt_tokens=12, completion_tokens=30, cost=0.5)
    answer = ask(endpoint(llm), "why?", seed=7)
    assert answer == Answer(
        text='{"phrases": ["a"]}',
        finish_reason="stop",
        usage={"prompt_tokens": 12.0, "completion_tokens": 30.0, "cost": 0.5},
        form=0,
    )
    [(path, authorization, body)] = llm.requests
    assert path == "/v1/chat/completions"
    assert authorization == "Bearer sk-secret"
    assert (body["model"], body["temperature"], body["seed"]) == ("some-model", 0.5, 7)
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["phrases"]
    assert body["messages"] == [{"role": "user", "content": "why?"}]


@pytest.mark.parametrize("refusals", [1, 2])
@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_refuses_a_form_is_asked_for_a_weaker_one(
    llm: Llm, status: int, refusals: int
) -> None:
    for _ in range(refusals):
        llm.answers_with(status, '{"error": {"message": "response_format"}}')
    llm.says("1. a\n2. b")
    answer = ask(endpoint(llm), "why?", seed=7)
    assert answer.form == refusals
    assert [body.get("response_format") for *_, body in llm.requests] == list(FORMS[: refusals + 1])
    llm.requests.clear()
    ask(endpoint(llm), "why?", seed=7, form=answer.form)
    assert len(llm.requests) == 1


def test_settings_that_a_model_refuses_can_be_left_out(llm: Llm) -> None:
    llm.says("1. a\n2. b")
    ask(endpoint(llm, temperature=None), "why?", seed=None, form=2)
    assert set(llm.requests[0][2]) == {"model", "messages"}


def test_a_temperature_of_zero_is_sent(llm: Llm) -> None:
    llm.says("[]")
    ask(endpoint(llm, temperature=0.0), "why?", seed=0)
    assert (llm.requests[0][2]["temperature"], llm.requests[0][2]["seed"]) == (0.0, 0)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(llm: Llm, status: int) -> None:
    llm.answers_with(status, '{"error": {"message": "slow down"}}')
    llm.says('["a", "b"]')
    assert ask(endpoint(llm), "why?", seed=7).text == '["a", "b"]'
    assert len(llm.requests) == 2


@pytest.mark.parametrize(
    ("status", "says", "requests"),
    [
        (401, "the key in SOME_KEY was refused (401)", 1),
        (403, "may not do this (403)", 1),
        (404, "no model 'some-model'", 1),
        (400, "refused the request (400", 3),
        (429, "too many requests (429) after 1 retries", 2),
        (500, "still failing (500) after 1 retries", 2),
    ],
)
def test_each_refusal_says_what_to_do(llm: Llm, status: int, says: str, requests: int) -> None:
    llm.answers_with(status, '{"error": {"message": "no\\nnot at all"}}')
    line = refusal(llm)
    assert says in line
    assert llm.url in line
    assert len(llm.requests) == requests


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<html>hello</html>", "text/html"),
        ('{"choices": ', "application/json"),
        ("{}", "application/json"),
        ("[]", "application/json"),
        ('{"choices": [{"message": null}]}', "application/json"),
    ],
)
def test_a_server_that_speaks_something_else_is_named(llm: Llm, body: str, kind: str) -> None:
    llm.answers_with(200, body, kind)
    assert "not a chat completion: check the base URL" in refusal(llm)


def test_phrases_of_an_answer_are_clean() -> None:
    text = '{"phrases": ["1. Bent rim.", "bent rim", "Rim folded inward"]}'
    assert answered_phrases(Answer(text, "stop", {}, 0)) == ("bent rim", "rim folded inward")


@pytest.mark.parametrize(
    "thoughts",
    [
        '<think>["not this"], rather {"phrases": ["nor this"]}</think>\n',
        "The user wants:\n1. not this\n</think>",
        "<Thinking>\n1. not this\n</Thinking> <reasoning>- nor this</reasoning>",
    ],
)
@pytest.mark.parametrize("said", ['{"phrases": ["bent rim"]}', "1. Bent rim."])
def test_what_a_model_thinks_aloud_is_no_phrase(thoughts: str, said: str) -> None:
    assert answered_phrases(Answer(thoughts + said, "stop", {}, 0)) == ("bent rim",)


@pytest.mark.parametrize(
    ("text", "reason", "says"),
    [
        ("I would rather\nnot.", "stop", "neither JSON nor a list ('I would rather not.')"),
        ('{"phrases": ["a", "b", "c', "length", "cut off"),
        ("", "stop", "empty or a refusal"),
        ("<think>\n1. bent rim", "stop", "empty or a refusal"),
    ],
)
def test_an_answer_without_phrases_says_why(text: str, reason: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        answered_phrases(Answer(text, reason, {}, 0))
    assert says in str(caught.value)


def test_without_a_key_nothing_is_asked(llm: Llm, monkeypatch: pytest.MonkeyPatch) -> None:
    llm.says('["a", "b"]')
    monkeypatch.setenv("SOME_KEY", " ")
    assert "SOME_KEY is not set" in refusal(llm)
    monkeypatch.delenv("SOME_KEY")
    assert "SOME_KEY is not set" in refusal(llm)
    monkeypatch.setenv("SOME_KEY", "clé")
    assert "SOME_KEY holds something that is not a key" in refusal(llm)
    assert llm.requests == []


def test_a_silent_server_and_an_absent_one_are_told_apart(llm: Llm) -> None:
    llm.says('["a", "b"]')
    llm.awake.clear()
    assert "no answer within 0.05 s (1 tries)" in refusal(llm, timeout_s=0.05, max_retries=0)
    llm.awake.set()
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        port = closed.server_port
    url = f"http://127.0.0.1:{port}/v1"
    assert "could not be reached" in refusal(llm, base_url=url, max_retries=0)
    assert "could not be reached" in refusal(llm, base_url="localhost", max_retries=0)
