"""The whole configuration of a run and the checks that cross its chapters.

`Config` is validated once, in the Snakefile. Each stage gets only the settings that can change its
result, so that editing one section reruns only the stages that read it. The sections are in
`adclick.run.settings`, one chapter a file.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from adclick.run.device import Precision
from adclick.run.errors import InputError
from adclick.run.kinds import kinds_of, settings_of
from adclick.run.settings.clicks import MAP_THRESHOLD, OPENER, PEERS, Clicks, Robots
from adclick.run.settings.data import Dataset, Expansion, Resize, Simulation, Toy
from adclick.run.settings.language import Language, Prompts
from adclick.run.settings.networks import (
    FeatureNetwork,
    Network,
    ResidualInput,
    SegNetwork,
    Sliding,
    VisionLanguage,
)
from adclick.run.settings.peers import DETECTOR_PEERS, LEARNER, peer_methods
from adclick.run.settings.residuals import (
    Detection,
    Features,
    Foreground,
    Matching,
    MatchingChoice,
    Retrieval,
)
from adclick.run.settings.section import Count, Name, Positive, Section, validation_line
from adclick.run.settings.tables import TABLES
from adclick.run.settings.training import (
    AdclickVariant,
    FeatureTraining,
    LabelCosts,
    SegVariant,
    SharedTraining,
    Training,
)
from adclick.run.yaml_files import NOT_YAML


class Config(Section):
    """The whole configuration; config/README.md explains every key, in the words written here."""

    run: Name = Field(description="Name of the run: results go to `results/<run>/`.")
    data_root: str = Field(
        description="Folder that holds the data sets. Moving the data makes nothing stale."
    )
    compute_threads: Positive = Field(
        description="Threads of one job. Results are byte-identical only for equal threads."
    )
    precision: Precision = Field(
        description="`bfloat16`: where a GPU has it, matrix products and convolutions of the"
        " networks are computed in bfloat16, in training and predicting, and those of the backbone"
        " in float16, which its features are kept in; losses, norms' statistics, weights and their"
        " averages stay float32. `float32`: nothing is. A CPU computes in float32 all the same."
    )
    spare_disk: bool | Literal["all"] = Field(
        description="Whether what can be made again goes when nothing more of a run reads it."
        " `true`: the bank of normal features, residuals of drawn pictures, networks' maps. `all`:"
        " everything but scores, figures and finished networks, so drawn pictures, real ones'"
        " residuals, pretrained weights, peers' maps and the parts that a killed job would go on"
        " from too (a training still goes on); to export a network or to train one more, nearly"
        " everything is made anew. `snakemake --notemp` keeps it all the same."
    )
    seeds: list[Count] = Field(
        min_length=1,
        description="Seeds of every training. With several, tables print mean ± standard"
        " deviation.",
    )
    scale_note: str = Field(
        description="A line on the run, printed below every table. What differs from the paper's"
        " scale is listed there of itself."
    )
    size_px: Positive = Field(
        description="Side of the square that pictures are resized to, in pixels, and of the windows"
        " through which networks see larger ones; see `datasets.<name>.size`."
    )
    resize: Resize = Field(
        description="How pictures and masks shrink to it: `published` takes samples between pixels,"
        " as the paper's and most other code does, and may miss a thin line; `area` takes the mean"
        " of what a pixel covers, and keeps thin defects of the masks in one piece."
    )
    datasets: dict[Name, Dataset] = Field(
        description="Definitions of data sets by name. Only those in `run_datasets` (and what they"
        " pretrain on) are read."
    )
    run_datasets: list[Name] = Field(description="Names of the data sets that are run.")
    duplicates: Literal["warn", "error"] = Field(
        description="What it is when one file lies among the training and the test pictures of a"
        " category, or among its normal and its defective ones: a warning by name (in the log of"
        " `make_manifest` and at the end of a run), or an `error`."
    )
    pretrain_on: dict[str, list[str]] = Field(
        description="`data set/category: [data set or data set/category, …]`. Not listed: all"
        " others of its data set. Empty: no pretraining."
    )
    toy: Toy = Field(
        description="How many pictures of the embedded data set are drawn, per category."
    )
    features: Features = Field(description="The frozen backbone and its patch features.")
    retrieval: Retrieval = Field(description="The learning-free global similarity.")
    matchings: dict[Name, Matching] = Field(
        description="Definitions of patch matching by name: with which normal patches a patch is"
        " compared (Eq. 3, 4). `location_aware` is the paper's; `patch_to_patch` and"
        " `image_to_image` are the extremes that it names (Sec. 3.2). Only those that something"
        " listed needs are computed."
    )
    matching: Name = Field(
        description="The run's matching: what variants without a `matching`, the peers"
        " `training_free` and `threshold`, and the figures read."
    )
    matching_choice: MatchingChoice = Field(
        description="On what the `candidates` of a matching are compared."
    )
    foreground: Foreground = Field(description="Estimate of where the object is (objects only).")
    simulation: Simulation = Field(description="Simulated defects on normal images.")
    expansion: Expansion = Field(description="Variants of the labelled training defects.")
    prompts: Prompts = Field(description="The phrases that describe a defect type.")
    language: Language = Field(description="The text encoder.")
    residual_input: ResidualInput = Field(
        description="What the networks see of a residual. It is squared once in any case."
    )
    network: Network = Field(description="Sizes of trunk, neck and head.")
    adclick_seg_network: SegNetwork = Field(
        description="What ADClick-Seg has otherwise than ADClick, or beside it: for short"
        " trainings, not in the paper."
    )
    vision_language: VisionLanguage = Field(description="The Swin of the language-vision branch.")
    training: SharedTraining = Field(description="Training of both networks.")
    adclick_training: Training = Field(
        description="Training of ADClick: its batches, and any key of `training` with another value"
        " here."
    )
    adclick_seg_training: Training = Field(description="Training of ADClick-Seg, likewise.")
    feature_network: FeatureNetwork = Field(
        description="Sizes of ADClick-Seg variants with `detector: features`: not in the paper."
    )
    feature_training: FeatureTraining = Field(description="Training of these variants.")
    adclick_variants: dict[Name, AdclickVariant] = Field(
        description="Rows of tables 1 and 7, by name."
    )
    label_costs: LabelCosts = Field(
        description="What labels buy: every pair of the numbers below is a variant of ADClick-Seg"
        " that is trained like `weak`, named `weak_3_images_1_click`, `weak_3_images` (with the"
        " run's clicks) or `weak_1_click` (with all images). They run when `run_adclick_seg` lists"
        " them."
    )
    adclick_seg_variants: dict[Name, SegVariant] = Field(
        description="Rows of tables 2-6 and 8, by name."
    )
    run_adclick: list[Name] = Field(description="ADClick variants that are run.")
    run_click_peers: list[Name] = Field(
        description="Peers: `threshold`, the training-free map cut at a threshold set by the"
        " clicks; `random_walker`, `watershed` and `grabcut`, which see the picture alone; and"
        " `sam`, `sam2` and `simpleclick`, which were trained elsewhere and have weights. Without"
        " these their rows stay empty."
    )
    click_peers: dict[Name, dict[str, bool | int | float | str]] = Field(
        description="Settings of peers, by name: any keyword of `open_peer` in the peer's file"
        " (`adclick/models/peers`) that has a value there. `weights` is a file, a folder as"
        " transformers writes it, or a model of its hub that was downloaded (`hf download`)."
    )
    run_adclick_seg: list[Name] = Field(description="ADClick-Seg variants that are run.")
    run_sliding: list[Name] = Field(
        description="Variants, of those that are run, whose maps are also made of sliding windows,"
        " as `<variant>_sliding`."
    )
    run_map_peers: list[Name] = Field(
        description="Peers: `training_free`, the length of the residual by the run's matching;"
        " `training_free_<matching>`, by another; and those that learn, by their files in"
        " `adclick/training/peers`. One that reads labels learns from those that ADClick makes"
        " (`devnet`), or from others (`devnet_full`, `devnet_box`, `devnet_human`)."
    )
    detector_peers: dict[Name, dict[str, bool | int | float | str]] = Field(
        description="Settings of the peers that learn, by name: any keyword of `fit_peer` in the"
        " peer's file that has a value there."
    )
    anomalib_python: str = Field(
        description="The interpreter of the environment of anomalib, whose models are some of these"
        " peers (`make peers` makes it). Where it is not there, their rows stay empty."
    )
    label_with: Name = Field(
        description="The ADClick variant that labels the training defects. For detectors with"
        " another matching, the variant that equals it but for `matching` does; it must be defined."
    )
    clicks: Clicks = Field(description="Simulated clicks.")
    robots: Robots = Field(
        description="Robot users by name, besides that of the protocol, `deepest`, who clicks the"
        " deepest point of the larger error and is always run."
    )
    run_robots: list[Name] = Field(
        description="Robot users of the table `honest_clicks`, besides `deepest`. Empty: no such"
        " table."
    )
    robot_methods: list[Name] = Field(
        description="Click methods in that table: those listed that are run."
    )
    run_plain: list[Name] = Field(
        description="Variants of `run_adclick` that get one more row in table 1, `<variant>_plain`:"
        " the network's own answers, without `clicks.zoom` and `clicks.edges`, as in the paper. No"
        " training of its own."
    )
    detection: Detection = Field(description="Anomaly maps without clicks.")
    sliding: Sliding = Field(
        description="Sliding windows: residual tokens and language-vision maps of the whole image,"
        " cropped; probabilities are averaged where windows overlap."
    )
    tables: dict[int, list[Name]] = Field(
        description="Tables of the run: `number: [data set, …]`; an empty list leaves a table out."
    )
    figure_cases: Positive = Field(description="Images shown a figure, from the best to the worst.")
    titles: dict[str, str] = Field(
        description="Printed names of data sets, categories and methods in tables and figures; one"
        " that is not listed is printed as it is."
    )

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("each seed once")
        return seeds

    @field_validator("adclick_training", "adclick_seg_training", mode="wrap")
    @classmethod
    def _over_what_both_have(cls, own: Any, validate: Callable[[Any], Any], info: Any) -> Any:
        shared = info.data.get("training")
        if shared is None:  # faulty, which is said once, there
            return own
        return validate(shared.model_dump() | own if isinstance(own, dict) else own)

    @field_validator("adclick_seg_variants")
    @classmethod
    def _with_label_costs(cls, variants: dict[str, SegVariant], info: Any) -> dict[str, SegVariant]:
        costs, weak = info.data.get("label_costs"), variants.get("weak")
        if costs is None or not (costs.images or costs.clicks):
            return variants
        if weak is None or weak.supervision != "weak":
            raise ValueError("label_costs needs a variant `weak` with supervision weak")
        return costs.variants(weak) | variants

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
        _check_peers("click_peers", self.click_peers, PEERS, OPENER)
        _check_peers("detector_peers", self.detector_peers, DETECTOR_PEERS, LEARNER)
        _require("run_plain", self.run_plain, self.run_adclick)
        _require("run_robots", self.run_robots, self.robots)
        _require("run_sliding", self.run_sliding, self.adclick_seg_variants)
        whole = [
            name
            for name in self.run_sliding
            if self.adclick_seg_variants[name].detector is not None
        ]
        if whole:
            raise ValueError(f"run_sliding: {whole} look at whole images alone")
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
        sets = [entry for entry in listed if "/" not in entry]
        _require("pretrain_on", sets, self.datasets)
        return self

    @model_validator(mode="after")
    def _matchings_are_defined(self) -> "Config":
        _require("matching", [self.matching], self.matchings)
        _require("run_map_peers", self.run_map_peers, [*self.map_peers, *peer_methods()])
        own = {f"adclick_variants.{name}": one for name, one in self.adclick_variants.items()}
        own |= {
            f"adclick_seg_variants.{name}": one for name, one in self.adclick_seg_variants.items()
        }
        for key, variant in own.items():
            _require(f"{key}.matching", [variant.matching or self.matching], self.matchings)
        for name, matching in self.matchings.items():
            if (matching.neighbours or 0) > self.retrieval.neighbours:
                raise ValueError(f"matchings.{name}.neighbours exceeds retrieval.neighbours")
            fixed = [other for other, one in self.matchings.items() if one.candidates is None]
            _require(f"matchings.{name}.candidates", matching.candidates or [], fixed)
        return self

    @model_validator(mode="after")
    def _sizes_fit(self) -> "Config":
        if self.size_px % self.features.stride:
            raise ValueError(
                f"size_px = {self.size_px}: not a multiple of features.stride"
                f" = {self.features.stride}"
            )
        if self.adclick_seg_network.normalise == "group" and self.residual_input.groups is None:
            raise ValueError("adclick_seg_network.normalise: group needs residual_input.groups")
        if (self.residual_input.groups or 0) > self.features.dimension:
            raise ValueError("residual_input.groups exceeds features.dimension")
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


def _check_peers(
    section: str, given: Mapping[str, Mapping[str, Any]], room: str, function: str
) -> None:
    """ValueError for settings that a peer does not have, or of another type than its default."""
    _require(section, [*given], kinds_of(room))
    for peer, settings in given.items():
        known = settings_of(room, peer, function)
        _require(f"{section}.{peer}", [*settings], known)
        for key, value in settings.items():
            if type(value) is not type(known[key]):
                raise ValueError(
                    f"{section}.{peer}.{key} = {value!r}: give a value like {known[key]!r}"
                )


BASE = Path("config/config.yaml")


def read_configuration(overlays: Sequence[Path], *, base: Path = BASE) -> Config:
    """`base` with overlays laid over it, as Snakemake does: mappings merge, lists are replaced."""
    from snakemake.utils import update_config

    values = _read(base)
    for path in overlays:
        update_config(values, _read(path))
    return load_config(values)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(
            f"configuration {path} cannot be read ({reason}): run this in the project's folder"
        ) from error
    except NOT_YAML as error:
        line = " ".join(str(error).split())[:200]
        raise InputError(f"configuration {path} is not valid YAML: {line}") from error
    if not isinstance(content, dict):
        raise InputError(f"configuration {path} must be a mapping of keys to values")
    return content
