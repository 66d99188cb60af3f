"""Pictures and masks between files and arrays: uint8 RGB and bool, decoded in one place."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, UInt8, UInt16
from PIL import ExifTags, Image, ImageOps
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PLANAR_CONFIGURATION, TiffImageFile

from adclick.data.mask_values import defect_pixels
from adclick.run.artifacts import replacing
from adclick.run.errors import InputError
from adclick.run.folders import passed_over, shown, walk
from adclick.run.settings.data import MaskValues, Resize

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
# What networks that were trained on ImageNet take pictures to be.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LOSSLESS_FORMATS = frozenset({"BMP", "GIF", "PNG", "PPM", "TIFF"})
# No other decoder of Pillow sees a file: PostScript, say, would be run by Ghostscript.
FORMATS = tuple(sorted(LOSSLESS_FORMATS | {"JPEG", "WEBP"}))
PNG_MODES = frozenset({"1", "I;16", "I;16B", "L", "LA", "P", "RGB", "RGBA"})
SIDEWAYS = range(5, 9)  # EXIF orientations that swap height and width
MIRRORED_OR_TURNED = range(2, 9)
# Above half of its limit Pillow warns of an attack; above it, `_damage_told` says what to do.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def picture_files(folder: Path, *, apart_from: Path | None = None) -> dict[str, Path]:
    """The picture files below a folder, in order, by their paths there without suffix.

    What starts with a dot, and what lies below `apart_from`, is left out; what else is passed over
    is counted and named on the standard error. InputError when there is no picture, or two have one
    name.
    """
    files: dict[str, Path] = {}
    for path in list_pictures(folder, apart_from=apart_from):
        key = path.relative_to(folder).with_suffix("").as_posix()
        if key in files:
            raise InputError(
                f"{shown(path)}: {shown(files[key].name)} has the same name; rename one of them"
            )
        files[key] = path
    return files


def list_pictures(folder: Path, *, apart_from: Path | None = None) -> list[Path]:
    """The same files, also those that share a name but for its suffix."""
    if not folder.is_dir():
        raise InputError(f"{shown(folder)}: no such folder; give a folder of pictures")
    found = walk(folder, apart_from=apart_from)
    pictures = [path for path in found.files if path.suffix.lower() in IMAGE_SUFFIXES]
    known = set(pictures)
    others = [path for path in found.files if path not in known]
    for line in passed_over(folder, {"no pictures": others, **found.lost}):
        print(line, file=sys.stderr)
    if not pictures:
        raise InputError(f"{shown(folder)}: no picture in it ({', '.join(IMAGE_SUFFIXES)})")
    return pictures


def read_image(
    path: Path, *, bits: int | None = None, clipped: bool = False
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture in a file, as RGB.

    Grey, palette, CMYK and 16-bit files become 8-bit RGB: of a 16-bit file the `bits` that the
    camera had, all 16 without it. Transparency is dropped, EXIF orientation applied, only the first
    frame read. Raises InputError when the file is missing, broken or truncated, or has values of
    more bits; those are white if `clipped`, and a warning says so once.
    """
    return decode_image(read_bytes(path), path, bits=bits, clipped=clipped)


def read_mask(
    path: Path, *, mask_values: MaskValues | None = None
) -> Bool[np.ndarray, "height width"]:
    """The defect mask in a file: true where `defect_pixels` finds a defect.

    Raises InputError as `read_image` and `defect_pixels` do, and for formats that lose detail, such
    as JPEG: their smeared edges would move the mask's border.
    """
    return decode_mask(read_bytes(path), path, mask_values=mask_values)


def read_bytes(path: Path) -> bytes:
    """A file's content; InputError when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from None


def picture_shape(path: Path) -> tuple[int, int]:
    """A picture's (height, width) as `read_image` would give it, from the file's header alone."""
    with _damage_told(path), Image.open(path, formats=FORMATS) as picture:
        width, height = picture.size
        # Of a TIFF Pillow gives the size that it will have once it is decoded, and upright.
        turned = picture.format != "TIFF" and _orientation(picture) in SIDEWAYS
    return (width, height) if turned else (height, width)


def is_upright(path: Path) -> bool:
    """Whether a picture's pixels are stored as they are to be seen, neither turned nor mirrored."""
    with _damage_told(path), Image.open(path, formats=FORMATS) as picture:
        return _orientation(picture) not in MIRRORED_OR_TURNED


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8 by its standard; 1, upright, where a file says anything else."""
    value = picture.getexif().get(ExifTags.Base.Orientation)
    return next((known for known in MIRRORED_OR_TURNED if known == value), 1)


def upright_png(path: Path) -> bytes:
    """The upright picture in a file as the content of a PNG: pixels as they are stored, in as many
    bits, where PNG has such pixels, else as `read_image` gives them.
    """
    content = read_bytes(path)
    picture = _header(content, path)
    if _has_deep_colours(picture, path):
        deep = _deep_colours(picture, content, path)
        return cv2.imencode(".png", cv2.cvtColor(deep, cv2.COLOR_RGB2BGR))[1].tobytes()
    _decode(picture, path)
    if picture.mode not in PNG_MODES:
        picture = Image.fromarray(_storable(picture, path))
    png = BytesIO()
    picture.save(png, format="PNG")
    return png.getvalue()


def _storable(picture: Image.Image, path: Path) -> np.ndarray:
    """Pixels that PNG has, of a mode that it does not have."""
    if picture.mode == "I" and 0 <= np.asarray(picture).min() <= np.asarray(picture).max() < 2**16:
        return np.asarray(picture).astype(np.uint16)
    return _rgb(picture, path, 16)


def decode_image(
    content: bytes, path: Path, *, bits: int | None = None, clipped: bool = False
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture in a file's content, as `read_image`; `path` is only for the message."""
    picture = _header(content, path)
    if _has_deep_colours(picture, path):
        return _eight_bits(_deep_colours(picture, content, path), path, bits or 16, clipped=clipped)
    _decode(picture, path)
    return _rgb(picture, path, bits or 16, clipped=clipped)


def deep_maximum(path: Path) -> int | None:
    """The largest value in a 16-bit file; None when it is another, or cannot be read."""
    try:
        content = read_bytes(path)
        picture = _header(content, path)
        if _has_deep_colours(picture, path):
            return int(_deep_colours(picture, content, path).max())
        if not picture.mode.startswith("I"):
            return None
        _decode(picture, path)
        return int(np.asarray(picture).max())
    except InputError:
        return None


def is_deep(path: Path) -> bool:
    """Whether a file has more than 8 bits a colour; its header says so. False when it cannot be
    read.
    """
    try:
        with _damage_told(path), Image.open(path, formats=FORMATS) as picture:
            return picture.mode.startswith("I") or _has_deep_colours(picture, path)
    except InputError:
        return False


def decode_mask(
    content: bytes,
    path: Path,
    *,
    shape: tuple[int, int] | None = None,
    mask_values: MaskValues | None = None,
) -> Bool[np.ndarray, "height width"]:
    """The mask in a file's content, as `read_mask`; `path` is only for the message.

    InputError when it is not of the image's `shape`. Format and size are checked in the header:
    what is refused for them is not decoded, however many pixels it claims.
    """
    picture = _header(content, path)
    lossy_tiff = "jpeg" in str(picture.info.get("compression", ""))
    if picture.format not in LOSSLESS_FORMATS or lossy_tiff:
        raise InputError(
            f"{path}: a mask stored as {picture.format} has blurred edges; save it again as PNG"
        )
    if _has_deep_colours(picture, path):
        raise InputError(
            f"{path}: a mask with 16 bits a colour; save it again with 8 bits, or as grey"
        )
    if shape is not None and sorted(shape) != sorted(picture.size):  # it may lie on its side
        raise InputError(_of_another_size(path, picture.size, shape))
    _decode(picture, path)
    if shape is not None and picture.size != shape[::-1]:
        raise InputError(_of_another_size(path, picture.size, shape))
    return defect_pixels(picture, path, mask_values)


def _of_another_size(path: Path, size: tuple[int, int], shape: tuple[int, int]) -> str:
    return (
        f"{path}: {size[0]} x {size[1]} pixels, the image has {shape[1]} x {shape[0]}; give a mask"
        " of the image's size"
    )


def open_picture(content: bytes, path: Path) -> Image.Image:
    """The picture in a file's content, whole and upright, in whatever mode it was stored."""
    picture = _header(content, path)
    _decode(picture, path)
    return picture


def _header(content: bytes, path: Path) -> Image.Image:
    """The picture with nothing but its header read."""
    with _damage_told(path):
        return Image.open(BytesIO(content), formats=FORMATS)


def _decode(picture: Image.Image, path: Path) -> None:
    with _damage_told(path):
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """InputError for whatever goes wrong inside: damaged files make decoders fail in every way."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{shown(path)}: no such file; check the path") from None
    except Image.UnidentifiedImageError:
        raise InputError(
            f"{shown(path)}: broken, or not a picture in a known format; replace or remove it"
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise InputError(
            f"{shown(path)}: too large, or damaged so that it seems to be; pictures may have"
            f" {most} megapixels: cut it into smaller ones"
        ) from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{shown(path)}: cannot be decoded ({reason}); replace or remove it"
        ) from None


def has_deep_colours(path: Path) -> bool:
    """Whether a file has colours, or grey and opacity, of 16 bits each; its header says so."""
    with _damage_told(path), Image.open(path, formats=FORMATS) as picture:
        return _has_deep_colours(picture, path)


def _has_deep_colours(picture: Image.Image, path: Path) -> bool:
    """The same of a picture that is not decoded yet: Pillow gives such colours 8 bits."""
    if picture.mode not in ("RGB", "RGBA", "RGBX", "CMYK", "LA"):
        return False
    if isinstance(picture, TiffImageFile):
        with _damage_told(path):
            return "16" in str(picture.tag_v2.get(BITSPERSAMPLE))
    return isinstance(picture, PngImageFile) and ";16" in str([one.args for one in picture.tile])


def _deep_colours(
    picture: Image.Image, content: bytes, path: Path
) -> UInt16[np.ndarray, "height width 3"]:
    """The upright colours in 16 bits; Pillow says first what is wrong with the file."""
    is_tiff = isinstance(picture, TiffImageFile)
    apart = is_tiff and picture.tag_v2.get(PLANAR_CONFIGURATION, 1) != 1
    if apart or picture.mode == "CMYK":
        raise InputError(
            f"{path}: a form of 16-bit colours that is not known; save it as 16-bit RGB"
        )
    with _damage_told(path):
        orientation = 1 if is_tiff else _orientation(picture)  # OpenCV turns TIFF by itself
        _decode(picture, path)
        pixels = np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED))
        deep = _turned(pixels[:, :, 2::-1], orientation)
    if deep.shape[:2] != picture.size[::-1] or deep.dtype != np.uint16:
        raise InputError(f"{path}: its 16-bit colours cannot be decoded; save it as 16-bit RGB PNG")
    return np.ascontiguousarray(deep)


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels [row column …] as an EXIF orientation says they are to be seen."""
    turned = pixels.swapaxes(0, 1) if orientation in SIDEWAYS else pixels
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return turned[::rows, ::columns]


def _rgb(
    picture: Image.Image, path: Path, bits: int, *, clipped: bool = False
) -> UInt8[np.ndarray, "height width 3"]:
    if picture.mode.startswith("I"):
        grey = _eight_bits(np.asarray(picture), path, bits, clipped=clipped)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if picture.mode == "F":
        raise InputError(f"{path}: floating-point pixels; convert the file to 8 or 16 bits")
    return np.array(picture.convert("RGB"))


def _eight_bits(
    values: np.ndarray, path: Path, bits: int, *, clipped: bool
) -> UInt8[np.ndarray, "height width *colours"]:
    white = 2**bits - 1
    wide = values.astype(np.int64)
    if wide.min() < 0 or (wide.max() > white and not clipped):
        raise InputError(
            f"{path}: values from {wide.min()} to {wide.max()}, but pixels of {bits} bits have 0 to"
            f" {white}; set datasets.<name>.bits to what the camera has (at most 16), train and"
            " export again, or convert the file"
        )
    if wide.max() > white:
        _warn_of_white(bits)
        wide = np.minimum(wide, white)
    return ((wide * 255 + white // 2) // white).astype(np.uint8)


@cache
def _warn_of_white(bits: int) -> None:
    print(
        f"warning: some pictures are brighter than {bits} bits, which the model's pictures had:"
        f" what is above {2**bits - 1} is white; if the camera has more, set datasets.<name>.bits,"
        " train and export again",
        file=sys.stderr,
        flush=True,
    )


def resize_image(
    image: UInt8[np.ndarray, "height width 3"], shape: tuple[int, int], resize: Resize
) -> UInt8[np.ndarray, "new_height new_width 3"]:
    """The picture stretched to `shape` (height, width), bilinearly.

    Where it shrinks, `published` samples it without a low-pass filter, and `area` takes the mean of
    what a pixel covers.
    """
    if resize == "area":
        size = _shrunk(image.shape[:2], shape)
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)  # pyright: ignore[reportAssignmentType]
    if image.shape[:2] == shape:
        return image.copy()
    return cv2.resize(image, shape[::-1], interpolation=cv2.INTER_LINEAR)  # pyright: ignore[reportReturnType]


def resize_mask(
    mask: Bool[np.ndarray, "height width"], shape: tuple[int, int], resize: Resize
) -> Bool[np.ndarray, "new_height new_width"]:
    """The mask stretched to `shape`: each pixel takes the source pixel under its centre.

    Where it shrinks, `area` marks the pixels of which it covers half or more, and those on its
    middle line, so that a thin defect stays one.
    A defect so small that nothing falls on it keeps the pixels nearest to it, so that a defective
    image never turns into one without a defect.
    """
    if resize == "area":
        mask = _covered(mask, _shrunk(mask.shape, shape))
    rows, columns = (_centres(*lengths) for lengths in zip(shape, mask.shape, strict=True))
    resized = mask[rows[:, None], columns[None, :]]
    if not resized.any():
        resized[_places(np.nonzero(mask), mask.shape, resized.shape)] = True
    return resized


def _shrunk(own: tuple[int, ...], shape: tuple[int, int]) -> tuple[int, int]:
    return min(own[0], shape[0]), min(own[1], shape[1])


def _covered(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if shape == mask.shape:
        return mask
    from skimage.morphology import skeletonize

    share = cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA)
    covered = share > 0.5 - 1e-6
    middle = np.nonzero(skeletonize(mask, method="lee"))
    covered[_places(middle, mask.shape, shape)] = True
    return covered


def _places(
    pixels: tuple[np.ndarray, ...], shape: tuple[int, ...], new_shape: tuple[int, ...]
) -> tuple[np.ndarray, ...]:
    """Where the centres of pixels fall when the shape becomes another."""
    return tuple(
        (2 * pixel + 1) * new // (2 * old)
        for pixel, old, new in zip(pixels, shape, new_shape, strict=True)
    )


def _centres(count: int, length: int) -> np.ndarray:
    return (2 * np.arange(count) + 1) * length // (2 * count)


def write_png(
    path: Path,
    array: UInt8[np.ndarray, "height width 3"]
    | UInt8[np.ndarray, "height width"]
    | Bool[np.ndarray, "height width"],
) -> None:
    """Write a picture, or a mask as 0 and 255, as a PNG file that is whole or not there at all."""
    content = BytesIO()
    Image.fromarray(array.astype(np.uint8) * 255 if array.dtype == np.bool_ else array).save(
        content, format="PNG"
    )
    with replacing(path) as temporary:
        temporary.write_bytes(content.getvalue())
