"""Maps in files: every format gives the scores that were written, and nothing else passes."""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from adclick.metrics.map_files import Pair, decode_map, read_pairs
from adclick.residuals.maps import resize_map
from adclick.run.errors import InputError

SCORES = np.random.default_rng(0).random((6, 9))


def numpy_bytes(array) -> bytes:
    content = BytesIO()
    np.save(content, array)
    return content.getvalue()


def tiff_bytes(array) -> bytes:
    return cv2.imencode(".tiff", array)[1].tobytes()


def picture_bytes(array, mode=None, kind="PNG", **options) -> bytes:
    content = BytesIO()
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(content, format=kind, **options)
    return content.getvalue()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int16", "uint8", "bool"])
def test_a_numpy_map_is_what_was_saved(dtype) -> None:
    array = (100 * SCORES).astype(dtype)
    for shaped in (array, array[None], array[None, None], array[..., None]):
        read = decode_map(numpy_bytes(shaped), Path("a.npy"))
        assert read.dtype == array.dtype
        assert np.array_equal(read, array)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint16", "uint8"])
def test_a_tiff_map_is_what_was_saved(dtype) -> None:
    array = (100 * SCORES).astype(dtype)
    read = decode_map(tiff_bytes(array), Path("a.TIF"))
    assert read.dtype == array.dtype
    assert np.array_equal(read, array)


@pytest.mark.parametrize("dtype", ["uint16", "uint8"])
def test_a_grey_png_map_is_what_was_saved(dtype) -> None:
    array = (200 * SCORES).astype(dtype)
    assert np.array_equal(decode_map(picture_bytes(array), Path("a.png")), array)


GREY = (200 * SCORES).astype(np.uint8)
PAGE = Image.fromarray(SCORES.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.png", picture_bytes(GREY, "RGB"), "one score a pixel"),
        ("a.png", picture_bytes(GREY, "P"), "one score a pixel"),
        ("a.png", picture_bytes(GREY, "LA"), "one score a pixel"),
        ("a.png", picture_bytes(GREY)[:-30], "a.png"),
        ("a.tiff", picture_bytes(GREY, "RGB", "TIFF"), "one score a pixel"),
        ("a.tiff", tiff_bytes(SCORES)[:-90], "broken TIFF"),
        ("a.tiff", b"", "broken TIFF"),
        (
            "a.tif",
            picture_bytes(np.asarray(PAGE), None, "TIFF", save_all=True, append_images=[PAGE]),
            "2 pages",
        ),
        ("a.npy", numpy_bytes(SCORES)[:-8], "not a readable .npy"),
        ("a.npy", b"PK\x03\x04", "not a readable .npy"),
        ("a.npy", numpy_bytes(np.array([{}], dtype=object)), "not a readable .npy"),
        ("a.npy", numpy_bytes(np.ones((4, 5, 3))), r"shape \(4, 5, 3\)"),
        ("a.npy", numpy_bytes(np.ones(5)), r"shape \(5,\)"),
        ("a.npy", numpy_bytes(np.ones((0, 5))), r"shape \(0, 5\)"),
        ("a.npy", numpy_bytes(SCORES.astype(complex)), "complex"),
    ],
)
def test_what_is_no_map_is_refused_by_name(name, content, words, capfd) -> None:
    with pytest.raises(InputError, match=words) as caught:
        decode_map(content, Path(name))
    assert str(caught.value).startswith(name)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [("float16", "float32"), ("float64", "float64"), ("uint16", "float32"), ("int32", "float64")],
)
def test_no_two_scores_become_equal(tmp_path: Path, dtype, kept) -> None:
    path = tmp_path / "good" / "a.npy"
    path.parent.mkdir()
    largest = 2**31 - 1 if dtype == "int32" else 2**11
    array = np.array([[largest, largest - 1, 0]]).astype(dtype)
    np.save(path, array)
    (loaded,) = read_pairs([Pair("good/a", path, None, None)])
    assert loaded.scores.dtype == kept
    assert np.array_equal(loaded.scores, array)


def test_resizing_is_bilinear_between_pixel_centres() -> None:
    # Doubled, a centre lies a quarter of the way between two old ones; the border is repeated.
    expected = [[0, 0.25, 0.75, 1]]
    for dtype in (np.float32, np.float64):
        resized = resize_map(np.array([[0, 1]], dtype), (1, 4))
        assert resized.dtype == dtype
        assert resized == pytest.approx(np.array(expected))


def test_all_good_pictures_that_cannot_be_read_are_named_at_once(tmp_path: Path) -> None:
    pairs = []
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", SCORES)
        (tmp_path / f"{name}.png").write_bytes(b"no picture")
        files = (tmp_path / f"{name}.npy", None, tmp_path / f"{name}.png")
        pairs.append(Pair(f"good/{name}", *files))
    with pytest.raises(InputError, match=r"files that cannot be used: 2 \(.*a\.png.*b\.png"):
        list(read_pairs(pairs))
