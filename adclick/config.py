"""Every setting of a run: frozen models without defaults, so that a value lives in config/*.yaml
alone.

`Config` is validated once, in the Snakefile. Each stage gets only the settings that can change its
result (`stage_settings`), so that editing one section reruns only the stages that read it.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from adclick.errors import InputError

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]+$")]


ClickPeer = Literal["threshold", "random_walker", "grabcut"]


class Section(BaseModel):
    """A part of the configuration or of a `model.json`: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Dataset(Section):
    """Where a data set lies, how it is read, and which of its defects are for training."""

    layout: Literal["mvtec", "ksdd2", "magnetic_tile", "csv", "toy"]
    root: str
    categories: list[Name]
    textures: list[Name]
    prompts: str
    split: str
    training_defects: Count
    empty_masks: Literal["error", "drop", "normal"]
    labels: str | None


class Toy(Section):
    """How many pictures of each kind the embedded data set has, per category."""

    normals: Positive
    test_normals: Positive
    defects_per_type: Positive
    seed: int


class Weights(Section):
    """Where pretrained weights come from: a model hub, a local file or folder, or seeded and
    untrained.
    """

    source: Literal["hub", "file", "seeded"]
    file: str | None
    sha256: str | None
    seed: int

    @model_validator(mode="after")
    def _file_is_named(self) -> "Weights":
        if (self.source == "file") != (self.file is not None):
            raise ValueError("`file` must be given when source is 'file', and be null otherwise")
        return self


class Features(Section):
    """The frozen backbone and the 3x3 patch features made of it (Sec. 3.2)."""

    backbone: str
    weights: Weights
    input_px: Positive | None
    layers: Annotated[list[Count], Field(min_length=1)]
    layer_dimensions: list[Positive]
    dimension: Positive
    stride: Literal[8]
    batch_size: Positive

    @model_validator(mode="after")
    def _one_dimension_a_layer(self) -> "Features":
        if len(self.layers) != len(self.layer_dimensions):
            raise ValueError("layers and layer_dimensions must have equal lengths")
        if list(self.layers) != sorted(set(self.layers)):
            raise ValueError(f"layers = {self.layers}: each once, in ascending order")
        if self.dimension > sum(self.layer_dimensions):
            raise ValueError(
                "dimension exceeds the sum of layer_dimensions: features are never pooled up"
            )
        return self


class Retrieval(Section):
    """The learning-free global similarity and the number of neighbours K (Sec. 3.5)."""

    words: Positive
    blocks: Positive
    kept_blocks: Positive
    sample_pixels: Positive
    neighbours: Positive


class Matching(Section):
    """Which normal patches a patch may be matched with (Eq. 3): how far away in grid units, and of
    how many of the K retrieved images; null = everywhere, all.
    """

    radius: NonNegative | None
    neighbours: Positive | None


class Foreground(Section):
    """The object's mask estimated from normal images (objects only)."""

    sample_pixels: Positive
    samples_per_class: Positive
    neighbours: Count


class Simulation(Section):
    """Simulated defects on normal images."""

    per_normal: Positive
    texture_folder: str | None
    streaks: NonNegative
    blobs: NonNegative
    soft_regions: NonNegative
    minimum_area: Share


class Expansion(Section):
    """How many variants each labelled training defect becomes."""

    copies: Count


class Prompts(Section):
    """How many phrases describe a defect type, and how an LLM is asked for them."""

    source: Literal["bank", "llm"]
    phrases: Positive
    requested: Positive
    base_url: str | None
    model: str
    temperature: NonNegative | None
    seed: int | None
    key_variable: str


class Language(Section):
    """The text encoder (Eq. 6)."""

    encoder: str
    weights: Weights
    channels: Positive
    tokens: Positive
    average: Literal["masked", "legacy_mean"]


class ResidualInput(Section):
    """What the network sees of a residual: its square, optionally normalised by that of normal
    images (per channel, or per group of channels), averaged in groups, log1p.
    """

    normalise: Literal["channel", "group"] | None
    clamp: NonNegative | None
    groups: Positive | None
    log: bool

    @model_validator(mode="after")
    def _groups_are_given(self) -> "ResidualInput":
        if self.normalise == "group" and self.groups is None:
            raise ValueError("normalise: group needs `groups`, the number of groups")
        return self


class Network(Section):
    """Sizes of the residual trunk, neck and head."""

    dim: Positive
    depth: Positive
    heads: Positive
    window: Positive
    drop_path: Share
    click_init: Literal["default", "visible"]
    language_init: Literal["default", "silent"]
    click_cells: Positive | None
    image_channels: Annotated[list[Positive], Field(min_length=3, max_length=3)]
    neck_channels: list[Positive]
    neck_strides: list[Positive]
    head_hidden: Positive


class SegNetwork(Section):
    """What ADClick-Seg has otherwise than ADClick, or beside it: null where it is the same."""

    window: Positive | None
    normalise: Literal["channel", "group"] | None
    shortcut: Literal["none", "unsupervised", "all"]
    image_channels: Annotated[list[Positive], Field(min_length=3, max_length=3)] | None


class VisionLanguage(Section):
    """The Swin of the language-vision branch, its weights, and what of it is trained."""

    embed_dim: Positive
    depths: list[Positive]
    heads: list[Positive]
    window: Positive
    trainable: Literal["pwam", "language", "all"]
    weights: str | None


class Batch(Section):
    """How many samples of each kind a training batch holds."""

    normal: Count
    simulated: Count
    real: Count


class Training(Section):
    """One training loop: length, batches, optimiser, averaging, clicks."""

    pretrain_steps: Count
    steps: Count
    pretrain_batch: Batch
    batch: Batch
    learning_rate: Annotated[float, Field(gt=0)]
    fusion_learning_rate: Annotated[float, Field(gt=0)]
    pretrain_rate: Annotated[float, Field(gt=0)]
    weight_decay: NonNegative
    warmup_steps: Count
    clip_norm: Annotated[float, Field(gt=0)]
    ema_decay: Share
    click_rounds: Count
    uncorrected_steps: Share
    deepest_first_click: Share
    augment: bool
    gain: NonNegative


class AdclickVariant(Section):
    """A row of tables 1 and 7. `inputs` other than the residual show what the residual is worth;
    `pretrain: false` trains on the category's simulated defects from nothing.
    """

    language: bool
    pretrain: bool
    finetune: bool
    inputs: Literal["residual", "image", "both"]
    matching: Name | None

    @model_validator(mode="after")
    def _is_trained(self) -> "AdclickVariant":
        if not (self.pretrain or self.finetune):
            raise ValueError("pretrain and finetune are both false: the network would be untrained")
        return self


class SegTraining(Section):
    """How an ADClick-Seg variant is trained, whatever residuals it reads."""

    supervision: Literal["unsupervised", "weak", "full", "box", "human"]
    pretrain: bool
    iis: bool
    language: bool
    abandon: bool


class SegVariant(SegTraining):
    """A row of tables 2-6 and 8, or, with fewer images or another number of clicks than the run's,
    a point of the figure of what labels buy.
    """

    matching: Name | None
    labelled_images: Positive | None
    label_clicks: Positive | None

    @model_validator(mode="after")
    def _labels_are_read(self) -> "SegVariant":
        if self.label_clicks is not None and self.supervision != "weak":
            raise ValueError("label_clicks: only labels of supervision weak have clicks")
        if self.labelled_images is not None and self.supervision == "unsupervised":
            raise ValueError("labelled_images: supervision unsupervised reads no label")
        if self.labelled_images is not None and self.supervision == "human":
            raise ValueError("labelled_images: supervision human reads all that a person finished")
        return self


class Clicks(Section):
    """Simulated clicks: after how many the mask is scored, its threshold, and the disks' radius."""

    counts: Annotated[list[Positive], Field(min_length=1)]
    threshold: Share
    radius_px: NonNegative
    label_clicks: Positive


class Robot(Section):
    """A robot user: where it clicks, what share of its clicks has the wrong sign, and how often
    each image is clicked anew.
    """

    place: Literal["deepest", "inside"]
    wrong: Share
    draws: Positive

    @model_validator(mode="after")
    def _draws_differ(self) -> "Robot":
        if self.draws > 1 and self.place == "deepest" and self.wrong == 0:
            raise ValueError("draws of a robot that draws nothing are all equal; set draws to 1")
        return self


class Zoom(Section):
    """A second look at the part of a picture that the answer is about."""

    margin: Annotated[float, Field(ge=1)]
    least_side: Share


PROTOCOL = "deepest"
PROTOCOL_ROBOT = Robot(place="deepest", wrong=0, draws=1)


class Detection(Section):
    """Zero-click maps: smoothing and foreground weighting."""

    smoothing_px: NonNegative
    foreground_exponent: NonNegative


class Sliding(Section):
    """Windows of a map: their side as a share of the grid's, and their step as a share of it.

    Model folders keep it: a change needs a new `FORMAT` there.
    """

    window: Annotated[float, Field(gt=0, le=1)]
    step: Annotated[float, Field(gt=0, le=1)]


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
    run_click_peers: list[ClickPeer]
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
        unknown = sorted(set(tables) - set(range(1, 9)))
        if unknown:
            raise ValueError(f"no such table: {unknown}; tables are 1 to 8")
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
        _require("run_zoom", self.run_zoom, {name: None for name in self.run_adclick})
        _require("run_robots", self.run_robots, self.robots)
        _require("run_sliding", self.run_sliding, self.adclick_seg_variants)
        taken = [name for name in self.sliding_methods if name in self.adclick_seg_variants]
        if taken:
            raise ValueError(f"adclick_seg_variants: {taken} are the names of sliding maps")
        _require("label_with", [self.label_with], self.adclick_variants)
        for number, names in self.tables.items():
            _require(f"tables.{number}", names, {name: None for name in self.run_datasets})
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


def validation_line(source: str, error: ValidationError) -> str:
    """All faults of a validation in one line: source, key, value, what is allowed."""
    faults = [
        f"{_key(fault['loc'])}{_value(fault)}{': ' if fault['loc'] else ''}"
        f"{fault['msg'].removeprefix('Value error, ')}"
        for fault in error.errors()
    ]
    return f"{source}: " + "; ".join(faults)


def _key(location: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in location)


def _value(fault: Mapping[str, Any]) -> str:
    value = fault["input"]
    return "" if isinstance(value, dict | list) else f" = {value!r}"


def _require(key: str, names: Sequence[str], known: Mapping[str, Any]) -> None:
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(f"{key}: {missing} not defined; known: {sorted(known)}")


# --- what each stage is given -------------------------------------------------------------------


class DrawToy(Section):
    """Settings of `draw_toy`."""

    size_px: int
    toy: Toy


class MakeManifest(Section):
    """Settings of `make_manifest`."""

    layout: str
    root: str
    category: str
    size_px: int
    split: str
    training_defects: int
    empty_masks: Literal["error", "drop", "normal"]


class ExtractFeatures(Section):
    """Settings of `extract_features`."""

    size_px: int
    features: Features


class FitRetrieval(Section):
    """Settings of `fit_retrieval`."""

    retrieval: Retrieval


class FitForeground(Section):
    """Settings of `fit_foreground`; `estimate` is false for textures."""

    foreground: Foreground
    estimate: bool


class SimulateDefects(Section):
    """Settings of `simulate_defects`."""

    simulation: Simulation


class FindNeighbours(Section):
    """Settings of `find_neighbours`."""

    features: Features
    retrieval: Retrieval


class ComputeResiduals(Section):
    """Settings of `compute_residuals`; `lengths_only` where no network reads this matching."""

    size_px: int
    features: Features
    matching: Matching
    foreground: Foreground
    lengths_only: bool


class GeneratePrompts(Section):
    """Settings of `generate_prompts`."""

    prompts: Prompts
    categories: list[str]


class EncodePrompts(Section):
    """Settings of `encode_prompts`."""

    language: Language


class TrainAdclick(Section):
    """Settings of `train_adclick`, for pretraining and for finetuning."""

    size_px: int
    stride: int
    language: bool
    text_channels: int
    residual_channels: int
    inputs: Literal["residual", "image", "both"]
    residual_input: ResidualInput
    network: Network
    vision_language: VisionLanguage
    training: Training
    radius_px: float
    threshold: float
    pretrain: bool
    category: str
    sources: list[str]


class SimulateClicks(Section):
    """Settings of `simulate_clicks`; without a `peer` the method is a network, and `detection` is
    for the thresholded training-free map alone.
    """

    category: str
    clicks: Clicks
    stride: int
    robot: Robot
    zoom: Zoom | None
    peer: ClickPeer | None
    detection: Detection | None


class EvaluateClicks(Section):
    """Settings of `evaluate_clicks`."""

    dataset: str
    category: str
    method: str
    robot: str


class LabelDefects(Section):
    """Settings of `label_defects`."""

    category: str
    supervision: Literal["weak", "full", "box"]
    labelled_images: int | None
    threshold: float
    radius_px: float
    label_clicks: int


class CollectLabels(Section):
    """Settings of `collect_labels`."""

    size_px: int


class ExpandDefects(Section):
    """Settings of `expand_defects`."""

    expansion: Expansion
    simulation: Simulation
    radius_px: float


class TrainAdclickSeg(Section):
    """Settings of `train_adclick_seg`, for pretraining and for training on one category."""

    size_px: int
    stride: int
    variant: SegTraining
    text_channels: int
    residual_channels: int
    residual_input: ResidualInput
    network: Network
    adclick_seg_network: SegNetwork
    vision_language: VisionLanguage
    training: Training
    radius_px: float
    threshold: float
    pretrain: bool
    category: str
    sources: list[str]


class PredictMaps(Section):
    """Settings of `predict_maps`."""

    category: str
    method: str
    size_px: int
    stride: int
    detection: Detection
    sliding: Sliding | None


class EvaluateMaps(Section):
    """Settings of `evaluate_maps`."""

    dataset: str
    category: str
    method: str
    supervised: bool


class MakeTable(Section):
    """Settings of `make_table`."""

    number: int
    datasets: dict[str, list[str]]
    methods: list[str]
    switches: dict[str, dict[str, Any]]
    scale_note: str
    scale: dict[str, str]
    titles: dict[str, str]


class MakeRobotTable(Section):
    """Settings of `make_robot_table`."""

    datasets: dict[str, list[str]]
    methods: list[str]
    robots: dict[str, Robot]
    scale_note: str
    scale: dict[str, str]
    titles: dict[str, str]


class MakeClickFigures(Section):
    """Settings of `make_click_figures`; cases are those of the method `shown`."""

    dataset: str
    category: str
    figure_cases: int
    clicks: Clicks
    methods: list[str]
    shown: str
    titles: dict[str, str]


class MakeMapFigures(Section):
    """Settings of `make_map_figures`: `columns` are the methods of the sheet, whose cases are those
    of `shown`; `methods` those of the curves.
    """

    dataset: str
    category: str
    figure_cases: int
    columns: list[str]
    methods: list[str]
    shown: str
    titles: dict[str, str]


class LabelCost(Section):
    """What the labels of a method cost: pictures, and clicks on each (0: painted, or none)."""

    method: str
    supervision: Literal["unsupervised", "weak", "full", "box"]
    images: int
    clicks: int


class MakeLabelCosts(Section):
    """Settings of `make_label_costs`."""

    dataset: str
    category: str
    costs: list[LabelCost]
    titles: dict[str, str]


class TrainingFiles(Section):
    """A method's trainings as places in a list of records; None where it lacks the phase."""

    network: str
    method: str
    pretraining: int | None
    training: int | None


class MakeTrainingFigure(Section):
    """Settings of `make_training_figure`."""

    dataset: str
    category: str
    trainings: list[TrainingFiles]
    titles: dict[str, str]


StageT = TypeVar("StageT", bound=Section)


def pick(config: Config, stage: type[StageT], **values: Any) -> StageT:
    """The settings of one stage: fields named like sections of the config are copied, the rest is
    given.
    """
    shared = {
        name: getattr(config, name)
        for name in stage.model_fields
        if name in Config.model_fields and name not in values
    }
    return stage(**shared, **values)
