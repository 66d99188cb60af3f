"""Anomaly maps in files, paired by name with the masks that they are scored against.

Everything that is wrong is collected and told in one error: each kind of mistake with the number of
files and the first few names.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from tokenize import TokenError
from typing import TypeVar

import cv2
import numpy as np
from jaxtyping import Bool, Float

from adclick.data.images import IMAGE_SUFFIXES, decode_mask, open_picture, picture_shape, read_bytes
from adclick.data.reading import GOOD, folders, pictures
from adclick.residuals.maps import resize_map
from adclick.run.errors import InputError
from adclick.run.settings.data import MaskValues

MAP_SUFFIXES = (".npy", ".tif", ".tiff", ".png")
GREY_MODES = ("1", "L", "I", "I;16", "I;16B")
NAMED = 3
UNUSABLE = "files that cannot be used"
Shape = tuple[int, int]
Problems = defaultdict[str, list[str]]
Array = TypeVar("Array")


@dataclass(frozen=True)
class Pair:
    """A map and its image's truth; without a mask the image is normal.

    `name` is `<defect type>/<stem>`. `image_path` is the picture of a normal image, where known.
    """

    name: str
    map_path: Path
    mask_path: Path | None
    image_path: Path | None


@dataclass(frozen=True)
class LoadedMap:
    """A pair's content, map and mask of one shape; the sha256 of their files (`""`: no mask).

    `is_coarse`: the file holds at most 256 different scores.
    """

    name: str
    scores: Float[np.ndarray, "height width"]
    mask: Bool[np.ndarray, "height width"]
    was_resized: bool
    is_coarse: bool
    map_sha256: str
    mask_sha256: str


def pair_maps(
    maps: Path, masks: Path, *, skip_missing: bool = False
) -> tuple[list[Pair], list[str]]:
    """The maps under a folder with their masks, by name; and the files that no map belongs to.

    Maps are `<defect type>/<stem>` with one of `MAP_SUFFIXES`, directly under `maps` or under its
    `test` (the MVTec AD evaluation's convention). Masks are `<defect type>/<stem>_mask` or
    `<defect type>/<stem>`, under `masks` or under its `ground_truth` (a category in MVTec AD's
    layout; every picture in its `test/good` must have a map too). Images under `good` need no mask.
    `skip_missing` accepts masks and good pictures without a map.
    Raises one InputError that tells of all that does not pair.
    """
    found = _by_name(folders(_maps_folder(maps)), MAP_SUFFIXES)
    truth_folder = _masks_folder(masks)
    is_category = truth_folder.name == "ground_truth"
    good_folder = truth_folder.parent / "test" / GOOD if is_category else None
    truth = _by_name(folders(truth_folder), IMAGE_SUFFIXES)
    good = _by_name([good_folder], IMAGE_SUFFIXES) if good_folder else {}
    problems: Problems = defaultdict(list)
    pairs = [_pair(name, files, truth, good, problems) for name, files in found.items()]
    without = [_short(files[0]) for files in truth.values()]
    without += [_short(files[0]) for name, files in good.items() if name not in found]
    if without and not skip_missing:
        problems["images without a map (--skip-missing leaves them out)"] = without
    _refuse(f"{maps} and {masks}", problems)
    return pairs, without


def _pair(
    name: str,
    files: Sequence[Path],
    truth: dict[str, list[Path]],
    good: Mapping[str, Sequence[Path]],
    problems: Problems,
) -> Pair:
    """The pair of a map; its masks are taken out of `truth`."""
    masks = truth.pop(f"{name}_mask", []) + truth.pop(name, [])
    is_good = name.startswith(f"{GOOD}/")
    if len(files) > 1:
        problems["several maps of one image"].append(" and ".join(map(_short, files)))
    if len(masks) > 1:
        problems["several masks of one image"].append(" and ".join(map(_short, masks)))
    if not masks and not is_good:
        problems["maps without a mask (images without a defect belong under good)"].append(name)
    if is_good and good and name not in good:
        problems["maps without a picture in test/good"].append(name)
    images = good.get(name, [])
    return Pair(name, files[0], masks[0] if masks else None, images[0] if images else None)


def _by_name(sources: Iterable[Path], suffixes: Sequence[str]) -> dict[str, list[Path]]:
    """The files of some folders by `<folder>/<stem>`."""
    names: dict[str, list[Path]] = {}
    for folder in sources:
        for path in pictures(folder, suffixes):
            names.setdefault(f"{folder.name}/{path.stem}", []).append(path)
    return names


def _maps_folder(maps: Path) -> Path:
    """The folder whose folders are defect types; InputError when there is no map in them."""
    _require_folder(maps, "--maps")
    root = maps / "test" if (maps / "test").is_dir() else maps
    if any(pictures(folder, MAP_SUFFIXES) for folder in folders(root)):
        return root
    _refuse_several(maps, "test", "--maps")
    if pictures(root, MAP_SUFFIXES):
        raise InputError(
            f"{root}: the maps lie side by side; put them into folders named by defect type"
            f" ({GOOD} for images without a defect), as the masks are"
        )
    others = sorted({path.suffix for path in root.rglob("*") if path.is_file()})
    raise InputError(
        f"{root}: no map; they are <defect type>/<stem> with {', '.join(MAP_SUFFIXES)}"
        f" (found: {', '.join(others) or 'no file'})"
    )


def _masks_folder(masks: Path) -> Path:
    """The folder whose folders hold the masks of one defect type each."""
    _require_folder(masks, "--masks")
    if (masks / "ground_truth").is_dir():
        return masks / "ground_truth"
    _refuse_several(masks, "ground_truth", "--masks")
    truth = masks.parent / "ground_truth"
    if truth.is_dir() and truth != masks:
        raise InputError(f"{masks}: holds pictures, not masks; name {truth} or {masks.parent}")
    return masks


def _require_folder(folder: Path, option: str) -> None:
    if not folder.is_dir():
        raise InputError(f"{option} {folder}: no such folder")


def _refuse_several(folder: Path, inner: str, option: str) -> None:
    categories = [child for child in folders(folder) if (child / inner).is_dir()]
    if categories:
        raise InputError(
            f"{folder}: holds whole categories; score one at a time, as in {option} {categories[0]}"
        )


def read_pairs(
    pairs: Sequence[Pair], *, resize: bool = False, mask_values: MaskValues | None = None
) -> Iterator[LoadedMap]:
    """Every pair's map and mask, one after the other, at the mask's own size.

    A normal image is as large as its picture; where that is not known as its map, or with `resize`
    as all the masks. With `resize` maps of another size are stretched bilinearly, else they are an
    error. After the last pair one InputError tells of all files that cannot be read, sizes that
    differ, scores that are NaN or infinite, and masks that contradict the folder they lie in.
    """
    good_shape = _shape_of_masks(pairs) if resize else None
    problems: Problems = defaultdict(list)
    for pair in pairs:
        loaded = _read_pair(pair, good_shape, problems, resize=resize, mask_values=mask_values)
        if loaded is not None and not problems:
            yield loaded
    _refuse(str(pairs[0].map_path.parents[1]), problems)


def _read_pair(
    pair: Pair,
    good_shape: Shape | None,
    problems: Problems,
    *,
    resize: bool,
    mask_values: MaskValues | None,
) -> LoadedMap | None:
    raw = _read(pair.map_path, decode_map, problems)
    decode = partial(decode_mask, mask_values=mask_values)
    truth = pair.mask_path and _read(pair.mask_path, decode, problems)
    if raw is None or (pair.mask_path and not truth):
        return None
    scores = _floating(raw[0])
    try:
        mask = truth[0] if truth else np.zeros(_good_shape(pair, good_shape, scores), dtype=bool)
    except InputError as error:
        problems[UNUSABLE].append(str(error))
        return None
    _check_content(pair, scores, mask, problems)
    was_resized = scores.shape != mask.shape
    if was_resized and not resize:
        problems["maps of another size than their image (--resize stretches them)"].append(
            f"{pair.name} is {_size(scores)}, not {_size(mask)}"
        )
        return None
    return LoadedMap(
        name=pair.name,
        scores=resize_map(scores, mask.shape) if was_resized else scores,
        mask=mask,
        was_resized=was_resized,
        is_coarse=raw[0].dtype.itemsize == 1,
        map_sha256=raw[1],
        mask_sha256=truth[1] if truth else "",
    )


def _check_content(pair: Pair, scores: np.ndarray, mask: np.ndarray, problems: Problems) -> None:
    is_good = pair.name.startswith(f"{GOOD}/")
    if not np.isfinite(scores).all():
        problems["maps with NaN or infinite scores"].append(_short(pair.map_path))
    if mask.any() and is_good:
        problems["masks of good images that show a defect"].append(pair.name)
    if not mask.any() and not is_good:
        problems["masks of defects that mark no pixel"].append(pair.name)


def _good_shape(pair: Pair, shape_of_masks: Shape | None, scores: np.ndarray) -> Shape:
    if pair.image_path is not None:
        return picture_shape(pair.image_path)
    return shape_of_masks or (scores.shape[0], scores.shape[1])


def _shape_of_masks(pairs: Sequence[Pair]) -> Shape | None:
    """The masks' one size, which good images are stretched to; None when nobody needs it."""
    if all(pair.mask_path or pair.image_path for pair in pairs):
        return None
    shapes = {picture_shape(pair.mask_path) for pair in pairs if pair.mask_path}
    if len(shapes) > 1:
        raise InputError(
            f"--resize: the masks have {len(shapes)} different sizes, so that of the good images is"
            " not known; name the category's folder, with the pictures in test/good, as --masks"
        )
    return shapes.pop() if shapes else None


def decode_map(content: bytes, path: Path) -> np.ndarray:
    """The scores in a file's content [height width], in the file's own type.

    Axes of length 1 before or after the two are dropped. Raises InputError for broken files, colour
    pictures, several pages, and what has no pixel.
    """
    decode = {".npy": _decode_numpy, ".png": _decode_png}.get(path.suffix.lower(), _decode_tiff)
    values = decode(content, path)
    while values.ndim > 2 and 1 in (values.shape[0], values.shape[-1]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "fiub":
        raise InputError(
            f"{path}: {values.dtype} of shape {values.shape}, but a map has one score a pixel; a"
            " coloured picture of it cannot be scored, save the scores themselves as .npy"
        )
    return values


def _decode_numpy(content: bytes, path: Path) -> np.ndarray:
    try:
        return np.lib.format.read_array(BytesIO(content), allow_pickle=False)
    except (
        ValueError,
        EOFError,
        OSError,
        SyntaxError,
        TypeError,
        TokenError,
        MemoryError,
    ) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable .npy file ({reason})") from None


def _decode_png(content: bytes, path: Path) -> np.ndarray:
    picture = open_picture(content, path)
    return np.asarray(picture if picture.mode in GREY_MODES else picture.convert("RGBA"))


def _decode_tiff(content: bytes, path: Path) -> np.ndarray:
    """By OpenCV: Pillow does not know 64-bit TIFF."""
    with _quiet_opencv():
        try:
            _, pages = cv2.imdecodemulti(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            pages = ()
    if len(pages) != 1:
        raise InputError(
            f"{path}: {f'{len(pages)} pages; save one map a file' if pages else 'broken TIFF'}"
        )
    return pages[0]


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _floating(values: np.ndarray) -> np.ndarray:
    """The scores as float32, or as float64 where float32 would make some of them equal."""
    small = values.dtype.itemsize <= (4 if values.dtype.kind == "f" else 2)
    return values.astype(np.float32 if small else np.float64)


def _read(
    path: Path, decode: Callable[[bytes, Path], Array], problems: Problems
) -> tuple[Array, str] | None:
    try:
        content = read_bytes(path)
        return decode(content, path), sha256(content).hexdigest()
    except InputError as error:
        problems[UNUSABLE].append(str(error))
        return None


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]} x {array.shape[0]}"


def _refuse(place: str, problems: Problems) -> None:
    """One line: each kind of problem, how often, and where first."""
    if problems:
        kinds = [
            f"{kind}: {len(names)} ({', '.join(names[:NAMED])}{', …' if names[NAMED:] else ''})"
            for kind, names in problems.items()
        ]
        raise InputError(f"{place}: {'; '.join(kinds)}")
