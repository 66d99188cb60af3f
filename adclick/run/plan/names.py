"""The names that a run's artifacts go by: places, matchings, variants, labels, robots."""

import re
from collections.abc import Iterable, Mapping

from adclick.run.config import Config
from adclick.run.errors import InputError
from adclick.run.plan.peers import missing_learners, missing_peers
from adclick.run.settings.clicks import PROTOCOL, PROTOCOL_ROBOT, Robot
from adclick.run.settings.peers import LABELS, SEED, Labels, peer_methods, wanted_of
from adclick.run.settings.training import AdclickVariant, SegVariant

REAL, SIMULATED, LINES = "real", "simulated", "lines"
HUMAN = "human"  # the labels that a person made
UNLISTED_SPLITS = ("drawn", "sorted")  # training defects that no file lists
NOTHING = "none"  # the method that a figure shows when the run has none
NETWORK_TITLES = {"adclick": "ADClick", "adclick_seg": "ADClick-Seg"}
INPUT_SUFFIXES = {"residual": "", "image": "_image", "both": "_both"}


def one_of(names: Iterable[str]) -> str:
    """A regular expression that matches the given names and nothing else."""
    return "|".join(re.escape(name) for name in dict.fromkeys(names))


def category_folder(config: Config, place: str) -> str:
    """The folder of one category's artifacts; `place` is `data set/category`."""
    return f"results/{config.run}/{place}"


def places(config: Config) -> list[str]:
    """Every `data set/category` that is run."""
    return [
        f"{name}/{category}"
        for name in config.run_datasets
        for category in config.datasets[name].categories
    ]


def pretraining_sources(config: Config, place: str) -> list[str]:
    """The `data set/category` places that a category's models are pretrained on, itself never among
    them.
    """
    dataset, category = place.split("/")
    if place not in config.pretrain_on:
        others = [name for name in config.datasets[dataset].categories if name != category]
        return [f"{dataset}/{name}" for name in others]
    named = [name for entry in config.pretrain_on[place] for name in _expanded(config, entry)]
    return [name for name in named if name != place]


def _expanded(config: Config, entry: str) -> list[str]:
    if "/" in entry:
        return [entry]
    return [f"{entry}/{category}" for category in config.datasets[entry].categories]


def matching_of(config: Config, variant: AdclickVariant | SegVariant) -> str:
    """The name of the matching whose residuals a variant reads: its own, or the run's."""
    return variant.matching or config.matching


def plain_methods(config: Config) -> dict[str, str]:
    """Click methods that are a network alone, and the variant that each is: one more row, no
    training.
    """
    return {f"{name}_plain": name for name in config.run_plain}


def click_variant(config: Config, method: str) -> str:
    """The ADClick variant whose network a click method is."""
    return plain_methods(config).get(method, method)


def click_matching(config: Config, method: str) -> str:
    """The name of the matching whose residuals a click method reads; a peer reads the run's."""
    if method in config.run_click_peers:
        return config.matching
    return matching_of(config, config.adclick_variants[click_variant(config, method)])


def map_matching(config: Config, method: str) -> str:
    """The name of the matching whose residuals a detection method reads."""
    if method in config.map_peers:
        return config.map_peers[method]
    if method in peer_methods():
        return config.matching
    return matching_of(config, config.adclick_seg_variants[trained_variant(config, method)])


def adclick_pretraining(variant: AdclickVariant) -> str:
    """The name of the pretraining that a variant starts from: variants with equal settings share
    it.
    """
    return ("language" if variant.language else "plain") + INPUT_SUFFIXES[variant.inputs]


def reads_words(pretraining: str) -> bool:
    """Whether the networks of a pretraining, by its name, have a language branch."""
    return pretraining.startswith("language")


def trained_variant(config: Config, method: str) -> str:
    """The ADClick-Seg variant whose network makes a method's maps: itself, or slid over windows."""
    return config.sliding_methods.get(method, method)


def seg_pretraining(variant: SegVariant) -> str:
    """The name of the pretraining that an ADClick-Seg variant starts from."""
    return ("language" if variant.language else "plain") + ("_iis" if variant.iis else "_focal")


def label_names(config: Config) -> list[str]:
    """Names of the labels that training defects may have, each once: those of some variant."""
    named = [labels_of(config, variant) for variant in _labelled_variants(config)]
    return list(dict.fromkeys(name for name in named if name is not None))


def labels_of(config: Config, variant: SegVariant) -> str | None:
    """The name of the labels that a variant learns from: weak ones by its own matching, and of how
    many images and clicks where it has numbers of its own; None without supervision.
    """
    if variant.supervision == "unsupervised":
        return None
    if variant.supervision == HUMAN:
        return HUMAN
    clicked = f"weak_{matching_of(config, variant)}"
    name = clicked if variant.supervision == "weak" else variant.supervision
    for key, count in (("images", variant.labelled_images), ("clicks", variant.label_clicks)):
        name += "" if count is None else f"_{count}{key}"
    return name


def variant_of_labels(config: Config, labels: str) -> SegVariant:
    """Some variant that learns from these labels: all of them say the same of the labels."""
    variants = _labelled_variants(config)
    return next(variant for variant in variants if labels_of(config, variant) == labels)


def peer_variant(labels: Labels) -> SegVariant:
    """A variant whose labels are those that a peer learns from."""
    off = dict.fromkeys(("pretrain", "iis", "language", "abandon"), False)
    return SegVariant.model_validate({"supervision": labels, **off})


def _labelled_variants(config: Config) -> list[SegVariant]:
    """The variants, and what stands for the peers of the run that read labels."""
    return [*config.adclick_seg_variants.values(), *_run_peer_variants(config)]


def _run_peer_variants(config: Config) -> list[SegVariant]:
    known = peer_methods()
    labels: list[Labels | None] = [
        known[name].labels for name in config.run_map_peers if name in known
    ]
    return [peer_variant(one) for one in LABELS if one in labels]


def labeller(config: Config, matching: str) -> str:
    """The ADClick variant that labels for detectors of a matching: `label_with`, or the one that
    differs from it in its matching alone. InputError without one.
    """
    main = config.adclick_variants[config.label_with]
    for name in [config.label_with, *config.adclick_variants]:
        variant = config.adclick_variants[name]
        alike = variant.model_copy(update={"matching": main.matching}) == main
        if alike and matching_of(config, variant) == matching:
            return name
    raise InputError(
        f"adclick_variants: none labels with the matching {matching}; define one that equals"
        f" {config.label_with} (label_with) but for `matching: {matching}`"
    )


def click_networks(config: Config) -> list[str]:
    """The ADClick variants that the run needs: its own, and those that label for its detectors."""
    detectors = [config.adclick_seg_variants[name] for name in config.run_adclick_seg]
    detectors += _run_peer_variants(config)
    weak = [variant for variant in detectors if variant.supervision == "weak"]
    labellers = [labeller(config, matching_of(config, variant)) for variant in weak]
    return sorted({*config.run_adclick, *labellers})


def network_matchings(config: Config) -> set[str]:
    """The matchings whose residuals some network of the run reads."""
    click = {click_matching(config, name) for name in click_networks(config)}
    return click | {map_matching(config, name) for name in config.run_adclick_seg}


def reads_features(config: Config, method: str) -> bool:
    """Whether a detection method is a network that reads frozen features beside the residual."""
    variant = config.adclick_seg_variants.get(trained_variant(config, method))
    return variant is not None and variant.detector is not None


def patch_matchings(config: Config) -> set[str]:
    """The matchings with whose residuals the pictures' own features are kept."""
    names = [name for name in config.run_adclick_seg if reads_features(config, name)]
    return {map_matching(config, name) for name in names}


def click_methods(config: Config) -> dict[str, list[int]]:
    """Click methods of the run and their seeds; what is not trained has one, and what needs weights
    of others that are missing none.
    """
    missing = missing_peers(config)
    peers = {name: config.seeds[:1] for name in config.run_click_peers}
    names = [*config.run_adclick, *plain_methods(config)]
    found = peers | {name: list(config.seeds) for name in names}
    return {
        name: [] if click_variant(config, name) in missing else seeds
        for name, seeds in found.items()
    }


def map_methods(config: Config) -> dict[str, list[int]]:
    """Detection methods of the run and their seeds; what draws nothing has one, and what needs a
    library that is missing none.
    """
    missing, known = missing_learners(config), peer_methods()
    drawing = {name for name, method in known.items() if SEED in wanted_of(method.peer)}
    peers = {
        name: [] if name in missing else config.seeds[: None if name in drawing else 1]
        for name in config.run_map_peers
    }
    trained = [*config.run_adclick_seg, *config.sliding_methods]
    return peers | {name: list(config.seeds) for name in trained}


def costs_differ(variant: SegVariant) -> bool:
    """Whether a variant has labels of fewer images, or of other clicks, than the run's."""
    return (variant.labelled_images, variant.label_clicks) != (None, None)


def robot_methods(config: Config) -> dict[str, list[int]]:
    """The click methods that meet every robot user, and their seeds: those listed that are run."""
    known = click_methods(config)
    return {name: known[name] for name in config.robot_methods if name in known}


def robot_names(config: Config) -> list[str]:
    """The robot users of the run, that of the protocol first."""
    return [PROTOCOL, *config.run_robots]


def robot_of(config: Config, name: str) -> Robot:
    """A robot user by name."""
    return PROTOCOL_ROBOT if name == PROTOCOL else config.robots[name]


def named_place(wildcards: Mapping[str, str]) -> dict[str, str]:
    """The data set and the category that wildcards name."""
    return {"dataset": wildcards["dataset"], "category": wildcards["category"]}


def place_of(wildcards: Mapping[str, str]) -> str:
    """The `data set/category` that wildcards name."""
    return f"{wildcards['dataset']}/{wildcards['category']}"
