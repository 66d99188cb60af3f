"""Answers are kept by question: nothing is asked twice, and nothing damaged is believed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adclick.language.answers import Harvest, cache_folder, collect_phrases, logged_usage, shortage
from adclick.language.llm import FORMS, Endpoint
from adclick.run.errors import InputError
from tests.language.server import Llm, serving

TWO = '["bent washer rim", "washer rim folded inward"]'


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Llm]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("SOME_KEY", "any")
    with serving() as server:
        yield server


def collect(llm: Llm, folder: Path, needed: int = 2, form: int = 0, **changes: Any) -> Harvest:
    settings = {
        "model": "some-model",
        "key_variable": "SOME_KEY",
        "base_url": llm.url,
        "temperature": 1.0,
        "seed": 7,
        "max_retries": 0,
    }
    return collect_phrases(
        Endpoint(**(settings | changes)),
        defect_type="bent_rim",
        object_name="washer",
        count=5,
        needed=needed,
        folder=folder,
        form=form,
    )


def test_a_question_is_asked_once(llm: Llm, tmp_path: Path) -> None:
    llm.says(TWO, prompt_tokens=10, completion_tokens=20)
    first = collect(llm, tmp_path)
    again = collect(llm, tmp_path)
    assert first.usable == ("bent washer rim", "washer rim folded inward")
    assert again.phrases == first.phrases
    assert (first.asked, again.asked, len(llm.requests)) == (1, 0, 1)
    assert first.usage == {"prompt_tokens": 10, "completion_tokens": 20}
    assert again.usage == {}
    assert {path.stem for path in tmp_path.glob("*.json")} == set(first.phrases.values())


@pytest.mark.parametrize(
    "change", [{"model": "other"}, {"temperature": 0.5}, {"seed": 8}, {"temperature": None}]
)
def test_another_setting_is_another_question(
    llm: Llm, tmp_path: Path, change: dict[str, Any]
) -> None:
    llm.says(TWO)
    collect(llm, tmp_path)
    assert collect(llm, tmp_path, **change).asked == 1


def test_another_server_is_another_question(llm: Llm, tmp_path: Path) -> None:
    llm.says(TWO)
    collect(llm, tmp_path)
    same_server = llm.url.replace("127.0.0.1", "localhost")
    assert collect(llm, tmp_path, base_url=same_server).asked == 1


def test_too_few_phrases_are_asked_for_once_more_with_the_next_seed(
    llm: Llm, tmp_path: Path
) -> None:
    llm.says('["bent washer rim", "sorry", "rim"]')
    llm.says('["Bent washer rim.", "washer edge pushed in", "kinked washer"]')
    found = collect(llm, tmp_path, needed=3)
    assert [body["seed"] for *_, body in llm.requests] == [7, 8]
    # "sorry" and "rim" do not name the washer: a person sees them, nobody counts on them.
    assert found.usable == ("bent washer rim", "washer edge pushed in", "kinked washer")
    assert list(found.phrases)[:3] == ["bent washer rim", "sorry", "rim"]
    assert len(set(found.phrases.values())) == 2


def test_what_is_still_too_few_comes_back_and_costs_nothing_again(llm: Llm, tmp_path: Path) -> None:
    llm.says('["bent washer rim"]')
    llm.says("I would rather not.")
    for asked in (2, 0):
        found = collect(llm, tmp_path, needed=3)
        assert found.usable == ("bent washer rim",)
        assert found.asked == asked
        said = shortage(found, needed=3, what="washer / bent_rim")
        assert "washer / bent_rim: 1 usable phrases, 3 are needed" in said
        assert "neither JSON nor a list ('I would rather not.')" in said


def test_a_cut_off_answer_is_not_asked_for_again(llm: Llm, tmp_path: Path) -> None:
    llm.says('{"phrases": ["bent wash', finish_reason="length")
    found = collect(llm, tmp_path)
    assert (found.asked, found.phrases) == (1, {})
    assert "cut off: ask for fewer phrases" in found.problems[0]


@pytest.mark.parametrize("damage", ["half", "text", "question", "empty"])
def test_a_damaged_or_foreign_answer_is_asked_for_again(
    llm: Llm, tmp_path: Path, damage: str
) -> None:
    llm.says(TWO)
    expected = collect(llm, tmp_path).phrases
    [path] = tmp_path.glob("*.json")
    kept = path.read_text(encoding="utf-8")
    if damage == "text":
        kept = kept.replace("bent washer rim", "bent washer tin")
    elif damage == "question":
        kept = kept.replace("some-model", "lone-model")
    else:
        kept = kept[: len(kept) // 2] if damage == "half" else ""
    path.write_text(kept, encoding="utf-8")
    again = collect(llm, tmp_path)
    assert (again.asked, again.phrases) == (1, expected)


def test_a_failing_server_leaves_what_was_answered(llm: Llm, tmp_path: Path) -> None:
    llm.says('["bent washer rim"]')
    llm.answers_with(401, "{}")
    with pytest.raises(InputError, match="401"):
        collect(llm, tmp_path)
    llm.answers.clear()
    llm.says('["washer edge pushed in"]')
    assert collect(llm, tmp_path).asked == 1


def test_the_log_sums_tokens_and_costs(llm: Llm, tmp_path: Path) -> None:
    assert logged_usage(tmp_path) == {}
    llm.says(TWO, prompt_tokens=10, completion_tokens=20, cost=0.25)
    collect(llm, tmp_path)
    collect(llm, tmp_path, model="other")
    assert logged_usage(tmp_path) == {"prompt_tokens": 20, "completion_tokens": 40, "cost": 0.5}
    lines = (tmp_path / "usage.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["model"] for line in lines] == ["some-model", "other"]
    with (tmp_path / "usage.jsonl").open("a", encoding="utf-8") as file:
        file.write(
            '{"answer": "", "usage": {"prompt_tokens": 1}'
        )  # a line that a full disk cut off
    assert logged_usage(tmp_path)["prompt_tokens"] == 20


def test_the_form_that_a_server_takes_is_remembered(llm: Llm, tmp_path: Path) -> None:
    llm.answers_with(400, "{}")
    llm.says(TWO)
    form = collect(llm, tmp_path).form
    assert FORMS[form] == {"type": "json_object"}
    collect(llm, tmp_path, model="other", form=form)
    assert len(llm.requests) == 3
    assert collect(llm, tmp_path).form == form


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.delenv("ADCLICK_CACHE", raising=False)
    assert cache_folder() == Path("/x/adclick/answers")
    monkeypatch.setenv("ADCLICK_CACHE", "/y")
    assert cache_folder() == Path("/y/answers")
    monkeypatch.delenv("ADCLICK_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache/adclick/answers"
