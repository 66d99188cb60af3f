"""The sheet of a project: its photographs with what each is for, and names that never change."""

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from adclick.data.layouts.csv import LEFT_OUT, read_sheet
from adclick.data.reading import GOOD, VALIDATION, Row
from adclick.project.survey import Photograph, Survey
from adclick.run.errors import InputError
from adclick.run.folders import shown
from adclick.run.provenance import file_sha256

# A photograph that is another under the same name makes the sheet another, too.
COLUMNS = (
    *("image_path", "label", "split", "defect_type", "mask_path", "sha256"),
    "picture_name",
)
LABELS = {"train": "normal", VALIDATION: "normal", "test": "normal_test", LEFT_OUT: "normal"}
HELD_OUT_SHARE, MOST_HELD_OUT, LEAST_HELD_OUT = 0.2, 100, 2
LONGEST_NAME = 150  # bytes; files are called like it, with endings
Known = Mapping[str, Row]


class _Line(NamedTuple):
    """A photograph of the sheet; `place` is where it lies below the folder of its kind."""

    path: str
    split: str
    kind: str
    mask: str
    sha256: str
    place: Path

    @property
    def group(self) -> tuple[bool, str]:
        """Among whom its name must be the only one: whoever is trained on may be held out."""
        return self.split == "test", self.kind


def read_known(sheet: Path) -> dict[str, Row]:
    """The photographs of a sheet by their paths there; none where there is no sheet."""
    return read_sheet(sheet) if sheet.is_file() else {}


def left_out_before(sheet: Path) -> list[Path]:
    """The photographs that a project's sheet remembers as left out, as absolute paths."""
    return [path for path, row in photographs_of(sheet).items() if row.split == LEFT_OUT]


def photographs_of(sheet: Path) -> dict[Path, Row]:
    """All photographs of a project's sheet by their absolute paths."""
    root = Path(os.path.normpath(sheet.parent.absolute()))
    return {Path(os.path.normpath(root / path)): row for path, row in read_known(sheet).items()}


def sheet_text(
    survey: Survey,
    known: Known,
    root: Path,
    *,
    held_out: int | None = None,
    masks: Mapping[Path, Path] | None = None,
) -> str:
    """The sheet, for the folder `root`, of what a survey found and an earlier sheet (`known`) says.

    With `masks`, defective photographs without one are not in it. Who was held out stays so, unless
    `held_out` asks for another number. What was left out and is not used now stays left out;
    pictures for tests stay where the survey has none. InputError when `held_out` is negative, or
    leaves no normal photograph.
    """
    lines = [*_found(survey, known, root, held_out, masks)]
    lines += _remembered(survey, known, root, {line.path for line in lines})
    lines.sort(key=_order)
    names = _names(lines, known)
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in lines:
        normal = line.kind == GOOD
        label, kind = (LABELS[line.split], "") if normal else ("abnormal", line.kind)
        cells = [line.path, label, line.split, kind, line.mask, line.sha256, names[line.path]]
        writer.writerow(cells)
    return text.getvalue()


def _order(line: _Line) -> tuple[bool, bool, bool, str]:
    return line.split == LEFT_OUT, line.kind != GOOD, line.split == "test", line.path


def _found(
    survey: Survey,
    known: Known,
    root: Path,
    held_out: int | None,
    masks: Mapping[Path, Path] | None,
) -> Iterator[_Line]:
    held = _held_out(survey.normals, held_out, known, root)

    def line(one: Photograph, split: str, mask: str = "") -> _Line:
        return _Line(_relative(one.path, root), split, one.kind, mask, one.sha256, one.place)

    for one in survey.normals:
        yield line(one, VALIDATION if one.path in held else "train")
    for one in survey.tests:
        yield line(one, "test")
    for one in survey.defects:
        if masks is None or one.path in masks:
            mask = "" if masks is None else _relative(masks[one.path], root)
            yield line(one, "train", mask)
    for one in survey.left_out:
        yield line(one, LEFT_OUT)


def _remembered(survey: Survey, known: Known, root: Path, listed: set[str]) -> Iterator[_Line]:
    """What an earlier sheet says and this survey cannot know."""
    for path, row in known.items():
        if path in listed:
            continue
        file = root / path
        if row.split == LEFT_OUT:
            yield _Line(path, LEFT_OUT, row.defect_type, "", "", Path(file.name))
        if row.split == "test" and row.is_normal and not survey.tests and file.is_file():
            yield _Line(path, "test", GOOD, "", file_sha256(file), Path(file.name))


def _held_out(
    normals: Sequence[Photograph], wanted: int | None, known: Known, root: Path
) -> set[Path]:
    """Which normal photographs are held out: those that were before, then new ones by the digest of
    their pixels, so that photographs that are added later change nothing; where a number is asked
    for, also those that were trained on, or not all that were held out.
    """
    share = min(MOST_HELD_OUT, round(HELD_OUT_SHARE * len(normals)))
    count = (share if share >= LEAST_HELD_OUT else 0) if wanted is None else wanted
    if count < 0:
        raise InputError(f"--held-out {count}: must be 0 or more")
    if count >= len(normals):
        raise InputError(f"{count} held out of {len(normals)} normal photographs: none is left")
    splits = {path: row.split for path, row in known.items()}

    def rank(one: Photograph) -> tuple[bool, bool, str]:
        """Those that were held out before come first, those that were trained on last."""
        split = splits.get(_relative(one.path, root))
        return split != VALIDATION, split == "train", one.pixels

    ordered = sorted(normals, key=rank)
    if wanted is None:
        before = sum(not rank(one)[0] for one in ordered)
        free = sum(not rank(one)[1] for one in ordered)
        count = min(max(count, before), free)
    return {one.path for one in ordered[:count]}


def _names(lines: Sequence[_Line], known: Known) -> dict[str, str]:
    """A name for each photograph: the one that it has, or one made of where it lies. A name that is
    taken gets the file's ending, then a number.
    """
    found: dict[str, str] = {}
    taken: set[tuple[tuple[bool, str], str]] = set()
    for line in lines:
        row = known.get(line.path)
        if row is not None and row.defect_type == line.kind:
            found[line.path] = row.image_id.rpartition("/")[2]
            taken.add((line.group, found[line.path]))
    for line in sorted(lines):
        if line.path not in found:
            name = next(one for one in _candidates(line) if (line.group, one) not in taken)
            found[line.path] = name
            taken.add((line.group, name))
    return found


def _candidates(line: _Line) -> Iterator[str]:
    name = "-".join([*line.place.parts[:-1], line.place.stem.strip()])
    if len(name.encode()) > LONGEST_NAME:
        name = f"{sha256(name.encode()).hexdigest()[:12]}-{name[-32:].strip()}"
    yield name
    yield f"{name}-{line.place.suffix.removeprefix('.')}"
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def _relative(file: Path, root: Path) -> str:
    """A file's path: relative where it lies in the project, so that it can be moved."""
    path = Path(os.path.normpath(file.absolute()))
    top = Path(os.path.normpath(root.parent.absolute()))
    return os.path.relpath(path, top / root.name) if path.is_relative_to(top) else str(path)


def counts(sheet: Path) -> dict[str, int]:
    """How many normal photographs there are of each split, and of defective ones (`defective`)."""
    rows = [row for row in read_known(sheet).values() if row.split != LEFT_OUT]
    normal = [row.split for row in rows if row.is_normal]
    return {
        **{split: normal.count(split) for split in ("train", VALIDATION, "test")},
        "defective": len(rows) - len(normal),
    }


def sheet_lines(sheet: Path) -> Iterator[str]:
    """What the photographs are for, in lines for people."""
    found = counts(sheet)
    held = found[VALIDATION]
    yield (
        f"{found['train']} normal photographs to learn from, {held} held out for the threshold"
        + (f", {found['test']} for tests" if found["test"] else "")
    )
    if held:
        least = 100 / (held + 1)
        yield (
            f"with {held} held out, {least:.2g} % of normal ones or more will be called defective"
            " by mistake; --held-out N holds out more"
        )
    else:
        yield "none is held out: no picture will be called defective; give more, or --held-out N"
    left = len(left_out_before(sheet))
    if left:
        yield f"{left} left out; --use FILE takes one back"


def taken_back(left_out: Iterable[Path], use: Iterable[Path]) -> list[Path]:
    """What is left out still when some is used again; InputError for what was not left out."""
    back = {path.resolve(): path for path in use}
    before = {path.resolve(): path for path in left_out}
    unknown = [path for place, path in back.items() if place not in before]
    if unknown:
        raise InputError(f"--use {shown(min(unknown))}: was not left out")
    return [path for place, path in before.items() if place not in back]
