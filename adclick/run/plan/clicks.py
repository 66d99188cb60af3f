"""ADClick: its trainings, its clicks, and the labels that it makes."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from adclick.run.config import Config
from adclick.run.device import Precision
from adclick.run.kinds import kinds_of, module_of
from adclick.run.plan.data import folder_digest
from adclick.run.plan.language import language_file
from adclick.run.plan.names import (
    HUMAN,
    INPUT_SUFFIXES,
    LINES,
    REAL,
    SIMULATED,
    adclick_pretraining,
    category_folder,
    click_matching,
    click_methods,
    click_variant,
    labeller,
    matching_of,
    named_place,
    place_of,
    places,
    plain_methods,
    pretraining_sources,
    reads_words,
    robot_of,
    seg_pretraining,
    variant_of_labels,
)
from adclick.run.plan.peers import WEIGHTS, peer_files, peer_settings
from adclick.run.plan.pick import Stage
from adclick.run.plan.residuals import images_of, residuals_file
from adclick.run.provenance import fingerprint
from adclick.run.settings.clicks import (
    MAP_THRESHOLD,
    PEERS,
    PROTOCOL,
    Clicks,
    Edges,
    Levels,
    Robot,
    Zoom,
)
from adclick.run.settings.data import Geometry, Resize
from adclick.run.settings.networks import Network, ResidualInput, VisionLanguage
from adclick.run.settings.residuals import Detection
from adclick.run.settings.section import Section
from adclick.run.settings.training import AdclickVariant, Batch, SegVariant, Training


class Refining(Section):
    """How answers are refined that a trained estimate of levels is about."""

    levels: Levels
    zoom: Zoom | None
    edges: Edges


class TrainAdclick(Stage):
    """Settings of `train_adclick`, for pretraining and for finetuning."""

    precision: Precision
    size_px: int
    stride: int
    language: bool
    text_channels: int
    residual_channels: int
    inputs: Literal["residual", "image", "both"]
    published: str | None
    residual_input: ResidualInput
    network: Network
    vision_language: VisionLanguage
    training: Training
    radius_px: float
    threshold: float
    pretrain: bool
    category: str
    sources: list[str]
    refining: Refining | None

    @classmethod
    def of(cls, config: Config, wildcards: Mapping[str, str]) -> Stage:
        place, pretraining = place_of(wildcards), wildcards.get("pretraining")
        if pretraining is None:
            variant = config.adclick_variants[wildcards["variant"]]
            language, inputs, published = variant.language, variant.inputs, variant.published
        else:
            published = None
            language = reads_words(pretraining)
            ends = reversed(
                INPUT_SUFFIXES.items()
            )  # every name ends with the residual's, which is ""
            inputs = next(name for name, suffix in ends if pretraining.endswith(suffix))
        return cls.pick(
            config,
            **training_settings(config, place, pretraining),
            language=language,
            inputs=inputs,
            published=published,
            training=settings_of_phase(config.adclick_training, pretraining),
            refining=_refining(config) if pretraining is None and published is None else None,
        )


class SimulateClicks(Stage):
    """Settings of `simulate_clicks`; without a `peer` the method is a network, and `detection` is
    for the thresholded training-free map alone. Answers of a network alone, and not of a plain row,
    are refined, at the levels of its weights. Where a peer's weights lie is no setting: their files
    are inputs.
    """

    category: str
    clicks: Clicks
    robot: Robot
    peer: str | None
    peer_code: str | None
    peer_settings: dict[str, bool | int | float | str]
    detection: Detection | None

    @classmethod
    def of(cls, config: Config, wildcards: Mapping[str, str]) -> Stage:
        peer = wildcards["method"] if wildcards["method"] in config.run_click_peers else None
        robot = wildcards.get("robot", PROTOCOL)
        settings = peer_settings(config, peer) if peer else {}
        is_plain = peer is not None or wildcards["method"] in plain_methods(config)
        read = {"levels": None, "edges": None if is_plain else _edges_of(config)}
        return cls.pick(
            config,
            category=wildcards["category"],
            clicks=config.clicks.model_copy(update=read | ({"zoom": None} if is_plain else {})),
            robot=robot_of(config, robot),
            peer=peer,
            peer_code=fingerprint(module_of(PEERS, peer)) if peer in kinds_of(PEERS) else None,
            peer_settings={name: one for name, one in settings.items() if name != WEIGHTS},
            detection=config.detection if peer == MAP_THRESHOLD else None,
        )


class EvaluateClicks(Stage):
    """Settings of `evaluate_clicks`."""

    dataset: str
    category: str
    method: str
    robot: str

    @classmethod
    def of(cls, config: Config, wildcards: Mapping[str, str]) -> Stage:
        robot = wildcards.get("robot", PROTOCOL)
        return cls.pick(config, **named_place(wildcards), method=wildcards["method"], robot=robot)


class LabelDefects(Stage):
    """Settings of `label_defects`."""

    category: str
    supervision: Literal["weak", "full", "box"]
    labelled_images: int | None
    threshold: float
    radius_px: float
    label_clicks: int
    zoom: Zoom | None
    edges: Edges | None

    @classmethod
    def of(cls, config: Config, wildcards: Mapping[str, str]) -> Stage:
        variant = variant_of_labels(config, wildcards["labels"])
        is_clicked = variant.supervision == "weak"
        return cls(
            category=wildcards["category"],
            supervision=variant.supervision,  # pyright: ignore[reportArgumentType]
            labelled_images=variant.labelled_images,
            threshold=config.clicks.threshold,
            radius_px=config.clicks.radius_px,
            label_clicks=variant.label_clicks or config.clicks.label_clicks,
            zoom=config.clicks.zoom if is_clicked else None,
            edges=_edges_of(config) if is_clicked else None,
        )


class RecordClicks(Stage):
    """Settings of `record_clicks`: what of clicks no training reads, and a model folder needs."""

    zoom: Zoom | None
    edges: Edges | None

    @classmethod
    def of(cls, config: Config, _: Mapping[str, str], /) -> Stage:
        return cls(zoom=config.clicks.zoom, edges=_edges_of(config))


class CollectLabels(Stage):
    """Settings of `collect_labels`."""

    size: Geometry | None
    size_px: int
    stride: int
    resize: Resize

    @classmethod
    def of(cls, config: Config, wildcards: Mapping[str, str]) -> Stage:
        size = config.datasets[wildcards["dataset"]].size
        return cls.pick(config, size=size, stride=config.features.stride)


def _edges_of(config: Config) -> Edges | None:
    """Without an estimate of levels no line is followed, whatever is set for lines."""
    edges = config.clicks.edges
    if edges is None or config.clicks.levels is not None:
        return edges
    return edges.model_copy(update={"lines": None})


def _refining(config: Config) -> Refining | None:
    clicks = config.clicks
    if clicks.levels is None or clicks.edges is None:
        return None
    levels = clicks.levels
    if clicks.edges.lines is None:
        levels = levels.model_copy(update={"lines": None})
    return Refining(levels=levels, zoom=clicks.zoom, edges=clicks.edges)


def adclick_weights(config: Config, place: str, name: str, seed: int | str) -> str:
    """The weights of an ADClick variant: finetuned, or pretrained as they are."""
    variant = config.adclick_variants[name]
    if variant.finetune:
        folder = category_folder(config, place)
        return f"{folder}/train_adclick/{name}/seed{seed}/weights.safetensors"
    matching, pretraining = matching_of(config, variant), adclick_pretraining(variant)
    return _pretrained(config, place, "adclick", matching, pretraining, seed)


def _pretrained(
    config: Config, place: str, network: str, matching: str, pretraining: str, seed: int | str
) -> str:
    folder = f"{category_folder(config, place)}/pretrain_{network}/{matching}/{pretraining}"
    return f"{folder}/seed{seed}/weights.safetensors"


def click_models(config: Config) -> list[str]:
    """What `adclick export-model` needs of all ADClick variants of the run: their weights, and how
    their answers are refined.
    """
    seeds = click_methods(config)
    weights = [
        adclick_weights(config, place, name, seed)
        for place in places(config)
        for name in config.run_adclick
        for seed in seeds[name]
    ]
    return [*weights, refinement_file(config)]


def refinement_file(config: Config) -> str:
    """What says how a run's networks' answers to clicks are refined."""
    return f"results/{config.run}/record_clicks/clicks.json"


def training_inputs(
    config: Config, sources: Iterable[str], *, matching: str, masks: bool, language: bool
) -> dict[str, list[str]]:
    """The artifacts of all source categories, a list a kind, aligned; residuals by one matching.
    Words only where they are read.
    """
    sources = list(sources)
    folders = [category_folder(config, source) for source in sources]
    inputs = {
        "manifests": [f"{folder}/make_manifest/manifest.csv" for folder in folders],
        "images": [f"{folder}/make_manifest/images.h5" for folder in folders],
        "residuals": [residuals_file(config, source, matching, REAL) for source in sources],
        "simulated_images": [f"{folder}/simulate_defects/images.h5" for folder in folders],
        "simulated_residuals": [
            residuals_file(config, source, matching, SIMULATED) for source in sources
        ],
    }
    if language:
        inputs["languages"] = [language_file(config, source.split("/")[0]) for source in sources]
    if language and config.vision_language.weights is not None:
        inputs["branch"] = [config.vision_language.weights]
    true_masks = {"masks": [f"{folder}/make_manifest/masks.h5" for folder in folders]}
    return inputs | (true_masks if masks else {})


def pretraining_inputs(
    config: Config, place: str, matching: str, pretraining: str
) -> dict[str, list[str]]:
    """What a pretraining for one category reads: the other categories, true masks too."""
    return training_inputs(
        config,
        pretraining_sources(config, place),
        matching=matching,
        masks=True,
        language=reads_words(pretraining),
    )


def initial_weights(
    config: Config, place: str, network: str, name: str, seed: int | str
) -> dict[str, str]:
    """The pretrained weights that a variant's training starts from, under `initial`, or those that
    others published; nothing without any.
    """
    if network == "adclick" and (peer := config.adclick_variants[name].published):
        files = peer_files(config, peer)
        return {"initial": files[0]} if files else {}
    if not pretraining_sources(config, place):
        return {}
    if network == "adclick":
        click_variant = config.adclick_variants[name]
        if not click_variant.pretrain:
            return {}
        matching, shared = matching_of(config, click_variant), adclick_pretraining(click_variant)
    else:
        variant = config.adclick_seg_variants[name]
        if not variant.pretrain:
            return {}
        matching, shared = matching_of(config, variant), seg_pretraining(variant)
    return {"initial": _pretrained(config, place, network, matching, shared, seed)}


def finetuning_inputs(
    config: Config, place: str, variant: str, seed: int | str
) -> dict[str, str | list[str]]:
    """What an ADClick variant's training on one category reads."""
    matching, chosen = click_matching(config, variant), config.adclick_variants[variant]
    own = training_inputs(config, [place], matching=matching, masks=False, language=chosen.language)
    refining = None if chosen.published is not None else _refining(config)
    if refining is not None and refining.levels.lines is not None:
        own["line_images"] = [images_of(config, place, LINES)]
        own["line_residuals"] = [residuals_file(config, place, matching, LINES)]
    return {**initial_weights(config, place, "adclick", variant, seed), **own}


def click_inputs(
    config: Config, place: str, method: str, seed: int | str
) -> dict[str, str | list[str]]:
    """The network of a click method, if it has one, and the residuals of the real images, if it
    reads them; of a peer that reads the picture alone the files of its weights, if it has any.
    """
    if method in kinds_of(PEERS):
        files = peer_files(config, method)
        return {"peer_weights": files} if files else {}
    residuals = residuals_file(config, place, click_matching(config, method), REAL)
    if method in config.run_click_peers:
        return {"residuals": residuals}
    name = click_variant(config, method)
    weights = adclick_weights(config, place, name, seed)
    words = words_of(config, place, config.adclick_variants[name])
    return {"residuals": residuals, "weights": weights, **words}


def words_of(config: Config, place: str, variant: AdclickVariant | SegVariant) -> dict[str, str]:
    """The words that a variant's network reads, if it reads any."""
    return {"language": language_file(config, place.split("/")[0])} if variant.language else {}


def labelling_inputs(
    config: Config, place: str, labels: str, seed: int | str
) -> dict[str, str | list[str]]:
    """The network that clicks labels and the residuals that it sees; other labels need neither."""
    variant = variant_of_labels(config, labels)
    if variant.supervision != "weak":
        return {}
    return click_inputs(config, place, labeller(config, matching_of(config, variant)), seed)


def labels_file(config: Config, place: str, labels: str, seed: int | str) -> str:
    """The labels by their name: a person's, which no seed changes, or a stage's."""
    folder = category_folder(config, place)
    if labels == HUMAN:
        return f"{folder}/collect_labels/labels.h5"
    return f"{folder}/label_defects/{labels}/seed{seed}/labels.h5"


def labels_folder(config: Config, place: str) -> str:
    """Where a person's labels of a category are: below the folder that the data set names, or where
    `adclick annotate` puts those of the run.
    """
    dataset, category = place.split("/")
    named = config.datasets[dataset].labels
    if named is None:
        return f"{category_folder(config, place)}/annotate/labels"
    return f"{named}/{category}"


def labels_digest(config: Config, place: str) -> str:
    """What changes when a person's labels of a category change."""
    return folder_digest(labels_folder(config, place))


def missing_labels(config: Config, unread: Iterable[str]) -> str | None:
    """What to do about the first category whose labels are to be read and are not there; `unread`
    are places.
    """
    for place in unread:
        folder = labels_folder(config, place)
        if not Path(folder).is_dir():
            return (
                f"{folder}: no labels of {place}; label its training defects with"
                f" `adclick annotate {category_folder(config, place)}`, or name the folder above"
                f" them with datasets.{place.split('/')[0]}.labels"
            )
    return None


def click_scores(config: Config, place: str, method: str, robot: str, seed: int | str) -> str:
    """The scores of a click method with a robot user."""
    own = "" if robot == PROTOCOL else f"{robot}/"
    folder = f"{category_folder(config, place)}/evaluate_clicks"
    return f"{folder}/{method}/{own}seed{seed}/metrics.json"


def settings_of_phase(training: Training, pretraining: str | None) -> Training:
    """The settings of one phase: those of the other are blanked, since they change nothing here."""
    nothing = Batch(normal=0, simulated=0, real=0)
    if pretraining is None:
        return training.model_copy(
            update={"pretrain_steps": 0, "pretrain_batch": nothing, "pretrain_rate": 1.0}
        )
    return training.model_copy(update={"steps": 0, "batch": nothing})


def training_settings(config: Config, place: str, pretraining: str | None) -> dict[str, Any]:
    """What the trainings of both networks are told alike."""
    return {
        "stride": config.features.stride,
        "text_channels": config.language.channels,
        "residual_channels": config.features.dimension,
        "radius_px": config.clicks.radius_px,
        "threshold": config.clicks.threshold,
        "pretrain": pretraining is not None,
        "category": place,
        "sources": pretraining_sources(config, place) if pretraining else [place],
    }
