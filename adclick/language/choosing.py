"""`adclick prompts curate`: strike what is wrong in proposals; the rest enters the prompt bank."""

import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from adclick.language.bank import read_bank
from adclick.language.curation import (
    CategoryProposals,
    Proposal,
    mark,
    read_proposals,
    write_proposals,
)
from adclick.language.llm import clean_phrases
from adclick.language.merging import merge_into_bank
from adclick.run.errors import InputError

QUESTION = "strike which? (numbers as 2 5-7, ? all marked, e edit, enter none, q stop): "
EDITING = "# One phrase a line. A deleted line is struck.\n"
STOP, EDIT, MARKED = "q", "e", "?"


def choose_phrases(proposals: Path, *, bank: Path, accept: bool) -> None:
    """Ask a person what to strike of each type's proposals, and add the rest to the bank.

    With `accept` nothing is asked: all that is not struck in the file is taken. Each type is
    finished, in both files, before the next one is shown.
    """
    content = read_proposals(proposals)
    for category, proposed in content.items():
        for kind in proposed.types:
            known = read_bank(bank).get(category, {}) if bank.is_file() else {}
            listed = mark(content[category], known).types[kind]
            if not listed:
                continue
            chosen = listed if accept else _choose(f"{category} / {kind}", listed)
            if chosen is None:
                return
            additions = [(one.phrase, _origin(one, proposed.model)) for one in chosen]
            added = merge_into_bank(bank, category, kind, additions)
            left = {one.phrase for one in chosen}
            struck = {one.phrase for one in listed} - left
            content[category] = _strike(content[category], kind, struck)
            write_proposals(proposals, content)
            doubtful = sum(one.suspicious is not None for one in chosen)
            print(
                f"{category} / {kind}: {added} added to {bank} ({doubtful} of them suspicious),"
                f" {len(struck)} struck"
            )


def _choose(title: str, listed: Sequence[Proposal]) -> list[Proposal] | None:
    """What a person leaves of the phrases of one type; None to stop here."""
    marked = sum(one.suspicious is not None for one in listed)
    print(f"\n{title}: {len(listed)} new phrases, {marked} suspicious (?)")
    for number, one in enumerate(listed, start=1):
        sign, reason = ("?", f"   <- {one.suspicious}") if one.suspicious else (" ", "")
        print(f"{number:4} {sign} {one.phrase}{reason}")
    while True:
        answer = _answer()
        if answer == STOP:
            return None
        if answer == EDIT:
            return _edited(listed)
        try:
            struck = struck_numbers(answer, listed)
        except ValueError as error:
            print(str(error))
        else:
            return [one for number, one in enumerate(listed, start=1) if number not in struck]


def _answer() -> str:
    try:
        return input(QUESTION).strip()
    except EOFError:
        raise InputError(
            "nobody answers: strike phrases in the proposals file, then give --accept"
        ) from None


def struck_numbers(answer: str, listed: Sequence[Proposal]) -> set[int]:
    """The numbers, from 1, that an answer such as `2 5-7 ?` strikes; ValueError for another one."""
    struck: set[int] = set()
    for part in answer.replace(",", " ").split():
        if part == MARKED:
            struck |= {number for number, one in enumerate(listed, start=1) if one.suspicious}
            continue
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not found:
            raise ValueError(f"{part!r} is not a number, a range or one of ? e q")
        first, last = int(found[1]), int(found[2] or found[1])
        if not 1 <= first <= last <= len(listed):
            raise ValueError(f"{part} is not within 1 to {len(listed)}")
        struck |= set(range(first, last + 1))
    return struck


def _edited(listed: Sequence[Proposal]) -> list[Proposal]:
    """The phrases as a person left them in an editor; reworded ones come from no answer."""
    before = {one.phrase: one for one in listed}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "phrases.txt"
        path.write_text(EDITING + "".join(f"{phrase}\n" for phrase in before), encoding="utf-8")
        _open_editor(path)
        lines = path.read_text(encoding="utf-8").splitlines()
    written = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    kept = [phrase if phrase in before else "".join(clean_phrases([phrase])) for phrase in written]
    return [before.get(phrase) or Proposal(phrase=phrase) for phrase in kept if phrase]


def _open_editor(path: Path) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        subprocess.run([*shlex.split(editor), str(path)], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(f"the editor {editor!r} failed ({error}): set EDITOR") from error


def _origin(proposal: Proposal, model: str) -> str:
    return f"{model}, answer {proposal.answer}" if proposal.answer else f"{model}, reworded"


def _strike(proposed: CategoryProposals, kind: str, phrases: set[str]) -> CategoryProposals:
    """The proposals of a category with some phrases of a type struck."""
    listed = [
        one.model_copy(update={"strike": True}) if one.phrase in phrases else one
        for one in proposed.types[kind]
    ]
    return proposed.model_copy(update={"types": {**proposed.types, kind: listed}})
