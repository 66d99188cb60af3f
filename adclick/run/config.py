"""The whole configuration of a run and the checks that cross its chapters.

`Config` is validated once, in the Snakefile. Each stage gets only the settings that can change its
result, so that editing one section reruns only the stages that read it. The sections are in
`adclick.run.settings`, one chapter a file.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from adclick.run.errors import InputError
from adclick.run.kinds import kinds_of
from adclick.run.settings.clicks import (
    MAP_THRESHOLD,
    PEERS,
    PROTOCOL,
    PROTOCOL_ROBOT,
    Clicks,
    Robot,
    Zoom,
)
from adclick.run.settings.data import Dataset, Expansion, Simulation, Toy
from adclick.run.settings.language import Language, Prompts
from adclick.run.settings.networks import (
    Network,
    ResidualInput,
    SegNetwork,
    Sliding,
    VisionLanguage,
)
from adclick.run.settings.residuals import Detection, Features, Foreground, Matching, Retrieval
from adclick.run.settings.section import Count, Name, Positive, Section, validation_line
from adclick.run.settings.tables import TABLES
from adclick.run.settings.training import AdclickVariant, SegVariant, Training


class Config(Section):
    """The whole configuration; config/README.md explains every key."""

    run: Name
    data_root: str
    compute_threads: Positive
    seeds: Annotated[list[Count], Field(min_length=1)]
    scale_note: str
    size_px: Positive
    datasets: dict[Name, Dataset]
    run_datasets: list[Name]
    pretrain_on: dict[str, list[str]]
    toy: Toy
    features: Features
    retrieval: Retrieval
    matchings: dict[Name, Matching]
    matching: Name
    foreground: Foreground
    simulation: Simulation
    expansion: Expansion
    prompts: Prompts
    language: Language
    residual_input: ResidualInput
    network: Network
    adclick_seg_network: SegNetwork
    vision_language: VisionLanguage
    adclick_training: Training
    adclick_seg_training: Training
    adclick_variants: dict[Name, AdclickVariant]
    adclick_seg_variants: dict[Name, SegVariant]
    run_adclick: list[Name]
    run_click_peers: list[Name]
    run_adclick_seg: list[Name]
    run_sliding: list[Name]
    run_map_peers: list[Name]
    label_with: Name
    clicks: Clicks
    robots: dict[Name, Robot]
    run_robots: list[Name]
    robot_methods: list[Name]
    run_zoom: list[Name]
    zoom: Zoom
    detection: Detection
    sliding: Sliding
    tables: dict[int, list[Name]]
    figure_cases: Positive
    titles: dict[str, str]

    @field_validator("tables")
    @classmethod
    def _tables_exist(cls, tables: dict[int, list[str]]) -> dict[int, list[str]]:
        unknown = sorted(set(tables) - set(TABLES))
        if unknown:
            raise ValueError(f"no such table: {unknown}; tables are {sorted(TABLES)}")
        return tables

    @field_validator("titles")
    @classmethod
    def _titles_differ(cls, titles: dict[str, str]) -> dict[str, str]:
        alike = sorted({title for title in titles.values() if [*titles.values()].count(title) > 1})
        if alike:
            raise ValueError(f"printed names of more than one: {alike}")
        return titles

    @model_validator(mode="after")
    def _names_are_defined(self) -> "Config":
        _require("run_datasets", self.run_datasets, self.datasets)
        _require("run_adclick", self.run_adclick, self.adclick_variants)
        _require("run_adclick_seg", self.run_adclick_seg, self.adclick_seg_variants)
        _require("run_click_peers", self.run_click_peers, [MAP_THRESHOLD, *kinds_of(PEERS)])
        _require("run_zoom", self.run_zoom, self.run_adclick)
        _require("run_robots", self.run_robots, self.robots)
        _require("run_sliding", self.run_sliding, self.adclick_seg_variants)
        taken = [name for name in self.sliding_methods if name in self.adclick_seg_variants]
        if taken:
            raise ValueError(f"adclick_seg_variants: {taken} are the names of sliding maps")
        _require("label_with", [self.label_with], self.adclick_variants)
        for number, names in self.tables.items():
            _require(f"tables.{number}", names, self.run_datasets)
        listed = [entry for entries in self.pretrain_on.values() for entry in entries]
        for place in [*self.pretrain_on, *(entry for entry in listed if "/" in entry)]:
            dataset, _, category = place.partition("/")
            _require("pretrain_on", [dataset], self.datasets)
            _require(
                f"pretrain_on.{dataset}",
                [category],
                {name: None for name in self.datasets[dataset].categories},
            )
        whole = [entry for entry in listed if "/" not in entry]
        _require("pretrain_on", whole, self.datasets)
        return self

    @model_validator(mode="after")
    def _robots_are_others_than_the_protocols(self) -> "Config":
        known = [name for name, robot in self.robots.items() if robot == PROTOCOL_ROBOT]
        if known or PROTOCOL in self.robots:
            raise ValueError(
                f"robots.{(known or [PROTOCOL])[0]}: the user of the protocol is always run, under"
                f" the name {PROTOCOL}; define others"
            )
        return self

    @model_validator(mode="after")
    def _matchings_are_defined(self) -> "Config":
        _require("matching", [self.matching], self.matchings)
        _require("run_map_peers", self.run_map_peers, self.map_peers)
        own = {f"adclick_variants.{name}": one for name, one in self.adclick_variants.items()}
        own |= {
            f"adclick_seg_variants.{name}": one for name, one in self.adclick_seg_variants.items()
        }
        for key, variant in own.items():
            _require(f"{key}.matching", [variant.matching or self.matching], self.matchings)
        for name, matching in self.matchings.items():
            if (matching.neighbours or 0) > self.retrieval.neighbours:
                raise ValueError(f"matchings.{name}.neighbours exceeds retrieval.neighbours")
        return self

    @model_validator(mode="after")
    def _sizes_fit(self) -> "Config":
        if self.size_px % self.features.stride:
            raise ValueError(
                f"size_px = {self.size_px}: not a multiple of features.stride"
                f" = {self.features.stride}"
            )
        if self.network.dim % self.network.heads:
            raise ValueError("network.dim is not a multiple of network.heads")
        if len(self.network.neck_channels) != len(self.network.neck_strides):
            raise ValueError("network.neck_channels and neck_strides must have equal lengths")
        if self.adclick_seg_network.normalise == "group" and self.residual_input.groups is None:
            raise ValueError("adclick_seg_network.normalise: group needs residual_input.groups")
        if (self.residual_input.groups or 0) > self.features.dimension:
            raise ValueError("residual_input.groups exceeds features.dimension")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds = {self.seeds}: each seed once")
        if self.retrieval.kept_blocks > self.retrieval.blocks**2:
            raise ValueError("retrieval.kept_blocks exceeds retrieval.blocks squared")
        return self

    @property
    def grid(self) -> int:
        """Side of the residual grid, in patches."""
        return self.size_px // self.features.stride

    @property
    def sliding_methods(self) -> dict[str, str]:
        """The methods whose maps are made of sliding windows, and the variant of each, which is
        run.
        """
        run = [name for name in self.run_sliding if name in self.run_adclick_seg]
        return {f"{name}_sliding": name for name in run}

    @property
    def map_peers(self) -> dict[str, str]:
        """The training-free maps by name, and the matching of each: the run's, or the one named."""
        named = {f"training_free_{name}": name for name in self.matchings}
        return {"training_free": self.matching, **named}


def load_config(values: Mapping[str, Any]) -> Config:
    """The configuration from plain values; InputError with every faulty key, its value and what is
    allowed.
    """
    try:
        return Config.model_validate(dict(values))
    except ValidationError as error:
        raise InputError(validation_line("config", error)) from None


def _require(key: str, names: Sequence[str], known: Collection[str]) -> None:
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(f"{key}: {missing} not defined; known: {sorted(known)}")


BASE = Path("config/config.yaml")


def read_configuration(overlays: Sequence[Path], *, base: Path = BASE) -> Config:
    """`base` with overlays laid over it, as Snakemake does: mappings merge, lists are replaced."""
    values: dict[str, Any] = {}
    for path in (base, *overlays):
        values = _laid_over(values, _read(path))
    return load_config(values)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(
            f"configuration {path} cannot be read ({reason}): run this in the project's folder"
        ) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        line = " ".join(str(error).split())[:200]
        raise InputError(f"configuration {path} is not valid YAML: {line}") from error
    if not isinstance(content, dict):
        raise InputError(f"configuration {path} must be a mapping of keys to values")
    return content


def _laid_over(below: Mapping[Any, Any], above: Mapping[Any, Any]) -> dict[Any, Any]:
    both = dict(below)
    for key, value in above.items():
        old = both.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            both[key] = _laid_over(old, value)
        else:
            both[key] = value
    return both
