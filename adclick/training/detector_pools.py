"""One category's artifacts as the pools that a detector on features is trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from adclick.data.geometry import Shape, cells_in, contents_of
from adclick.data.rows import train_normal_rows
from adclick.networks.detector_inputs import DetectorForm, fit_feature_scale
from adclick.networks.inputs import ResidualForm
from adclick.residuals.calibration import Calibration
from adclick.residuals.maps import training_free_map
from adclick.run.artifacts import ArrayFile, image_ids, open_arrays, read_csv
from adclick.run.errors import InputError
from adclick.run.stored import StoredRows
from adclick.training.detector_samples import DetectorPool

MIDDLE_STEP = 4  # every fourth row and column is enough for a median
REACH = 4.0  # standard deviations that smoothing looks away, in single precision
EXPANDED = "expanded/"


@dataclass(frozen=True)
class DetectorFiles:
    """Where one category's artifacts lie. Residuals hold `patches` too, the pictures' own features;
    the expanded pair is there where defects are labelled. `window` is the side in patches of what a
    sample shows of a larger picture.
    """

    manifest: Path
    images: Path
    residuals: Path
    simulated_images: Path
    simulated_residuals: Path
    expanded_images: Path | None = None
    expanded_residuals: Path | None = None
    window: int | None = None


class FinishedMaps:
    """The training-free maps of a residuals artifact, made when they are asked for: two
    milliseconds each, where all of them together would fill the memory.
    """

    def __init__(
        self,
        residuals: ArrayFile,
        contents: Sequence[Shape],
        *,
        stride: int,
        smoothing_px: float,
        foreground_exponent: float,
    ) -> None:
        """Maps of pictures of these sizes, finished with the two settings of detection."""
        self._residuals = residuals
        self._contents, self._stride = contents, stride
        self._finish = {"smoothing_px": smoothing_px, "foreground_exponent": foreground_exponent}

    def __getitem__(self, row: int) -> Float32[np.ndarray, "height width"]:
        """The finished map of a row."""
        return self._made(row, (slice(None), slice(None)), self._contents[row])

    def lazily(self, row: int) -> "FinishedMap":
        """That of a row, made where it is asked for."""
        return FinishedMap(self, row)

    def window(
        self, row: int, window: tuple[slice, slice]
    ) -> Float32[np.ndarray, "window_height window_width"]:
        """The rows and columns of a row's map, made of the patches that have a part in them."""
        reach = -(-round(REACH * self._finish["smoothing_px"]) // self._stride) + 1
        content, cells, inside, sizes = self._contents[row], [], [], []
        for asked, length in zip(window, content, strict=True):
            first, last, _ = asked.indices(length)
            begin = max(0, first // self._stride - reach)
            end = min(-(-length // self._stride), -(-last // self._stride) + reach)
            cells.append(slice(begin, end))
            sizes.append(min(length, end * self._stride) - begin * self._stride)
            inside.append(slice(first - begin * self._stride, last - begin * self._stride))
        made = self._made(row, (cells[0], cells[1]), (sizes[0], sizes[1]))
        return made[inside[0], inside[1]]

    def _made(
        self, row: int, cells: tuple[slice, slice], content: Shape
    ) -> Float32[np.ndarray, "height width"]:
        return training_free_map(
            self._residuals["lengths"][row][cells],
            self._residuals["foreground"][row][cells].astype(np.float32),
            content=content,
            stride=self._stride,
            **self._finish,
        )


class FinishedMap:
    """The finished map of one picture: a window of it is made when it is asked for."""

    def __init__(self, maps: FinishedMaps, row: int) -> None:
        """The map of a row."""
        self._maps, self._row = maps, row

    def __getitem__(self, window: tuple[slice, slice]) -> Float32[np.ndarray, "height width"]:
        """A window, without steps."""
        return self._maps.window(self._row, window)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of it."""
        return np.asarray(self._maps[self._row], dtype)


def open_detector_pools(
    files: DetectorFiles, *, smoothing_px: float, foreground_exponent: float
) -> dict[str, DetectorPool]:
    """The pools `normal`, `simulated`, and where defects are labelled `real`; maps are finished
    with the two settings of detection.

    Of a labelled defect the first row is the picture itself, the others are its expanded copies
    (`expand_defects`). InputError when residuals lack the pictures' features.
    """
    finish = {"smoothing_px": smoothing_px, "foreground_exponent": foreground_exponent}
    manifest = read_csv(files.manifest)
    normals = train_normal_rows(files.manifest)
    ids = [str(manifest["image_id"][row]) for row in normals]
    pools = {
        "normal": _pool(files.images, files.residuals, None, normals, ids, finish, files.window)
    }
    drawn = open_arrays(files.simulated_images)
    sources = [value.decode() for value in drawn["source_ids"][:]]
    pools["simulated"] = _pool(
        files.simulated_images,
        files.simulated_residuals,
        StoredRows(drawn["labels"]),
        list(range(len(sources))),
        sources,
        finish,
        files.window,
    )
    if files.expanded_images is not None and files.expanded_residuals is not None:
        expanded = open_arrays(files.expanded_images)
        sources = [labelled_source(name) for name in image_ids(expanded)]
        pools["real"] = _pool(
            files.expanded_images,
            files.expanded_residuals,
            StoredRows(expanded["labels"]),
            list(range(len(sources))),
            sources,
            finish,
            files.window,
            backgrounds=[value.decode() for value in expanded["source_ids"][:]],
        )
    return pools


def labelled_source(expanded_id: str) -> str:
    """The labelled defect that an expanded picture was made of, from its id
    `expanded/<image id>/<copy>`.
    """
    return expanded_id.removeprefix(EXPANDED).rpartition("/")[0]


def labelled_kinds(manifest: Path, pool: DetectorPool) -> Mapping[str, str]:
    """The type of defect of every labelled picture of a pool."""
    rows = read_csv(manifest)
    kinds = dict(zip(map(str, rows["image_id"]), map(str, rows["defect_type"]), strict=True))
    return {source: kinds[source] for source in pool.sources}


def fit_detector_form(
    files: DetectorFiles,
    normal: DetectorPool,
    residual: ResidualForm,
    *,
    matched: bool,
    pictures: int,
) -> DetectorForm:
    """The form of a detector's inputs, from at most `pictures` of the normal pictures; of its
    calibration only the middle is fitted here.
    """
    stride = normal.images.shape[1] // normal.features.shape[1]
    rows = list(normal.rows[:: max(1, len(normal.rows) // pictures)][:pictures])
    steps = [normal.sparser(row, MIDDLE_STEP) for row in rows]
    maps = np.concatenate(
        [normal.maps[row][::step, ::step].ravel() for row, step in zip(rows, steps, strict=True)]
    )
    middle = max(float(np.median(maps)), float(np.finfo(np.float32).tiny))
    cells = [cells_in(normal.content(row), stride) for row in rows]
    with open_arrays(files.residuals) as stored:
        scale = np.asarray(stored["normal_mean_square"][:], np.float32)
    return DetectorForm(
        features=fit_feature_scale(normal.features, rows, cells),
        residual_scale=scale,
        residual=residual,
        matched=matched,
        calibration=Calibration(middle=middle, slope=1.0, offset=0.0),
    )


def _pool(
    images: Path,
    residuals: Path,
    labels: StoredRows | None,
    rows: list[int],
    sources: list[str],
    finish: Mapping[str, float],
    window: int | None,
    backgrounds: list[str] | None = None,
) -> DetectorPool:
    compared, drawn = open_arrays(residuals), open_arrays(images)
    pictures, contents = StoredRows(drawn["images"]), contents_of(drawn, "images")
    if "patches" not in compared:
        raise InputError(f"{residuals}: no features of the pictures; run compute_residuals again")
    return DetectorPool(
        StoredRows(compared["patches"]),
        StoredRows(compared["residuals"]),
        pictures,
        FinishedMaps(
            compared,
            contents,
            stride=pictures.shape[1] // compared["residuals"].shape[1],
            **finish,
        ),
        labels,
        rows,
        sources,
        contents,
        window,
        backgrounds,
    )
