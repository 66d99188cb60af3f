"""What lies in two folders of photographs: what of it can be used, and how to set up a run."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adclick.data.images import IMAGE_SUFFIXES, decode_image, deep_maximum, is_deep, read_bytes
from adclick.data.manifest import bits_of
from adclick.data.reading import GOOD
from adclick.project.likeness import Suspect, View, describe, suspects, view_of
from adclick.project.scales import Scale, propose
from adclick.run.errors import InputError
from adclick.run.folders import fault_of_type, named, shown, walk, writable

SIZES_NAMED = 3  # of more only the span is told
UNNAMED = "defect"  # the kind of defects that lie in no folder of their own
LEAST_NORMALS, LEAST_DEFECTS = 10, 2
Progress = Callable[[int, int], None]


class Photograph(NamedTuple):
    """A picture that can be used. `kind` is `good`, or the kind of defect: the first folder below
    the one that was given. `sha256` is of the file, `pixels` of what is in it (the same where a
    pixel has more than 8 bits: what is looked at has fewer). `place` is where it lies below the
    folder of its kind.
    """

    path: Path
    kind: str
    height: int
    width: int
    sha256: str
    pixels: str
    place: Path


class Odd(NamedTuple):
    """A normal photograph that looks least like the others: `times` the usual spread, and where in
    it, as shares of height and width.
    """

    photograph: Photograph
    times: float
    row: float
    column: float


@dataclass(frozen=True)
class Survey:
    """What was found.

    `passed_over` has the files that are not used by what is wrong with them; `duplicates` groups of
    photographs with equal pixels, of which only the first is used, and none where one of them is
    normal and another defective (`contradictory`). `odd` are normal photographs that may have a
    defect, the strangest first. `view` and `scale` are proposals. `tests` are normal photographs to
    measure false alarms with, of `normal_test_dir`. `left_out` is what `without` took away.
    """

    normal_dir: Path
    defect_dir: Path | None
    normals: tuple[Photograph, ...]
    defects: tuple[Photograph, ...]
    passed_over: Mapping[str, tuple[Path, ...]]
    duplicates: tuple[tuple[Photograph, ...], ...]
    contradictory: tuple[tuple[Photograph, ...], ...]
    odd: tuple[Odd, ...]
    view: View
    scale: Scale
    tests: tuple[Photograph, ...] = ()
    normal_test_dir: Path | None = None
    left_out: tuple[Photograph, ...] = ()

    @property
    def kinds(self) -> dict[str, int]:
        """How many photographs there are of each kind of defect."""
        names = sorted({one.kind for one in self.defects})
        return {name: sum(one.kind == name for one in self.defects) for name in names}

    @property
    def sizes(self) -> dict[tuple[int, int], int]:
        """How many photographs have which (height, width), the most frequent first."""
        found: dict[tuple[int, int], int] = {}
        for one in (*self.normals, *self.defects):
            found[one.height, one.width] = found.get((one.height, one.width), 0) + 1
        return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def survey_photographs(
    normal_dir: Path,
    defect_dir: Path | None = None,
    *,
    more_normal: Sequence[Path] = (),
    more_defective: Sequence[Path] = (),
    normal_test_dir: Path | None = None,
    apart_from: Path | None = None,
    progress: Progress | None = None,
) -> Survey:
    """Look at every photograph below a folder of normal ones and, if there is one, a folder of
    defective ones (a folder in it a kind of defect; those that lie in it directly are `defect`).

    No file is changed; each is read once, those of more than 8 bits a second time, when it is known
    how many bits the camera has. `progress` is told how many of all are done. A file that cannot be
    used is passed over, never an error. `more_normal` and `more_defective` are further folders of
    the same. Normal photographs below `normal_test_dir` are for tests; those that are elsewhere,
    too, are left out there. `apart_from` is a folder among the photographs that has none, the
    project's. InputError when a folder is missing, lies in the other, or no normal photograph is
    left.
    """
    defective = [*([] if defect_dir is None else [defect_dir]), *more_defective]
    files, lost = _files([normal_dir, *more_normal], defective, apart_from)
    photographs, looks = _look_at_all(files, lost, progress)
    kept, duplicates, contradictory = _without_repetitions(photographs)
    normals = [one for one in kept if one.kind == GOOD]
    if not normals:
        raise InputError(f"{shown(normal_dir)}: no normal photograph ({', '.join(IMAGE_SUFFIXES)})")
    stack = np.stack([looks[one.path] for one in normals])
    defects = [one for one in kept if one.kind != GOOD]
    known = {one.pixels for one in photographs}
    tests = () if normal_test_dir is None else tuple(_tests(normal_test_dir, known, lost))
    return Survey(
        normal_dir=normal_dir,
        defect_dir=defect_dir,
        normals=tuple(normals),
        defects=tuple(defects),
        passed_over={what: tuple(paths) for what, paths in lost.items()},
        duplicates=tuple(duplicates),
        contradictory=tuple(contradictory),
        odd=tuple(_odd(normals, found) for found in suspects(stack)),
        view=view_of(stack),
        scale=propose(len(normals), len(defects), [(one.height, one.width) for one in kept]),
        tests=tests,
        normal_test_dir=normal_test_dir,
    )


def _tests(
    folder: Path, known: Collection[str], lost: dict[str, list[Path]]
) -> Iterator[Photograph]:
    for path in _pictures(folder, (), lost):
        place = path.relative_to(folder)
        seen = _look_at(path, GOOD, place, lost, bits=None, deep=is_deep(path))
        if seen is not None and seen[0].pixels in known:
            lost.setdefault("among the other photographs, too", []).append(path)
        elif seen is not None:
            yield seen[0]


def _odd(normals: Sequence[Photograph], found: Suspect) -> Odd:
    return Odd(normals[found.place], found.times, found.row, found.column)


def _files(
    normal_dirs: Sequence[Path], defect_dirs: Sequence[Path], apart_from: Path | None
) -> tuple[dict[Path, tuple[str, Path]], dict[str, list[Path]]]:
    """The picture files with their kinds and places, and what else there is, by what is wrong with
    it. A file that lies below two folders of a list is of the first.
    """
    lost: dict[str, list[Path]] = {}
    normal: dict[Path, tuple[str, Path]] = {}
    for folder in normal_dirs:
        for path in _outside(apart_from, folder, _pictures(folder, defect_dirs, lost)):
            normal.setdefault(path, (GOOD, path.relative_to(folder)))
    defective: dict[Path, tuple[str, Path]] = {}
    for folder in defect_dirs:
        for path in _outside(apart_from, folder, _pictures(folder, normal_dirs, lost)):
            kind = _kind(path.relative_to(folder))
            fault = fault_of_type(kind) or (
                "is what normal ones are called" if kind == GOOD else None
            )
            if fault is None:
                inside = path.relative_to(folder)
                place = inside.relative_to(kind) if len(inside.parts) > 1 else inside
                defective.setdefault(path, (kind, place))
            else:
                what = f"the kind of defect {shown(kind)!r} {fault}: rename its folder"
                lost.setdefault(what, []).append(path)
    return {**normal, **{path: one for path, one in defective.items() if path not in normal}}, lost


def _outside(project: Path | None, folder: Path, files: Sequence[Path]) -> Sequence[Path]:
    """The files of a folder that are not of a project inside it."""
    if project is None or folder.resolve() not in project.resolve().parents:
        return files
    return [path for path in files if not path.resolve().is_relative_to(project.resolve())]


def _pictures(folder: Path, apart_from: Sequence[Path], lost: dict[str, list[Path]]) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{shown(folder)}: no such folder; give a folder of photographs")
    if folder.resolve() in [one.resolve() for one in apart_from]:
        raise InputError(
            f"{shown(folder)}: given as normal and as defective; give a folder of each"
        )
    inside = [one for one in apart_from if one.resolve().is_relative_to(folder.resolve())]
    found = walk(folder, apart_from=next(iter(inside or apart_from), None))
    for what, paths in found.lost.items():
        lost.setdefault(what, []).extend(paths)
    usable: list[Path] = []
    for path in found.files:
        if any(path.is_relative_to(one) for one in inside):
            continue
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            lost.setdefault("no pictures", []).append(path)
        elif not writable(str(path)):
            lost.setdefault("names that are no UTF-8: rename them", []).append(path)
        else:
            usable.append(path)
    return usable


def _kind(path: Path) -> str:
    return path.parts[0] if len(path.parts) > 1 else UNNAMED


def _look_at_all(
    files: Mapping[Path, tuple[str, Path]],
    lost: dict[str, list[Path]],
    progress: Progress | None,
) -> tuple[list[Photograph], dict[Path, np.ndarray]]:
    """The photographs that can be read, and what normal ones look like by their paths."""
    deep = {path: deep_maximum(path) or 0 for path in files if is_deep(path)}
    bits = bits_of(deep.values())
    photographs: list[Photograph] = []
    looks: dict[Path, np.ndarray] = {}
    for index, (path, (kind, place)) in enumerate(files.items()):
        seen = _look_at(path, kind, place, lost, bits=bits, deep=path in deep)
        if seen is not None:
            photographs.append(seen[0])
            if kind == GOOD:
                looks[path] = seen[1]
        if progress is not None:
            progress(index + 1, len(files))
    return photographs, looks


def _look_at(
    path: Path,
    kind: str,
    place: Path,
    lost: dict[str, list[Path]],
    *,
    bits: int | None,
    deep: bool,
) -> tuple[Photograph, np.ndarray] | None:
    try:
        content = read_bytes(path)
        image = decode_image(content, path, bits=bits)
    except InputError:
        lost.setdefault("broken, or cannot be read", []).append(path)
        return None
    height, width = image.shape[:2]
    of_file = sha256(content).hexdigest()
    pixels = sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
    photograph = Photograph(path, kind, height, width, of_file, of_file if deep else pixels, place)
    return photograph, describe(image)


def _without_repetitions(
    photographs: Iterable[Photograph],
) -> tuple[list[Photograph], list[tuple[Photograph, ...]], list[tuple[Photograph, ...]]]:
    """The photographs to use, groups of equal ones, and groups of contradictory ones."""
    groups: dict[str, list[Photograph]] = {}
    for one in photographs:
        groups.setdefault(one.pixels, []).append(one)
    kept = [group[0] for group in groups.values() if not _contradicts(group)]
    repeated = [tuple(group) for group in groups.values() if len(group) > 1]
    return (
        kept,
        [group for group in repeated if not _contradicts(group)],
        [group for group in repeated if _contradicts(group)],
    )


def _contradicts(group: Sequence[Photograph]) -> bool:
    return len({one.kind == GOOD for one in group}) > 1


def without(survey: Survey, left_out: Iterable[Path]) -> Survey:
    """The survey without some photographs, such as normal ones that were found to be defective; of
    pictures that are there several times all are left out. Where one of a contradictory pair is
    left out, the other is used.

    InputError for a path that is none of the survey's photographs, however it is spelled.
    """
    gone = {path.resolve(): path for path in left_out}
    known = (*survey.normals, *survey.defects, *survey.tests, *survey.left_out)
    every = {
        *known,
        *(one for group in (*survey.duplicates, *survey.contradictory) for one in group),
    }
    unknown = gone.keys() - {one.path.resolve() for one in every}
    if unknown:
        raise InputError(f"{shown(min(gone[place] for place in unknown))}: none of the photographs")
    named = {one for one in every if one.path.resolve() in gone}
    left = named | {one for group in survey.duplicates if named & {*group} for one in group}
    rest = {group: [one for one in group if one not in left] for group in survey.contradictory}
    agreed = [group[0] for group in rest.values() if group and not _contradicts(group)]

    def kept(photographs: Iterable[Photograph]) -> tuple[Photograph, ...]:
        return tuple(one for one in photographs if one not in left)

    return replace(
        survey,
        normals=(*kept(survey.normals), *(one for one in agreed if one.kind == GOOD)),
        defects=(*kept(survey.defects), *(one for one in agreed if one.kind != GOOD)),
        tests=kept(survey.tests),
        contradictory=tuple(group for group, others in rest.items() if _contradicts(others)),
        odd=tuple(one for one in survey.odd if one.photograph not in left),
        left_out=tuple(sorted({*survey.left_out, *left})),
    )


def survey_lines(survey: Survey) -> Iterator[str]:
    """What was found, in lines for people."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in survey.kinds.items())
    yield f"{len(survey.normals)} normal photographs, {len(survey.defects)} defective ones" + (
        f" ({kinds})" if kinds else ""
    )
    if survey.tests:
        yield f"{len(survey.tests)} normal photographs for tests"
    yield f"sizes (width x height): {size_line(survey.sizes)}"
    if survey.left_out:
        yield f"left out: {_names(survey.left_out)}"
    for folder in (survey.normal_dir, survey.defect_dir, survey.normal_test_dir):
        if folder is not None:
            inside = {
                what: [path for path in paths if path.is_relative_to(folder)]
                for what, paths in survey.passed_over.items()
            }
            for line in named(folder, inside):
                yield f"passed over in {shown(folder)}, {line}"
    for group in survey.duplicates:
        yield f"the same picture, used once: {_names(group)}"
    for group in survey.contradictory:
        yield f"the same picture among normal and defective ones, not used: {_names(group)}"
    for odd in survey.odd:
        place = f"{round(100 * odd.row)} % from the top, {round(100 * odd.column)} % from the left"
        yield f"look at {shown(odd.photograph.path)}: unlike the other normal ones ({place})"
    yield _view_line(survey.view)
    yield from _shortages(survey)
    yield from survey.scale.lines


def size_line(sizes: Mapping[tuple[int, int], int]) -> str:
    """Sizes (height, width), most frequent first, with their counts: width x height in words."""
    if len(sizes) <= SIZES_NAMED:
        counted = {f"{width} x {height}": count for (height, width), count in sizes.items()}
        several = len(sizes) > 1
        return ", ".join(f"{size} ({n})" if several else size for size, n in counted.items())
    heights, widths = zip(*sizes, strict=True)
    span = f"{_span(widths)} x {_span(heights)}, {len(sizes)} different ones"
    height, width = next(iter(sizes))
    often = sizes[height, width] > sum(sizes.values()) / 2
    return f"{span}; most are {width} x {height}" if often else span


def _span(values: Iterable[int]) -> str:
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low}-{high}"


def _names(group: Sequence[Photograph]) -> str:
    return ", ".join(shown(one.path) for one in group)


def _view_line(view: View) -> str:
    what = "fills the picture (a texture)" if view.texture else "has a background around it"
    where = "always in the same place" if view.aligned else "not always in the same place"
    return f"the product {what}, {where}"


def _shortages(survey: Survey) -> Iterator[str]:
    if len(survey.normals) < LEAST_NORMALS:
        yield f"too few normal photographs: {LEAST_NORMALS} are the least, 50 and more are good"
    if len(survey.defects) < LEAST_DEFECTS:
        yield f"too few defective ones for a detector: {LEAST_DEFECTS} are the least, 10 are good"
