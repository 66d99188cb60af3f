"""ADClick-Seg: its trainings and its maps."""

import itertools
from collections.abc import Mapping

from adclick.run.config import Config
from adclick.run.device import Precision
from adclick.run.kinds import module_of
from adclick.run.plan.clicks import (
    initial_weights,
    refinement_file,
    settings_of_phase,
    training_inputs,
    training_settings,
    words_of,
)
from adclick.run.plan.data import folder_digest
from adclick.run.plan.names import (
    REAL,
    category_folder,
    labels_of,
    map_matching,
    matching_of,
    named_place,
    peer_variant,
    place_of,
    places,
    reads_features,
    reads_words,
    trained_variant,
    variant_of_labels,
)
from adclick.run.plan.peers import learner_settings
from adclick.run.plan.pick import Stage
from adclick.run.plan.residuals import backbone_file, images_of, residuals_file
from adclick.run.provenance import fingerprint
from adclick.run.settings.data import Expansion, Simulation
from adclick.run.settings.networks import (
    FeatureNetwork,
    Network,
    ResidualInput,
    SegNetwork,
    Sliding,
    VisionLanguage,
)
from adclick.run.settings.peers import (
    DETECTOR_PEERS,
    LABELLED,
    SIMULATED_DEFECTS,
    TEXTURES,
    peer_methods,
    wanted_of,
)
from adclick.run.settings.residuals import Detection, Features
from adclick.run.settings.section import Section
from adclick.run.settings.training import FeatureTraining, SegTraining, Training


class ExpandDefects(Stage):
    """Settings of `expand_defects`."""

    size_px: int
    expansion: Expansion
    simulation: Simulation
    radius_px: float

    @classmethod
    def of(cls, config: Config, _: Mapping[str, str]) -> Stage:
        return cls.pick(config, radius_px=config.clicks.radius_px)


def expansion_inputs(config: Config, place: str, labels: str) -> dict[str, str]:
    """What lifelike expansion reads besides: where the object is, in residuals that the labels or
    their detectors need anyhow.
    """
    if config.expansion.pasting == "published":
        return {}
    matching = matching_of(config, variant_of_labels(config, labels))
    return {"residuals": residuals_file(config, place, matching, REAL)}


class FeatureDetection(Section):
    """What a detector on features is trained with: its own settings, and those of the training-free
    map that it adds to.
    """

    network: FeatureNetwork
    training: FeatureTraining
    detection: Detection

    @classmethod
    def of(cls, config: Config) -> "FeatureDetection":
        """Those of the run."""
        return cls(
            network=config.feature_network,
            training=config.feature_training,
            detection=config.detection,
        )


class TrainAdclickSeg(Stage):
    """Settings of `train_adclick_seg`, for pretraining and for training on one category;
    `features` where the variant is a detector on features.
    """

    precision: Precision
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
    features: FeatureDetection | None
    radius_px: float
    threshold: float
    pretrain: bool
    category: str
    sources: list[str]

    @classmethod
    def of(cls, config: Config, wildcards: Mapping[str, str]) -> Stage:
        place, pretraining = place_of(wildcards), wildcards.get("pretraining")
        if pretraining is None:
            defined = config.adclick_seg_variants[wildcards["variant"]]
            variant = SegTraining(**defined.model_dump(include=set(SegTraining.model_fields)))
        else:
            variant = SegTraining(
                supervision="full",
                pretrain=False,
                iis=pretraining.endswith("_iis"),
                language=reads_words(pretraining),
                abandon=False,
                detector=None,
            )
        own = config.adclick_seg_network
        window, normalise = own.window, own.normalise
        network, residual_input = config.network, config.residual_input
        return cls.pick(
            config,
            **training_settings(config, place, pretraining),
            variant=variant,
            features=FeatureDetection.of(config) if variant.detector else None,
            training=settings_of_phase(config.adclick_seg_training, pretraining),
            network=network.model_copy(update={"window": window or network.window}),
            residual_input=residual_input.model_copy(
                update={"normalise": normalise or residual_input.normalise}
            ),
        )


class PredictMaps(Stage):
    """Settings of `predict_maps`; `features` for a detector on these."""

    category: str
    method: str
    size_px: int
    stride: int
    detection: Detection
    sliding: Sliding | None
    features: bool

    @classmethod
    def of(cls, config: Config, wildcards: Mapping[str, str]) -> Stage:
        method = wildcards["method"]
        return cls.pick(
            config,
            category=wildcards["category"],
            method=method,
            stride=config.features.stride,
            sliding=config.sliding if method in config.sliding_methods else None,
            features=reads_features(config, method),
        )


class FitMapPeer(Stage):
    """Settings of `fit_map_peer`: the peer, what it asks for, its settings, and its code, which is
    that of its own file alone. Where its library lies is no setting.
    """

    peer: str
    size_px: int
    precision: Precision
    wants: list[str]
    peer_settings: dict[str, bool | int | float | str]
    peer_code: str
    features: Features
    textures: str | None

    @classmethod
    def of(cls, config: Config, wildcards: Mapping[str, str]) -> Stage:
        peer = peer_methods()[wildcards["method"]].peer
        return cls.pick(
            config,
            peer=peer,
            wants=wanted_of(peer),
            peer_settings=learner_settings(config, peer),
            peer_code=fingerprint(module_of(DETECTOR_PEERS, peer)),
            textures=peer_textures(config, wildcards["method"]),
        )


class EvaluateMaps(Stage):
    """Settings of `evaluate_maps`."""

    dataset: str
    category: str
    method: str
    supervised: bool

    @classmethod
    def of(cls, config: Config, wildcards: Mapping[str, str]) -> Stage:
        variant = config.adclick_seg_variants.get(trained_variant(config, wildcards["method"]))
        supervised = variant is not None and variant.supervision != "unsupervised"
        supervised |= reads_labels(wildcards["method"])
        return cls.pick(
            config,
            **named_place(wildcards),
            method=wildcards["method"],
            supervised=supervised,
        )


def detectors(config: Config) -> list[str]:
    """What `adclick export-model` needs of all ADClick-Seg variants of the run: their maps, which
    say how they are made, before them their weights, and how answers to clicks are refined.
    """
    found = itertools.product(places(config), config.run_adclick_seg, config.seeds)
    maps = [
        f"{category_folder(config, place)}/predict_maps/{name}/seed{seed}/maps.h5"
        for place, name, seed in found
    ]
    return [*maps, refinement_file(config)]


def detector_inputs(
    config: Config, place: str, variant: str, seed: int | str
) -> dict[str, str | list[str]]:
    """What an ADClick-Seg variant's training on one category reads."""
    matching = map_matching(config, variant)
    defined = config.adclick_seg_variants[variant]
    language = defined.language and not reads_features(config, variant)
    own = training_inputs(config, [place], matching=matching, masks=False, language=language)
    labels = labels_of(config, defined)
    if labels is not None:
        source = f"expanded_{labels}_seed{seed}"
        own["expanded_images"] = [images_of(config, place, source)]
        own["expanded_residuals"] = [residuals_file(config, place, matching, source)]
    if reads_features(config, variant):
        return {**own}
    return {**initial_weights(config, place, "adclick_seg", variant, seed), **own}


def reads_labels(method: str) -> bool:
    """Whether a method is a peer that learns from labels."""
    return method in peer_methods() and peer_methods()[method].labels is not None


def maps_file(config: Config, place: str, method: str, seed: int | str) -> str:
    """The maps of a detection method."""
    stage = "fit_map_peer" if method in peer_methods() else "predict_maps"
    return f"{category_folder(config, place)}/{stage}/{method}/seed{seed}/maps.h5"


def peer_textures(config: Config, method: str) -> str | None:
    """The folder of textures that a peer reads, where it asks for one and the run has one."""
    wants = TEXTURES in wanted_of(peer_methods()[method].peer)
    return config.simulation.texture_folder if wants else None


def texture_digest(config: Config, method: str) -> str:
    """The digest of what lies in that folder."""
    return folder_digest(peer_textures(config, method))


def map_peer_inputs(config: Config, place: str, method: str, seed: int | str) -> dict[str, str]:
    """What a peer learns from beside normal pictures: simulated defects, labelled ones and their
    copies, and the backbone's weights.
    """
    peer, labels = peer_methods()[method]
    wants, found = wanted_of(peer), backbone_file(config)
    if SIMULATED_DEFECTS in wants:
        found["simulated"] = images_of(config, place, "simulated")
    if LABELLED in wants and labels is not None:
        name = labels_of(config, peer_variant(labels))
        found["expanded"] = images_of(config, place, f"expanded_{name}_seed{seed}")
    return found


def detection_inputs(config: Config, place: str, method: str, seed: int | str) -> dict[str, str]:
    """The network of a detection method, if it has one, and the real images' residuals."""
    residuals = residuals_file(config, place, map_matching(config, method), REAL)
    if method in config.run_map_peers:
        return {"residuals": residuals}
    name = trained_variant(config, method)
    folder = f"{category_folder(config, place)}/train_adclick_seg/{name}/seed{seed}"
    weights = f"{folder}/weights.safetensors"
    if reads_features(config, name):
        return {"residuals": residuals, "weights": weights}
    words = words_of(config, place, config.adclick_seg_variants[name])
    return {"residuals": residuals, "weights": weights, **words}
