"""Pictures and masks between files and arrays."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile, PngImagePlugin
from PIL.EpsImagePlugin import EpsImageFile

from adclick.data.images import (
    decode_image,
    decode_mask,
    deep_maximum,
    has_deep_colours,
    is_upright,
    picture_files,
    picture_shape,
    read_image,
    read_mask,
    resize_image,
    resize_mask,
    upright_png,
    write_png,
)
from adclick.run.errors import InputError
from adclick.run.settings.data import Resize

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


def encoded(form: str) -> bytes:
    content = BytesIO()
    Image.fromarray(RAMP).save(content, format=form)
    return content.getvalue()


def save(path: Path, picture: Image.Image, **options: object) -> Path:
    picture.save(path, **options)
    return path


def test_colours_come_back_in_the_order_red_green_blue(tmp_path: Path) -> None:
    pixels = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert np.array_equal(read_image(save(tmp_path / "a.png", Image.fromarray(pixels))), pixels)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1"])
def test_every_mode_of_a_grey_picture_gives_three_equal_channels(tmp_path: Path, mode: str) -> None:
    black_and_white = np.where(RAMP > 90, 255, 0).astype(np.uint8)
    path = save(tmp_path / "grey.png", Image.fromarray(black_and_white).convert(mode))
    assert np.array_equal(read_image(path), np.repeat(black_and_white[:, :, None], 3, axis=2))


def test_sixteen_bits_become_eight_by_division_by_257(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 257, 65535, 30000]], np.uint16)
    image = read_image(save(tmp_path / "deep.png", Image.fromarray(values)))
    assert image[0, :, 0].tolist() == [0, 0, 1, 1, 255, 117]


@pytest.mark.parametrize(("bits", "white"), [(8, 255), (12, 4095), (None, 65535)])
def test_white_is_the_cameras(tmp_path: Path, bits: int | None, white: int) -> None:
    ramp = np.linspace(0, white, 256).round().astype(np.uint16)[None]
    path = save(tmp_path / "deep.png", Image.fromarray(ramp))
    assert np.array_equal(read_image(path, bits=bits)[0, :, 0], np.arange(256))
    assert deep_maximum(path) == white
    with pytest.raises(
        InputError, match="pixels of 7 bits have 0 to 127; set datasets.<name>.bits"
    ):
        read_image(path, bits=7)


def test_only_deep_files_have_a_depth(tmp_path: Path) -> None:
    assert deep_maximum(save(tmp_path / "a.png", Image.fromarray(RAMP))) is None
    assert deep_maximum(tmp_path / "none.png") is None


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    image = read_image(save(tmp_path / "turned.png", Image.fromarray(pixels), exif=exif))
    assert image.shape == (16, 8, 3)
    assert image[:8].min() == 255
    assert image[8:].max() == 0


def exif_bytes(kind: int, value: bytes) -> bytes:
    """EXIF whose only tag is the orientation, of one of TIFF's types."""
    size = {2: 1, 3: 2, 4: 4}.get(kind, 8)
    entry = struct.pack("<HHI4s", 0x0112, kind, len(value) // size, value[:4].ljust(4, b"\0"))
    if len(value) > 4:
        entry = entry[:8] + struct.pack("<I", 26)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + b"\0" * 4 + value


ODD_ORIENTATIONS = {
    "nine": exif_bytes(3, struct.pack("<H", 9)),
    "text": exif_bytes(2, b"6\0"),
    "share": exif_bytes(5, struct.pack("<II", 6, 1)),
    "half": exif_bytes(5, struct.pack("<II", 13, 2)),
    "nothing": exif_bytes(5, struct.pack("<II", 6, 0)),
    "several": exif_bytes(3, struct.pack("<HH", 6, 8)),
    "damaged": b"Exif\0\0II*\0\xff\xff\xff\xff",
}


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 10))
def test_the_shape_in_the_header_is_that_of_the_picture(
    tmp_path: Path, orientation: int, suffix: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(RAMP).convert("RGB"), exif=exif)
    assert picture_shape(path) == read_image(path).shape[:2]
    assert is_upright(path) == (orientation in (1, 9))
    path.write_bytes(b"no picture")
    with pytest.raises(InputError, match=path.name):
        picture_shape(path)


@pytest.mark.parametrize("exif", ODD_ORIENTATIONS.values(), ids=ODD_ORIENTATIONS)
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_an_orientation_of_another_type_is_none_or_refused(
    tmp_path: Path, exif: bytes, suffix: str
) -> None:
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(RAMP).convert("RGB"), exif=exif)
    try:
        shape = picture_shape(path)
    except InputError as error:
        assert str(error).startswith(str(path))
    else:
        assert shape == read_image(path).shape[:2]


def test_a_picture_that_is_too_large_is_told_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    path.write_bytes(png_claiming(60_000, 60_000))
    for read in (read_image, picture_shape):
        with pytest.raises(InputError, match="megapixels: cut it") as caught:
            read(path)
        assert "bomb" not in str(caught.value)


def test_what_is_no_picture_is_counted_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "photos"
    write_png(elsewhere / "linked.png", np.zeros((2, 3), bool))
    write_png(folder / "a.png", np.zeros((2, 3), bool))
    save(folder / "grey.pgm", Image.fromarray(RAMP))
    (folder / "wave.jp2").write_bytes(b"not known")
    (folder / "line").symlink_to(elsewhere)
    (folder / "gone.png").symlink_to(tmp_path / "nothing.png")
    (folder / "again").symlink_to(folder)
    (folder / ".hidden.png").write_bytes(b"")
    assert list(picture_files(folder)) == ["a", "grey", "line/linked"]
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"{folder}: passed over, no pictures: wave.jp2",
        f"{folder}: passed over, links to nothing: gone.png",
        f"{folder}: passed over, folders that lead back to themselves: again",
    ]


@pytest.mark.parametrize(("suffix", "kept"), [("png", 0.6), ("jpg", 0.9), ("png", 0.02)])
def test_a_truncated_file_is_named(tmp_path: Path, suffix: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    path = save(tmp_path / f"cut.{suffix}", Image.fromarray(noise))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match=r"cut\.") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + 30 * b"x"])
def test_what_is_no_picture_is_named(content: bytes) -> None:
    with pytest.raises(InputError, match=r"odd\.png: "):
        decode_image(content, Path("odd.png"))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_image(path)


def test_pixels_that_no_rule_fits_are_refused(tmp_path: Path) -> None:
    real = Image.fromarray(np.ones((2, 2), np.float32))
    with pytest.raises(InputError, match="floating-point"):
        read_image(save(tmp_path / "real.tiff", real))
    wide = Image.fromarray(np.array([[70000, 1]], np.int32))
    with pytest.raises(InputError, match="1 to 70000, but pixels of 16 bits have 0 to 65535"):
        read_image(save(tmp_path / "wide.tiff", wide))


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_masks_in_a_lossy_format_are_refused_by_their_content(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"mask.{suffix}", Image.fromarray(RAMP))
    renamed = path.rename(tmp_path / "mask.png")
    with pytest.raises(InputError, match="save it again as PNG"):
        read_mask(renamed)


def test_a_tiff_mask_compressed_as_jpeg_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "mask.tiff", Image.fromarray(RAMP), compression="jpeg")
    with pytest.raises(InputError, match="blurred"):
        read_mask(path)


def test_a_mask_has_the_images_shape_upright_and_on_its_side(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    mask = Image.fromarray(np.full((3, 5), 255, np.uint8))
    upright, turned = save(tmp_path / "a.png", mask), save(tmp_path / "b.png", mask, exif=exif)
    assert decode_mask(upright.read_bytes(), upright, shape=(3, 5)).shape == (3, 5)
    assert decode_mask(turned.read_bytes(), turned, shape=(5, 3)).shape == (5, 3)
    for path, shape in ((upright, (5, 3)), (turned, (3, 5)), (upright, (3, 6))):
        with pytest.raises(InputError, match=rf"the image has {shape[1]} x {shape[0]}"):
            decode_mask(path.read_bytes(), path, shape=shape)


def png_claiming(
    width: int, height: int, kind: tuple[int, int] = (1, 0), content: bytes = bytes(100_000)
) -> bytes:
    """A PNG whose header claims a size, bits and a colour type, which zeros do not fill."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checked = name + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, *kind, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(content))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (png_claiming(60_000, 1_000), "60000 x 1000 pixels, the image has 30 x 20"),
        (png_claiming(60_000, 60_000), "megapixels: cut it"),
        (encoded("JPEG"), "blurred edges"),
        (encoded("EPS"), "not a picture in a known format"),
    ],
)
def test_masks_are_refused_by_their_header(content: bytes, says: str, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("decoded")

    for plugin in (ImageFile.ImageFile, PngImagePlugin.PngImageFile, EpsImageFile):
        monkeypatch.setattr(plugin, "load", fail)
    with pytest.raises(InputError, match=says):
        decode_mask(content, Path("start mask"), shape=(20, 30))


def slow_bilinear(image: np.ndarray, size_px: int) -> np.ndarray:
    height, width = image.shape[:2]
    result = np.zeros((size_px, size_px, 3))
    for row in range(size_px):
        for column in range(size_px):
            y = min(max((row + 0.5) * height / size_px - 0.5, 0), height - 1)
            x = min(max((column + 0.5) * width / size_px - 0.5, 0), width - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = image[top, left] * (1 - x + left) + image[top, right] * (x - left)
            lower = image[bottom, left] * (1 - x + left) + image[bottom, right] * (x - left)
            result[row, column] = upper * (1 - y + top) + lower * (y - top)
    return result


@pytest.mark.parametrize(("shape", "size_px"), [((5, 9), 12), ((40, 30), 7), ((6, 6), 6)])
def test_pictures_are_resized_bilinearly(shape: tuple[int, int], size_px: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    resized = resize_image(image, (size_px, size_px), "published")
    assert np.abs(resized - slow_bilinear(image.astype(float), size_px)).max() <= 1


def test_resizing_to_the_same_size_gives_a_copy() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    resize_image(image, (4, 4), "published")[:] = 9
    assert image.max() == 0


@pytest.mark.parametrize(("shape", "size_px"), [((5, 9), 12), ((40, 30), 8), ((7, 7), 7)])
def test_masks_take_the_pixel_under_each_centre(shape: tuple[int, int], size_px: int) -> None:
    mask = np.random.default_rng(2).random(shape) < 0.4
    expected = [
        [
            mask[int((row + 0.5) * shape[0] / size_px), int((column + 0.5) * shape[1] / size_px)]
            for column in range(size_px)
        ]
        for row in range(size_px)
    ]
    assert np.array_equal(resize_mask(mask, (size_px, size_px), "published"), np.array(expected))


@pytest.mark.parametrize("resize", ["published", "area"])
def test_a_defect_never_vanishes_by_resizing(resize: Resize) -> None:
    for row, column in [(0, 0), (30, 51), (99, 79)]:
        mask = np.zeros((100, 80), bool)
        mask[row, column] = True
        resized = resize_mask(mask, (8, 8), resize)
        assert np.argwhere(resized).tolist() == [[row * 8 // 100, column * 8 // 80]]
    assert not resize_mask(np.zeros((100, 80), bool), (8, 8), resize).any()


def test_area_reads_every_row_of_a_picture_that_shrinks() -> None:
    image = np.zeros((1260, 40, 3), np.uint8)
    image[::5] = 255  # every fifth row; a pixel of 256 covers 4.9 of them
    shrunk = resize_image(image, (256, 256), "area")
    assert shrunk.min() > 40
    assert resize_image(image, (256, 256), "published").min() == 0
    rows = image[:1024:4].copy()
    assert np.array_equal(
        resize_image(np.repeat(rows, 4, axis=0), (256, 256), "area")[:, 0], rows[:, 0]
    )


@pytest.mark.parametrize("shape", [(60, 50), (30, 200), (7, 9)])
def test_area_is_the_same_where_nothing_shrinks(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(5)
    image = generator.integers(0, 256, (*shape, 3), dtype=np.uint8)
    mask = generator.random(shape) < 0.3
    size_px = 200
    assert np.array_equal(
        resize_image(image, (size_px, size_px), "area"),
        resize_image(image, (size_px, size_px), "published"),
    )
    assert np.array_equal(
        resize_mask(mask, (size_px, size_px), "area"),
        resize_mask(mask, (size_px, size_px), "published"),
    )


def components(mask: np.ndarray) -> int:
    return cv2.connectedComponents(mask.astype(np.uint8))[0] - 1


def test_thin_defects_stay_in_one_piece_with_area() -> None:
    generator = np.random.default_rng(6)
    published = 0
    for _ in range(60):
        ends = generator.integers(0, [300, 500], (4, 2))
        drawn = np.zeros((500, 300), np.uint8)
        cv2.polylines(drawn, [ends.astype(np.int32)], isClosed=False, color=1)
        cv2.circle(drawn, tuple(map(int, ends[0])), 20, 1, -1)
        mask = drawn > 0
        assert components(resize_mask(mask, (64, 64), "area")) == 1
        published += components(resize_mask(mask, (64, 64), "published"))
    assert published > 120


def test_solid_defects_keep_their_area() -> None:
    mask = np.zeros((512, 512), bool)
    mask[100:301, 51:402] = True
    assert resize_mask(mask, (64, 64), "area").mean() == pytest.approx(mask.mean(), rel=0.05)


def test_a_written_png_reads_back(tmp_path: Path) -> None:
    image = np.random.default_rng(3).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    write_png(tmp_path / "new" / "ä b'.png", image)
    assert np.array_equal(read_image(tmp_path / "new" / "ä b'.png"), image)
    write_png(tmp_path / "grey.png", image[:, :, 0])
    assert np.array_equal(read_image(tmp_path / "grey.png")[:, :, 1], image[:, :, 0])
    mask = image[:, :, 0] > 99
    write_png(tmp_path / "mask.png", mask)
    assert np.array_equal(read_mask(tmp_path / "mask.png"), mask)
    assert set(np.unique(read_image(tmp_path / "mask.png"))) == {0, 255}


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.png"
    write_png(path, np.zeros((3, 3), bool))
    before = path.read_bytes()

    def fail(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:10])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        write_png(path, np.ones((3, 3), bool))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_equal_arrays_give_equal_bytes(tmp_path: Path) -> None:
    image = np.random.default_rng(4).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name, image)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert Image.open(BytesIO((tmp_path / "a.png").read_bytes())).format == "PNG"


DEEP = np.random.default_rng(7).integers(0, 4096, (5, 7, 3), dtype=np.uint16)


def deep_file(path: Path, pixels: np.ndarray = DEEP) -> Path:
    turned = pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    path.write_bytes(cv2.imencode(path.suffix, turned)[1].tobytes())
    return path


def png_of_grey_and_opacity(pixels: np.ndarray) -> bytes:
    """A 16-bit PNG [row column (grey, opacity)]."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return png_claiming(pixels.shape[1], pixels.shape[0], kind=(16, 4), content=rows)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_deep_colours_keep_their_low_byte(tmp_path: Path, suffix: str) -> None:
    path = deep_file(tmp_path / f"a{suffix}")
    expected = np.rint(DEEP / 4095 * 255)
    assert np.array_equal(read_image(path, bits=12), expected)
    assert deep_maximum(path) == DEEP.max()
    assert has_deep_colours(path)
    with pytest.raises(InputError, match="pixels of 8 bits have 0 to 255"):
        read_image(path, bits=8)
    with pytest.raises(InputError, match="a mask with 16 bits a colour; save it again with 8"):
        read_mask(path)
    assert not has_deep_colours(save(tmp_path / "b.png", Image.fromarray(RAMP).convert("RGB")))


def test_opacity_is_no_brightness_of_deep_pictures(tmp_path: Path) -> None:
    opaque = np.full((5, 7, 1), 65535, np.uint16)
    path = deep_file(tmp_path / "a.png", np.concatenate([DEEP, opaque], axis=2))
    assert np.array_equal(read_image(path, bits=12), np.rint(DEEP / 4095 * 255))
    grey = tmp_path / "grey.png"
    grey.write_bytes(png_of_grey_and_opacity(np.concatenate([DEEP[:, :, :1], opaque], axis=2)))
    assert np.array_equal(read_image(grey, bits=12)[:, :, 0], np.rint(DEEP[:, :, 0] / 4095 * 255))
    assert deep_maximum(path) == DEEP.max() and deep_maximum(grey) == DEEP[:, :, 0].max()


def in_eighths(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """As Pillow turns the same picture of 8 bits."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = BytesIO()
    Image.fromarray(pixels).save(content, format="PNG", exif=exif)
    return decode_image(content.getvalue(), Path("a.png"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_colours_are_turned_and_kept_upright(tmp_path: Path, orientation: int) -> None:
    path = deep_file(tmp_path / "a.png")
    exif = exif_bytes(3, struct.pack("<H", orientation))[6:]
    head, content = path.read_bytes()[:33], path.read_bytes()[33:]
    chunk = b"eXIf" + exif
    length, check = struct.pack(">I", len(exif)), struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(head + length + chunk + check + content)
    tiff = tmp_path / "b.tiff"
    tags = [(0x0112, "H", 1, orientation, True)]
    tifffile.imwrite(tiff, DEEP, photometric="rgb", extratags=tags)
    expected = in_eighths(np.rint(DEEP / 4095 * 255).astype(np.uint8), orientation)
    for file in (path, tiff):
        assert np.array_equal(read_image(file, bits=12), expected)
        assert picture_shape(file) == expected.shape[:2]
        kept = tmp_path / "kept.png"
        kept.write_bytes(upright_png(file))
        assert is_upright(kept)
        assert np.array_equal(read_image(kept, bits=12), expected)


def test_damaged_deep_colours_are_named(tmp_path: Path) -> None:
    path = deep_file(tmp_path / "cut.png")
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(InputError, match=r"cut\.png: cannot be decoded"):
        read_image(path)


def test_what_a_models_bits_do_not_hold_is_white_and_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(np.array([[0, 127, 300]], np.uint16)))
    for _ in range(2):
        assert read_image(path, bits=7, clipped=True)[0, :, 0].tolist() == [0, 255, 255]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning:")
    assert "set datasets.<name>.bits, train and export again" in line


def test_deep_colours_in_planes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    planes = np.ascontiguousarray(DEEP.transpose(2, 0, 1))
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate")
    with pytest.raises(InputError, match="save it as 16-bit RGB"):
        read_image(path)


def test_wide_integers_that_fit_keep_their_sixteen_bits(tmp_path: Path) -> None:
    values = np.array([[0, 1, 65535], [300, 4095, 2]], np.int32)
    path = save(tmp_path / "a.tiff", Image.fromarray(values))
    assert np.array_equal(np.asarray(Image.open(BytesIO(upright_png(path)))), values)
    negative = save(tmp_path / "b.tiff", Image.fromarray(values - 1))
    with pytest.raises(InputError, match="values from -1"):
        upright_png(negative)
