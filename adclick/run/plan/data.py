"""Pictures and masks: which files a category's manifest is made of, and simulated defects."""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from adclick.run.config import Config
from adclick.run.folders import Walk, shown, walk
from adclick.run.kinds import module_of
from adclick.run.plan.names import LINES, UNLISTED_SPLITS, category_folder, places
from adclick.run.plan.pick import Stage
from adclick.run.provenance import digest, fingerprint
from adclick.run.settings.data import (
    LAYOUTS,
    Bits,
    EmptyMasks,
    Geometry,
    MaskValues,
    Resize,
    Simulation,
    Toy,
)


class DrawToy(Stage):
    """Settings of `draw_toy`."""

    size_px: int
    toy: Toy


class MakeManifest(Stage):
    """Settings of `make_manifest`."""

    layout: str
    layout_code: str
    root: str
    category: str
    size: Geometry | None
    size_px: int
    stride: int
    split: Literal["drawn", "sorted", "file"]
    training_defects: int
    empty_masks: EmptyMasks
    mask_values: MaskValues | None
    bits: Bits | None
    resize: Resize

    @classmethod
    def of(cls, config: Config, wildcards: Mapping[str, str]) -> Stage:
        dataset = config.datasets[wildcards["dataset"]]
        return cls.pick(
            config,
            layout=dataset.layout,
            layout_code=fingerprint(module_of(LAYOUTS, dataset.layout)),
            root="" if dataset.layout == "toy" else dataset.root,
            category=wildcards["category"],
            split=dataset.split if dataset.split in UNLISTED_SPLITS else "file",
            training_defects=dataset.training_defects,
            empty_masks=dataset.empty_masks,
            mask_values=dataset.mask_values,
            bits=dataset.bits,
            size=dataset.size,
            stride=config.features.stride,
        )


class SimulateDefects(Stage):
    """Settings of `simulate_defects`; so many `pictures`, or some of every normal one.

    Besides those that networks learn from there are `lines`, clear cracks and scratches for the
    estimate that says whether to follow a line.
    """

    size_px: int
    simulation: Simulation
    pictures: int | None

    @classmethod
    def of(cls, config: Config, wildcards: Mapping[str, str]) -> Stage:
        if wildcards.get("drawn") != LINES:
            return cls.pick(config, pictures=None)
        levels = config.clicks.levels
        if levels is None or levels.lines is None:
            raise ValueError("clicks.levels.lines: not set, so no thin defects are simulated")
        none = dict.fromkeys(config.simulation.kinds(), 0.0)
        kinds = none | {"clear_cracks": 0.5, "clear_scratches": 0.5}
        thin = config.simulation.model_copy(update=kinds | {"per_normal": 1})
        return cls.pick(config, simulation=thin, pictures=levels.lines)


def manifest_inputs(config: Config, dataset: str) -> dict[str, str]:
    """What a manifest is made of besides pictures: the split's file, the record of drawn data."""
    defined = config.datasets[dataset]
    inputs = {} if defined.split in UNLISTED_SPLITS else {"split": defined.split}
    if defined.layout == "toy":
        inputs["drawn"] = f"results/{config.run}/{dataset}/draw_toy/record.json"
    return inputs


def missing_data(config: Config, unread: Iterable[str]) -> list[str]:
    """Folders of data sets that are to be read and are not on disk; `unread` are places."""
    defined = [config.datasets[place.split("/")[0]] for place in unread]
    folders = [Path(config.data_root) / one.root for one in defined if one.layout != "toy"]
    return [str(folder) for folder in dict.fromkeys(folders) if not folder.is_dir()]


def data_warnings(config: Config) -> list[str]:
    """What the manifests of a finished run warn of."""
    records = [
        Path(category_folder(config, place), "make_manifest/record.json")
        for place in places(config)
    ]
    read = [json.loads(path.read_text(encoding="utf-8")) for path in records if path.is_file()]
    return [line for record in read for line in record.get("warnings", [])]


def data_digest(config: Config, dataset: str, category: str) -> str:
    """What changes when a category's files on disk change: names, sizes, times.

    Without a root it is what the category's manifest was made of, so that results can be taken
    where the data are not; `absent` when there is no manifest either. The embedded data set is
    drawn by the workflow, so its files are an artifact: `drawn`.
    """
    defined = config.datasets[dataset]
    if defined.layout == "toy":
        return "drawn"
    root = Path(config.data_root) / defined.root
    if not root.is_dir():
        return _recorded_digest(config, f"{dataset}/{category}")
    parts = [root / category, root / f"{category}.csv"]
    return digest_files([part for part in parts if part.exists()] or [root], root)


def digest_files(parts: Iterable[Path], root: Path) -> str:
    """A digest of (name below `root`, size, modification time) of files and folders' files.

    Dot-files and dot-folders do not count; links that lead to no file count by their names.
    """
    return digest(sorted(state for part in parts for state in _file_states(part, root)))


def folder_digest(folder: str | None) -> str:
    """The digest of a folder that a setting names; empty without one or when it is not there."""
    return digest_files([Path(folder)], Path(folder)) if folder and Path(folder).is_dir() else ""


def _recorded_digest(config: Config, place: str) -> str:
    record = Path(category_folder(config, place), "make_manifest/record.json")
    if not record.is_file():
        return "absent"
    return json.loads(record.read_text(encoding="utf-8"))["files"]


def _file_states(path: Path, root: Path) -> Iterator[list[str | int]]:
    found = Walk([path]) if path.is_file() else walk(path)
    for file in found.files:
        state = file.stat()
        yield [shown(file.relative_to(root)), state.st_size, state.st_mtime_ns]
    for lost in itertools.chain.from_iterable(found.lost.values()):
        yield [shown(lost.relative_to(root)), -1, 0]
