"""The prompt bank, and the LLM client against a real HTTP server on the loopback interface."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from adclick.errors import InputError
from adclick.language.prompts import (
    MAX_WORDS,
    clean_phrases,
    generate_phrases,
    instruction,
    parse_phrases,
    read_bank,
    select_phrases,
)

BANK = """
washer:
  scratch: [thin scratch on a washer, bright line across the washer]
  good: [clean washer]
  contamination: ["dust on the washer", 'oil on the washer']
cloth:
  hole: [small hole in cloth]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "bank.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_bank_keeps_categories_types_and_the_order_of_phrases(tmp_path: Path) -> None:
    bank = read_bank(write(tmp_path, BANK))
    assert bank == {
        "washer": {
            "scratch": ("thin scratch on a washer", "bright line across the washer"),
            "good": ("clean washer",),
            "contamination": ("dust on the washer", "oil on the washer"),
        },
        "cloth": {"hole": ("small hole in cloth",)},
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "category"),
        ("{}", "category"),
        ("- a\n- b\n", "category"),
        ("washer: [a]\n", "'washer' must be"),
        ("washer: {}\n", "'washer' must be"),
        ("washer: {hole: small hole}\n", "washer / hole must be a list"),
        ("washer: {hole: []}\n", "washer / hole has no phrases"),
        ("washer: {hole: [a, yes]}\n", "washer / hole, phrase 2 is not text (True)"),
        ("washer: {hole: [a, '  ']}\n", "washer / hole, phrase 2 is blank"),
        ("washer: {hole: [a hole, b, A  Hole]}\n", "washer / hole, phrase 3 repeats phrase 1"),
        ("washer: {no: [a]}\n", "type False is not text"),
        ("1: {hole: [a]}\n", "category 1 is not text"),
        ("washer:\n  hole: [a]\n  hole: [b]\n", "the key 'hole' is there twice"),
        ("washer: {hole: [a}\n", "line 1: not valid YAML"),
    ],
)
def test_a_malformed_bank_is_one_line_that_names_file_and_place(
    tmp_path: Path, text: str, says: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_bank(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_problems_of_a_bank_are_named_at_once_up_to_a_limit(tmp_path: Path) -> None:
    path = write(tmp_path, "a: {x: []}\nb: {y: [1]}\n")
    with pytest.raises(InputError, match=r"a / x has no phrases.*b / y, phrase 1"):
        read_bank(path)
    path = write(tmp_path, "a: {x: [1, 2, 3, 4, 5, 6, 7]}\n")
    with pytest.raises(InputError, match=r"phrase 5 .*; and 2 more$"):
        read_bank(path)


def test_the_same_phrase_may_serve_two_types(tmp_path: Path) -> None:
    assert read_bank(write(tmp_path, "a: {x: [spot], y: [spot]}\n"))["a"]["y"] == ("spot",)


def test_a_missing_or_undecodable_bank_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_bank(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes("a: {x: [trou brûlé]}".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        read_bank(tmp_path / "latin.yaml")


def test_selection_takes_the_first_phrases_of_just_the_wanted_types() -> None:
    bank = {"washer": {"scratch": ("a", "b", "c"), "hole": ("d", "e"), "good": ("f",)}}
    chosen = select_phrases(bank, "washer", ["hole", "scratch"], 2)
    assert chosen == {"hole": ("d", "e"), "scratch": ("a", "b")}


def test_selection_lists_every_missing_and_short_type_at_once() -> None:
    bank = {"washer": {"scratch": ("a", "b", "c"), "hole": ("d",)}}
    with pytest.raises(InputError) as caught:
        select_phrases(bank, "washer", ["scratch", "hole", "bent", "good"], 2)
    line = str(caught.value)
    assert "no phrases for bent, good; hole has 1 (2 phrases are needed" in line
    assert "prompts.source" in line
    assert "scratch has" not in line
    with pytest.raises(InputError, match=r"no category 'nut' \(it has washer\)"):
        select_phrases(bank, "nut", ["hole"], 1)
    with pytest.raises(ValueError, match="count"):
        select_phrases(bank, "washer", ["hole"], 0)


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


class Llm:
    """A chat completions server on the loopback interface that gives scripted answers in turn."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes, str]] = []
        self.requests: list[tuple[str, str | None, dict[str, Any]]] = []
        self.awake = threading.Event()
        self.awake.set()
        llm = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                body = json.loads(self.rfile.read(length))
                llm.requests.append((self.path, self.headers["authorization"], body))
                llm.awake.wait(60)
                status, answer, kind = (
                    llm.answers.pop(0) if len(llm.answers) > 1 else llm.answers[0]
                )
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(answer)))
                self.send_header("retry-after-ms", "1")
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *args: Any) -> None:
                pass  # a client that gave up waiting

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def says(self, text: str | None, finish_reason: str = "stop") -> None:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": finish_reason}
        self.answers_with(200, json.dumps({"object": "chat.completion", "choices": [choice]}))

    def answers_with(self, status: int, body: str, kind: str = "application/json") -> None:
        self.answers.append((status, body.encode(), kind))


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Llm]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("SOME_KEY", "sk-secret")
    server = Llm()
    thread = threading.Thread(target=server.server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.server.shutdown()
    server.server.server_close()
    thread.join()


def ask(llm: Llm, **changes: Any) -> tuple[str, ...]:
    settings = {
        "defect_type": "bent_rim",
        "object_name": "washer",
        "count": 5,
        "needed": 2,
        "base_url": llm.url,
        "model": "some-model",
        "temperature": 0.5,
        "seed": 7,
        "key_variable": "SOME_KEY",
        "timeout_s": 60.0,
        "max_retries": 1,
    }
    return generate_phrases(**(settings | changes))


def refusal(llm: Llm, **changes: Any) -> str:
    """The one line of the error, which never holds the key."""
    with pytest.raises(InputError) as caught:
        ask(llm, **changes)
    line = str(caught.value)
    assert "\n" not in line
    assert "sk-secret" not in line
    return line


def test_generated_phrases_come_back_clean_and_the_request_says_what_was_asked(llm: Llm) -> None:
    llm.says('{"phrases": ["1. Bent rim.", "bent rim", "Rim folded inward"]}')
    assert ask(llm) == ("bent rim", "rim folded inward")
    [(path, authorization, body)] = llm.requests
    assert path == "/v1/chat/completions"
    assert authorization == "Bearer sk-secret"
    assert (body["model"], body["temperature"], body["seed"]) == ("some-model", 0.5, 7)
    assert body["response_format"] == {"type": "json_object"}
    assert body["messages"] == [{"role": "user", "content": instruction("bent_rim", "washer", 5)}]


def test_settings_that_a_server_refuses_can_be_left_out(llm: Llm) -> None:
    llm.says("1. a\n2. b")
    assert ask(llm, temperature=None, seed=None, json_mode=False) == ("a", "b")
    assert set(llm.requests[0][2]) == {"model", "messages"}


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(llm: Llm, status: int) -> None:
    llm.answers_with(status, '{"error": {"message": "slow down"}}')
    llm.says('["a", "b"]')
    assert ask(llm) == ("a", "b")
    assert len(llm.requests) == 2


@pytest.mark.parametrize(
    ("status", "says", "requests"),
    [
        (401, "the key in SOME_KEY was refused (401)", 1),
        (403, "may not do this (403)", 1),
        (404, "no model 'some-model'", 1),
        (400, "refused the request (400", 1),
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


def test_an_answer_that_is_prose_cut_off_or_empty_is_an_input_error(llm: Llm) -> None:
    llm.says("I would rather\nnot.")
    assert "neither JSON nor a list ('I would rather not.')" in refusal(llm)
    llm.answers.clear()
    llm.says('{"phrases": ["a", "b", "c', finish_reason="length")
    assert "cut off" in refusal(llm)
    llm.answers.clear()
    llm.says(None)
    assert "empty or a refusal" in refusal(llm)


def test_too_few_usable_phrases_are_counted_after_cleaning(llm: Llm) -> None:
    llm.says('["Bent.", "bent", "this one has far too many words"]')
    line = refusal(llm, max_words=3)
    assert "at most 3 words" in llm.requests[0][2]["messages"][0]["content"]
    assert "gave 1 usable phrase(s)" in line
    assert "2 are needed" in line


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
