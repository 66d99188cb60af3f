"""Features, retrieval, foreground, matching: the stages up to the residuals."""

from collections.abc import Mapping

from adclick.run.config import Config
from adclick.run.device import Precision
from adclick.run.plan.names import (
    LINES,
    REAL,
    SIMULATED,
    category_folder,
    network_matchings,
    patch_matchings,
    place_of,
    places,
)
from adclick.run.plan.pick import Stage
from adclick.run.settings.residuals import (
    Detection,
    Features,
    Foreground,
    Matching,
    MatchingChoice,
    Retrieval,
)


class ExtractFeatures(Stage):
    """Settings of `extract_features`."""

    size_px: int
    precision: Precision
    features: Features


class FitRetrieval(Stage):
    """Settings of `fit_retrieval`."""

    retrieval: Retrieval


class FitForeground(Stage):
    """Settings of `fit_foreground`; `estimate` is false for textures."""

    foreground: Foreground
    estimate: bool

    @classmethod
    def of(cls, config: Config, wildcards: Mapping[str, str]) -> Stage:
        textures = config.datasets[wildcards["dataset"]].textures
        return cls.pick(config, estimate=wildcards["category"] not in textures)


class FindNeighbours(Stage):
    """Settings of `find_neighbours`."""

    size_px: int
    precision: Precision
    features: Features
    retrieval: Retrieval


class ChooseMatching(Stage):
    """Settings of `choose_matching`: the candidates by name, the preferred first. On a texture no
    part is out of place, and no background shows.
    """

    size_px: int
    precision: Precision
    features: Features
    retrieval: Retrieval
    foreground: Foreground
    detection: Detection
    candidates: dict[str, Matching]
    matching_choice: MatchingChoice
    minimum_area: float
    texture: bool

    @classmethod
    def of(cls, config: Config, wildcards: Mapping[str, str]) -> Stage:
        names = config.matchings[wildcards["matching"]].candidates or []
        return cls.pick(
            config,
            candidates={name: config.matchings[name] for name in names},
            minimum_area=config.simulation.minimum_area,
            texture=wildcards["category"] in config.datasets[wildcards["dataset"]].textures,
        )


class ComputeResiduals(Stage):
    """Settings of `compute_residuals`; `lengths_only` where no network reads this matching, and
    `patches`, the pictures' own features, only where one reads them.
    """

    size_px: int
    precision: Precision
    features: Features
    matching: Matching
    foreground: Foreground
    lengths_only: bool
    patches: bool

    @classmethod
    def of(cls, config: Config, wildcards: Mapping[str, str]) -> Stage:
        name = wildcards["matching"]
        unread = name not in network_matchings(config)
        read = name in patch_matchings(config) and place_of(wildcards) in places(config)
        read = read and wildcards.get("source") != LINES  # which no detector learns from
        matching = config.matchings[name]
        return cls.pick(config, matching=matching, lengths_only=unread, patches=read)


def residuals_file(config: Config, place: str, matching: str, source: str) -> str:
    """The residuals of a source (see `images_of`) by one matching."""
    return f"{category_folder(config, place)}/compute_residuals/{matching}/{source}.h5"


def choice_file(config: Config, place: str, matching: str) -> dict[str, str]:
    """What says which of its candidates a matching is for a category, where it has some."""
    if config.matchings[matching].candidates is None:
        return {}
    return {"choice": f"{category_folder(config, place)}/choose_matching/{matching}/choice.json"}


def images_of(config: Config, place: str, source: str) -> str:
    """The pictures of a source: `real`, `simulated`, `lines` (simulated thin ones), or
    `expanded_<labels>_seed<seed>`.
    """
    folder = category_folder(config, place)
    if source == REAL:
        return f"{folder}/make_manifest/images.h5"
    if source == SIMULATED:
        return f"{folder}/simulate_defects/images.h5"
    if source == LINES:
        return f"{folder}/simulate_defects/lines.h5"
    labels, seed = source.removeprefix("expanded_").rsplit("_", 1)
    return f"{folder}/expand_defects/{labels}/{seed}/images.h5"


def backbone_file(config: Config) -> dict[str, str]:
    """The backbone's local weights as an input, so that another file under its name is noticed."""
    file = config.features.weights.file
    return {} if file is None else {"backbone": file}
