"""`adclick prompts`: from a server's answers to lines in a bank, with interruptions and edits."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from adclick.cli import prompts as app
from adclick.commands import generate_prompts
from adclick.language.bank import read_bank
from adclick.language.proposing import wanted_types
from adclick.run.errors import InputError
from adclick.run.plan.stages import settings_json
from tests.chain import micro_config
from tests.language.server import Llm, serving

BANK = """\
washer:
  scratch:
    - thin scratch on a washer  # by hand
    - bright line across the washer
"""
SCRATCHES = ["deep scratch on the washer", "sure, a scratch", "thin scratch on the washer"]
CLEAN = ["clean washer with an even rim", "spotless washer without damage"]


@pytest.fixture
def llm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: Path) -> Iterator[Llm]:
    """A server; the project's configuration, an empty cache and a small bank around it."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("SOME_KEY", "any")
    monkeypatch.setenv("ADCLICK_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").symlink_to(project / "config")
    (tmp_path / "bank.yaml").write_text(BANK, encoding="utf-8")
    with serving() as server:
        yield server


def flags(llm: Llm, *more: str) -> list[str]:
    given = ["--bank", "bank.yaml", "--base-url", llm.url, "--key-variable", "SOME_KEY"]
    return [*given, "--model", "some-model", "--phrases", "2", "--requested", "3", *more]


def call(*arguments: str, answers: str = "") -> str:
    """What a command says; its InputError comes through."""
    done = CliRunner().invoke(app, arguments, input=answers)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def says(llm: Llm, phrases: list[str]) -> None:
    llm.says(json.dumps({"phrases": phrases}), prompt_tokens=10, completion_tokens=30)


def test_generate_writes_proposals_with_their_origin_and_what_is_suspicious(llm: Llm) -> None:
    says(llm, SCRATCHES)
    said = call("generate", "washer/scratch", *flags(llm))
    body = llm.requests[0][2]
    assert (body["model"], body["seed"], body["temperature"]) == ("some-model", 0, 1.0)
    washer = yaml.safe_load(Path("proposals.yaml").read_text(encoding="utf-8"))["washer"]
    assert (washer["object"], washer["model"]) == ("washer", "some-model")
    first, second, third = washer["types"]["scratch"]
    assert first["phrase"] == "deep scratch on the washer"
    assert Path("cache/answers", f"{first['answer']}.json").is_file()
    assert second["suspicious"] == "does not name the washer"
    assert "nearly repeats 'thin scratch on a washer'" in third["suspicious"]
    assert "3 new phrases, 2 of them suspicious" in said
    assert "10 tokens in, 30 out" in said


def test_a_rerun_costs_nothing_and_gives_the_same_bytes(llm: Llm) -> None:
    says(llm, SCRATCHES)
    call("generate", "washer/scratch", *flags(llm))
    first = Path("proposals.yaml").read_bytes()
    with pytest.raises(InputError, match=r"proposals\.yaml is there"):
        call("generate", "washer/scratch", *flags(llm))
    Path("proposals.yaml").unlink()
    assert "asked 0 times" in call("generate", "washer/scratch", *flags(llm))
    assert Path("proposals.yaml").read_bytes() == first
    assert len(llm.requests) == 1


def test_without_places_it_asks_about_all_that_the_bank_lacks(llm: Llm) -> None:
    says(llm, CLEAN)
    call("generate", *flags(llm))
    asked = [body["messages"][0]["content"] for *_, body in llm.requests]
    assert len(asked) == 2
    assert "without any defect" in asked[0]
    assert "foreign matter" in asked[1]


def test_an_object_may_be_called_otherwise_than_its_category(llm: Llm) -> None:
    says(llm, ["cut brake disc", "scored brake disc"])
    call("generate", "line3/cut", "--called", "brake disc", *flags(llm))
    assert '"brake disc"' in llm.requests[0][2]["messages"][0]["content"]
    proposed = yaml.safe_load(Path("proposals.yaml").read_text(encoding="utf-8"))
    assert all("suspicious" not in one for one in proposed["line3"]["types"]["cut"])
    with pytest.raises(InputError, match="with one category, not 2"):
        call("generate", "a/cut", "b/cut", "--called", "disc", "--output", "b.yaml", *flags(llm))


def test_types_come_from_a_data_sets_folders(llm: Llm, tmp_path: Path) -> None:
    from adclick.data.toy import draw_toy

    draw_toy(
        tmp_path / "data/set", size_px=32, normals=1, test_normals=1, defects_per_type=1, seed=0
    )
    overlay = {"data_root": "data", "datasets": {"toy": {"layout": "mvtec", "root": "set"}}}
    Path("my.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    says(llm, ["one washer", "two washers"])
    call("generate", "washer", *flags(llm, "--dataset", "toy", "--configfile", "my.yaml"))
    proposed = yaml.safe_load(Path("proposals.yaml").read_text(encoding="utf-8"))
    assert list(proposed["washer"]["types"]) == ["chipped", "good", "rust", "contamination"]


def test_too_few_phrases_are_written_and_then_said(llm: Llm) -> None:
    says(llm, ["clean washer"])
    with pytest.raises(InputError, match="washer / good: 1 usable phrases, 2 are needed"):
        call("generate", "washer/good", *flags(llm))
    assert "clean washer" in Path("proposals.yaml").read_text(encoding="utf-8")
    assert len(llm.requests) == 2


def test_a_mistaken_option_is_named(llm: Llm) -> None:
    with pytest.raises(InputError, match=r"prompts: temperature = -1\.0"):
        call("generate", "washer/good", "--temperature", "-1", *flags(llm))
    with pytest.raises(InputError, match="cup: not in the bank"):
        call("generate", "cup", *flags(llm))
    assert llm.requests == []


def test_wanted_types_are_those_named_or_those_that_lack() -> None:
    bank = {"nut": {"bent": ("a", "b"), "good": ("c",)}}
    types = {"nut": ["bent", "split"]}
    assert wanted_types([], types, bank, needed=2) == {"nut": ["split", "good", "contamination"]}
    assert wanted_types(["nut/bent", "cup/torn"], types, bank, needed=2) == {
        "nut": ["bent"],
        "cup": ["torn"],
    }
    with pytest.raises(InputError, match="nothing lacks phrases"):
        wanted_types([], {"nut": []}, {"nut": {"good": ("a",), "contamination": ("b",)}}, needed=1)


def test_a_killed_run_asks_only_what_was_not_answered(llm: Llm) -> None:
    says(llm, SCRATCHES)
    llm.stall_after = 1
    script = "from adclick.cli import prompts as app; app()"
    command = [sys.executable, "-c", script, "generate", "washer/scratch", "washer/good"]
    with subprocess.Popen([*command, *flags(llm)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "washer / scratch: 3 phrases (1 new answers)\n"
        assert llm.stalled.wait(30)
        os.kill(process.pid, signal.SIGKILL)
    llm.stall_after = None
    llm.awake.set()
    assert not Path("proposals.yaml").exists()
    llm.answers.clear()
    says(llm, CLEAN)
    said = call("generate", "washer/scratch", "washer/good", *flags(llm))
    assert "washer / scratch: 3 phrases (kept answers)" in said
    assert len(llm.requests) == 3  # one answered, one cut off by the kill, one more


@pytest.fixture
def proposals(llm: Llm) -> Path:
    says(llm, SCRATCHES)
    says(llm, CLEAN)
    call("generate", "washer/scratch", "washer/good", *flags(llm))
    return Path("proposals.yaml")


def test_a_person_strikes_phrases_and_the_rest_enters_the_bank(proposals: Path) -> None:
    said = call("curate", str(proposals), "--bank", "bank.yaml", answers="9\n?\n\n")
    assert "   2 ? sure, a scratch   <- does not name the washer" in said
    assert "9 is not within 1 to 3" in said
    assert "washer / scratch: 1 added to bank.yaml (0 of them suspicious), 2 struck" in said
    bank = read_bank(Path("bank.yaml"))["washer"]
    assert bank["scratch"][2:] == ("deep scratch on the washer",)
    assert bank["good"] == tuple(CLEAN)
    text = Path("bank.yaml").read_text(encoding="utf-8")
    assert text.startswith(BANK)
    assert "- deep scratch on the washer  # some-model, answer " in text


def test_curation_goes_on_where_it_stopped(proposals: Path) -> None:
    call("curate", str(proposals), "--bank", "bank.yaml", answers="2,3\nq\n")
    assert "good" not in read_bank(Path("bank.yaml"))["washer"]
    said = call("curate", str(proposals), "--bank", "bank.yaml", answers="1\n")
    assert "scratch" not in said
    assert read_bank(Path("bank.yaml"))["washer"]["good"] == (CLEAN[1],)
    assert call("curate", str(proposals), "--bank", "bank.yaml") == ""


def test_phrases_may_be_edited(proposals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Path("edit.sh")
    script.write_text("#!/bin/sh\nsed -i -e /sure/d -e 's/deep/Very deep/' \"$1\"\n")
    script.chmod(0o755)
    monkeypatch.setenv("EDITOR", "./edit.sh")
    monkeypatch.delenv("VISUAL", raising=False)
    call("curate", str(proposals), "--bank", "bank.yaml", answers="e\nq\n")
    text = Path("bank.yaml").read_text(encoding="utf-8")
    assert "- very deep scratch on the washer  # some-model, reworded\n" in text
    assert "sure" not in text
    monkeypatch.setenv("EDITOR", "./nowhere")
    with pytest.raises(InputError, match="set EDITOR"):
        call("curate", str(proposals), "--bank", "bank.yaml", answers="e\n")


def test_an_edited_file_is_accepted_without_questions(proposals: Path) -> None:
    content = yaml.safe_load(proposals.read_text(encoding="utf-8"))
    listed = content["washer"]["types"]["scratch"]
    listed[1]["strike"] = True
    listed[2]["phrase"] = "hairline scratch along the washer hole"
    proposals.write_text(yaml.safe_dump(content), encoding="utf-8")
    call("curate", str(proposals), "--bank", "bank.yaml", "--accept")
    assert read_bank(Path("bank.yaml"))["washer"]["scratch"][2:] == (
        "deep scratch on the washer",
        "hairline scratch along the washer hole",
    )


def test_where_nobody_answers_nothing_is_taken(proposals: Path) -> None:
    with pytest.raises(InputError, match="give --accept"):
        call("curate", str(proposals), "--bank", "bank.yaml")
    assert Path("bank.yaml").read_text(encoding="utf-8") == BANK


def test_the_workflow_and_the_command_share_answers(llm: Llm) -> None:
    """`prompts.source: llm` takes the first usable phrases, and asks nothing that is kept."""
    says(llm, SCRATCHES[:2] + ["scored washer", "washer with a scuff"])
    call("generate", "washer/scratch", *flags(llm))
    settings = json.loads(settings_json(micro_config(), "generate_prompts", dataset="toy"))
    settings["categories"] = ["washer"]
    settings["prompts"] |= {"source": "llm", "base_url": llm.url, "key_variable": "SOME_KEY"}
    settings["prompts"] |= {"model": "some-model", "phrases": 3, "requested": 3}
    argv = ["--settings", json.dumps(settings), "--bank", "bank.yaml", "--prompts", "made.json"]
    generate_prompts.main(argv)
    assert json.loads(Path("made.json").read_text())["phrases"] == {
        "washer": {"scratch": [SCRATCHES[0], "scored washer", "washer with a scuff"]}
    }
    assert len(llm.requests) == 1
    settings["prompts"]["phrases"] = 4
    argv[1] = json.dumps(settings)
    with pytest.raises(InputError, match="washer / scratch: 3 usable phrases, 4 are needed"):
        generate_prompts.main(argv)
    assert len(llm.requests) == 2
