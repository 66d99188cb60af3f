"""Files as nobody meant them: each is read as documented, or refused in one line.

A small part by default; `make fuzz` (or another number in ADCLICK_FUZZ) runs thousands. A case is a
function of its family and number, so a failure names all that it takes to see it again.
"""

import base64
import json
import os
import signal
import struct
from collections.abc import Callable
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from hashlib import sha256
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from adclick.annotate.actions import ClickAction
from adclick.annotate.desk import Desk
from adclick.annotate.export import FORMATS
from adclick.annotate.export import main as export_labels
from adclick.annotate.store import find_pictures, saved_labels
from adclick.data.images import decode_mask, picture_files, picture_shape, read_image, write_png
from adclick.data.layouts.csv import read_rows as read_sheet
from adclick.data.layouts.mvtec import read_rows as read_mvtec
from adclick.data.manifest import read_split
from adclick.language.bank import read_bank
from adclick.metrics.map_files import decode_map
from adclick.run.config import load_config
from adclick.run.errors import InputError
from adclick.run.job import BAD_INPUT, run
from adclick.run.plan.checks import check
from adclick.run.plan.data import digest_files
from adclick.run.yaml_files import read_yaml
from tests.annotate.fake import FakeModel
from tests.run.test_config import merged, read

CASES = int(os.environ.get("ADCLICK_FUZZ", "120"))
LONGEST_S = 60  # of a case, on a busy machine
LONGEST_LINE = 20_000
Generator = np.random.Generator
Case = Callable[[Generator, Path], Callable[[], object]]

TOKENS = [
    *(b"", b"\0", b"\xff" * 8, b"\n", b"\r\n", b",", b'"', b"{", b"[" * 3000, b"-1", b"1e999"),
    *(b"99999999999", b"nan", b"null", b"\xe4", "\ufeff".encode(), b"../x", b"%s", b"Exif\0\0"),
    struct.pack("<I", 2**31),
]
VALUES = [
    *(None, True, -1, 0, 1, 7, 2**63, 1e308, -0.5, "", " ", "x", "../x", "a/b", "R&D", "\ud800"),
    *([], {}, [[]], [None], ["x", "x"], {"x": {}}, {"": None}, "good", "2026-13-40", [1] * 50),
]
NAMES = [
    *(b"a.png", b"-x.png", b"\xe4.png", b"\xff\xfe.PNG", "数据.png".encode(), b"a b'\"$HOME.png"),
    *(
        b"new\nline.png",
        b"tab\t.png",
        b"x" * 251 + b".png",
        b"%00.png",
        b"a,b.png",
        b".png",
        b"a..",
    ),
    *(b"a.png.png", b"con.png", b"~", b"{key}.png", b"\x1b[31m.png", b"a.jp2", b"a.TIFF"),
]


def choose(generator: Generator, values: list[Any]) -> Any:
    return values[int(generator.integers(len(values)))]


def mutated(generator: Generator, content: bytes) -> bytes:
    """Some bytes flipped, cut, doubled, replaced or put in."""
    for _ in range(int(generator.integers(1, 5))):
        start = int(generator.integers(len(content) + 1))
        stop = min(len(content), start + int(generator.integers(1, 40)))
        piece = choose(
            generator,
            [
                generator.bytes(stop - start),
                bytes(byte ^ (1 << int(generator.integers(8))) for byte in content[start:stop]),
                content[start:stop] * 2,
                choose(generator, TOKENS),
            ],
        )
        content = content[:start] + piece + content[stop:]
        if generator.random() < 0.1:
            content = content[: int(generator.integers(len(content) + 1))]
    return content


def altered(generator: Generator, value: Any) -> Any:
    """A value of JSON's kinds with something in it replaced, taken away or put in."""
    if isinstance(value, dict) and value and generator.random() < 0.85:
        key = choose(generator, list(value))
        if generator.random() < 0.12:
            return {name: part for name, part in value.items() if name != key}
        if generator.random() < 0.08:
            return value | {choose(generator, ["x", "", "__class__"]): choose(generator, VALUES)}
        return value | {key: altered(generator, value[key])}
    if isinstance(value, list) and value and generator.random() < 0.7:
        place = int(generator.integers(len(value)))
        return [*value[:place], altered(generator, value[place]), *value[place + 1 :]]
    return choose(generator, VALUES)


def picture(generator: Generator, *, suffixes: list[str]) -> tuple[str, bytes]:
    """A small picture of some mode, size and orientation in a file format."""
    height, width = (int(length) for length in generator.integers(1, 24, 2))
    mode = choose(generator, ["L", "RGB", "RGBA", "P", "1", "I;16", "LA", "CMYK", "F"])
    pixels = generator.integers(0, 256, (height, width, 3)).astype(np.uint8)
    drawn = Image.fromarray(pixels)
    drawn = Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 200) if mode == "I;16" else drawn
    exif = Image.Exif()
    exif[0x0112] = int(generator.integers(0, 11))
    content, form = BytesIO(), choose(generator, suffixes)
    try:
        drawn.convert(drawn.mode if mode == "I;16" else mode).save(content, format=form, exif=exif)
    except (OSError, ValueError, TypeError):  # a mode that this format cannot hold
        content = BytesIO()
        Image.fromarray(pixels).save(content, format=form)
    return form.lower(), content.getvalue()


def images(generator: Generator, folder: Path) -> Callable[[], object]:
    form, content = picture(
        generator, suffixes=["PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "PPM"]
    )
    path = folder / f"a.{form}"
    path.write_bytes(mutated(generator, content))

    def look() -> None:
        assert read_image(path).shape[:2] == picture_shape(path)
        find_pictures(folder)

    return look


def masks(generator: Generator, folder: Path) -> Callable[[], object]:
    form, content = picture(generator, suffixes=["PNG", "TIFF", "GIF", "BMP"])
    path = folder / f"a.{form}"
    path.write_bytes(mutated(generator, content))
    shape = (int(generator.integers(1, 24)), int(generator.integers(1, 24)))

    def look() -> None:
        found = decode_mask(path.read_bytes(), path)
        assert found.dtype == bool
        assert decode_mask(path.read_bytes(), path, shape=shape).shape == shape

    return look


def maps(generator: Generator, folder: Path) -> Callable[[], object]:
    content = BytesIO()
    np.save(content, generator.random((3, 4)).astype(choose(generator, ["f4", "f8", "u1"])))
    form, drawn = picture(generator, suffixes=["PNG", "TIFF"])
    name, whole = choose(generator, [("a.npy", content.getvalue()), (f"a.{form}", drawn)])
    (folder / name).write_bytes(mutated(generator, whole))
    return lambda: decode_map((folder / name).read_bytes(), folder / name)


def sheets(generator: Generator, folder: Path) -> Callable[[], object]:
    write_png(folder / "1.png", np.zeros((2, 3, 3), np.uint8))
    columns = ["image_path", "label", "label_index", "split", "mask_path", "defect_type"]
    cells = [
        "1.png",
        "",
        "normal",
        "abnormal",
        "normal_test",
        "0",
        "1",
        "train",
        "test",
        "val",
        "R&D",
    ]
    lines = [
        [str(choose(generator, cells)) for _ in range(int(generator.integers(3, 8)))]
        for _ in range(int(generator.integers(0, 5)))
    ]
    text = "\n".join(",".join(line) for line in [columns, ["1.png", "normal"], *lines]).encode()
    (folder / "part.csv").write_bytes(
        mutated(generator, text) if generator.random() < 0.7 else text
    )
    return lambda: read_sheet(folder, "part")


@cache
def whole_configuration() -> dict[str, Any]:
    return merged(read("config/demo.yaml"), {})


def configurations(generator: Generator, folder: Path) -> Callable[[], object]:
    values = whole_configuration()
    for _ in range(int(generator.integers(1, 4))):
        key = choose(generator, list(values))
        values = values | {key: altered(generator, values[key])}
    (folder / "case.json").write_text(json.dumps(values))
    return lambda: check(load_config(values))


def written(generator: Generator, folder: Path) -> Callable[[], object]:
    """YAML of banks and splits."""
    bank = {"nut": {"good": ["a nut"], "contamination": ["dirt"], "R&D (x)": ["a dent", "a hole"]}}
    split = {"nut": {"train_defects": ["test/dent/1"], "train_normals": ["train/good/1"]}}
    value = choose(generator, [bank, split])
    value = {"nut": altered(generator, value["nut"])}
    text = yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "replace")
    path = folder / "case.yaml"
    path.write_bytes(mutated(generator, text) if generator.random() < 0.5 else text)
    reader = choose(generator, [read_bank, lambda one: read_split(one, "nut")])

    def look() -> None:
        read_yaml(path, "file")
        reader(path)

    return look


def names(generator: Generator, folder: Path) -> Callable[[], object]:
    for _ in range(int(generator.integers(1, 5))):
        stem = choose(generator, NAMES)
        name = stem if generator.random() < 0.3 else generator.bytes(3).replace(b"/", b"") + stem
        parts = [b"nut", choose(generator, [b"train", b"test"]), choose(generator, [b"good", name])]
        place = folder / os.fsdecode(b"/".join(parts).replace(b"\0", b"_"))
        target = place / os.fsdecode(name.replace(b"\0", b"_"))
        try:
            place.mkdir(parents=True, exist_ok=True)
            kind = int(generator.integers(5))
            if kind == 0:
                target.symlink_to(
                    choose(generator, ["nothing", ".", "..", str(folder), target.name])
                )
            elif kind == 1:
                target.mkdir()
            elif kind == 2:
                target.write_bytes(b"no picture")
            else:
                Image.new("RGB", (3, 2)).save(target, format="PNG")
        except (OSError, ValueError):  # no name for this file system, or there already
            continue

    def look() -> None:
        digest_files([folder], folder)
        json.dumps([vars(one)["key"] for one in find_pictures(folder)]).encode()
        picture_files(folder)
        read_mvtec(folder, "nut")

    return look


def labels(generator: Generator, folder: Path) -> Callable[[], object]:
    """One of two labels, or its picture, is damaged: the other's picture can be opened all the
    same, and an export is whole or does not exist. Pictures are turned, so that exports decode.
    """
    turned = Image.Exif()
    turned[0x0112] = 3
    (folder / "photos").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (16, 12), (90, 90, 90)).save(folder / f"photos/{name}.png", exif=turned)
    click = ClickAction(kind="click", row=5, column=6, positive=True)

    def desk() -> Desk:
        pictures = find_pictures(folder / "photos")
        paths = {one.key: one.path for one in pictures}
        return Desk(pictures, labels=folder / "labels", model=FakeModel(paths.__getitem__))

    for name in ("a", "b"):
        session = desk().act(name, "ann", 0, click)
        desk().save(name, "ann", session["revision"], "done")
    damaged = ["labels/a.json", "labels/a.png", "labels/.journal/a.jsonl", "photos/a.png"]
    file = folder / choose(generator, damaged)
    content = file.read_bytes()
    if file.suffix == ".json" and generator.random() < 0.7:
        file.write_text(json.dumps(altered(generator, json.loads(content))))
    elif file.suffix == ".jsonl" and generator.random() < 0.7:
        lines = [json.loads(line) for line in content.splitlines()]
        lines[0] = altered(generator, lines[0])
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    else:
        file.write_bytes(mutated(generator, content))
    form = choose(generator, list(FORMATS))

    def look() -> None:
        opened = desk()
        assert opened.open("b", "ann")["revision"] == 2
        opened.rows()
        try:
            export_labels(
                folder / "labels", images=folder / "photos", output=folder / "out", form=form
            )
        except InputError:
            assert {one.name for one in folder.iterdir()} == {"labels", "photos"}
            raise
        exported = [one.stem for one in (folder / "out").rglob("*.png")]
        saved = saved_labels(folder / "labels")
        finished = {key for key, facts in saved.items() if facts["state"] in ("done", "normal")}
        assert {name.removesuffix("_mask") for name in exported} == finished
        opened.open("a", "ann")
        opened.mask("a")

    return look


FAMILIES: dict[str, Case] = {
    one.__name__: one
    for one in (images, masks, maps, sheets, configurations, written, names, labels)
}


@contextmanager
def limited(seconds: int):
    def late(*_: object) -> None:
        raise TimeoutError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def refusal(action: Callable[[], object]) -> str | None:
    """The line that a command ends with which does this; None when it ends well."""
    errors = StringIO()
    try:
        with redirect_stderr(errors), redirect_stdout(StringIO()), limited(LONGEST_S):
            run(action)
    except SystemExit as ended:
        assert ended.code == BAD_INPUT
        lines = [line for line in errors.getvalue().splitlines() if ": passed over, " not in line]
        assert len(lines) == 1
        return lines[0]
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return None


def state(folder: Path) -> str:
    """A digest of all that lies below a folder."""
    sums = sha256()
    for place, folders, files in os.walk(os.fsencode(folder)):
        folders.sort()
        for name in sorted([*files, *folders]):
            path = os.path.join(place, name)  # noqa: PTH118
            sums.update(path.removeprefix(os.fsencode(folder)) + b"\0")
            if os.path.islink(path):  # noqa: PTH114
                sums.update(os.readlink(path))  # noqa: PTH115
            elif name in files:
                sums.update(Path(os.fsdecode(path)).read_bytes())
    return base64.b64encode(sums.digest()).decode()


@pytest.mark.parametrize("family", FAMILIES)
def test_what_nobody_meant_is_read_or_refused_in_one_line(tmp_path: Path, family: str) -> None:
    count = -(-CASES // len(FAMILIES))
    seen: set[str] = set()
    refused = 0
    for number in range(count):
        generator = np.random.default_rng([list(FAMILIES).index(family), number])
        folder = tmp_path / str(number)
        folder.mkdir()
        action = FAMILIES[family](generator, folder)
        seen.add(state(folder))
        try:
            line = refusal(action)
        except BaseException as error:
            error.add_note(f"{family} {number}")
            raise
        if line is not None:
            refused += 1
            assert line.startswith("error: "), (family, number, line)
            assert 10 < len(line) < LONGEST_LINE, (family, number, line)
        parts = [path for path in folder.rglob("*") if path.name.endswith(".part")]
        assert not parts, (family, number, parts)
    print(f"{family}: {count} cases, {len(seen)} distinct, {refused} refused")
    assert len(seen) >= 0.8 * count
