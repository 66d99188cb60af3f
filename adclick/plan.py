"""What a run consists of: which artifacts each stage reads and which settings it is given.

Pure functions of the configuration, used by the Snakefile. Wildcards come as plain keywords.
"""

import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from adclick.config import (
    PROTOCOL,
    PROTOCOL_ROBOT,
    AdclickVariant,
    Batch,
    CollectLabels,
    ComputeResiduals,
    Config,
    DrawToy,
    EncodePrompts,
    EvaluateClicks,
    EvaluateMaps,
    ExpandDefects,
    ExtractFeatures,
    FindNeighbours,
    FitForeground,
    FitRetrieval,
    GeneratePrompts,
    LabelCost,
    LabelDefects,
    MakeClickFigures,
    MakeLabelCosts,
    MakeManifest,
    MakeMapFigures,
    MakeRobotTable,
    MakeTable,
    MakeTrainingFigure,
    PredictMaps,
    Robot,
    Section,
    SegTraining,
    SegVariant,
    SimulateClicks,
    SimulateDefects,
    TrainAdclick,
    TrainAdclickSeg,
    Training,
    TrainingFiles,
    pick,
)
from adclick.errors import InputError
from adclick.provenance import digest

REAL, SIMULATED = "real", "simulated"
HUMAN = "human"  # the labels that a person made
SORTED_SPLIT = "sorted"
NOTHING = "none"  # the method that a figure shows when the run has none
NETWORK_TITLES = {"adclick": "ADClick", "adclick_seg": "ADClick-Seg"}
PICTURE_PEERS = ("random_walker", "grabcut")
INPUT_SUFFIXES = {"residual": "", "image": "_image", "both": "_both"}
ROBOT_TABLE, ROBOT_TABLE_LIKE = "honest_clicks", 1  # its data sets are those of table 1
CLICK_TABLES, UNSUPERVISED_TABLES, ABLATIONS = (1, 7), (2, 3), (7, 8)


# --- places -------------------------------------------------------------------------------------


def one_of(names: Iterable[str]) -> str:
    """A regular expression that matches the given names and nothing else."""
    return "|".join(re.escape(name) for name in dict.fromkeys(names))


def category_folder(config: Config, place: str) -> str:
    """The folder of one category's artifacts; `place` is `data set/category`."""
    return f"results/{config.run}/{place}"


def language_file(config: Config, dataset: str) -> str:
    """The encoded prompts of a data set."""
    return f"results/{config.run}/{dataset}/encode_prompts/language.h5"


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


# --- matchings ----------------------------------------------------------------------------------


def matching_of(config: Config, variant: AdclickVariant | SegVariant) -> str:
    """The name of the matching whose residuals a variant reads: its own, or the run's."""
    return variant.matching or config.matching


def zoom_methods(config: Config) -> dict[str, str]:
    """Click methods that look twice, and the variant that each is: one more row, no training."""
    return {f"{name}_zoom": name for name in config.run_zoom}


def click_variant(config: Config, method: str) -> str:
    """The ADClick variant whose network a click method is."""
    return zoom_methods(config).get(method, method)


def click_matching(config: Config, method: str) -> str:
    """The name of the matching whose residuals a click method reads; a peer reads the run's."""
    if method in config.run_click_peers:
        return config.matching
    return matching_of(config, config.adclick_variants[click_variant(config, method)])


def map_matching(config: Config, method: str) -> str:
    """The name of the matching whose residuals a detection method reads."""
    if method in config.map_peers:
        return config.map_peers[method]
    return matching_of(config, config.adclick_seg_variants[trained_variant(config, method)])


def residuals_file(config: Config, place: str, matching: str, source: str) -> str:
    """The residuals of a source (see `images_of`) by one matching."""
    return f"{category_folder(config, place)}/compute_residuals/{matching}/{source}.h5"


# --- variants -----------------------------------------------------------------------------------


def adclick_pretraining(variant: AdclickVariant) -> str:
    """The name of the pretraining that a variant starts from: variants with equal settings share
    it.
    """
    return ("language" if variant.language else "plain") + INPUT_SUFFIXES[variant.inputs]


def trained_variant(config: Config, method: str) -> str:
    """The ADClick-Seg variant whose network makes a method's maps: itself, or slid over windows."""
    return config.sliding_methods.get(method, method)


def seg_pretraining(variant: SegVariant) -> str:
    """The name of the pretraining that an ADClick-Seg variant starts from."""
    return ("language" if variant.language else "plain") + ("_iis" if variant.iis else "_focal")


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
    """The weights of all ADClick variants of the run."""
    found = itertools.product(places(config), config.run_adclick, config.seeds)
    return [adclick_weights(config, place, name, seed) for place, name, seed in found]


def detectors(config: Config) -> list[str]:
    """What `adclick export-model` needs of all ADClick-Seg variants of the run: their maps, which
    say how they are made, and before them their weights.
    """
    found = itertools.product(places(config), config.run_adclick_seg, config.seeds)
    return [
        f"{category_folder(config, place)}/predict_maps/{name}/seed{seed}/maps.h5"
        for place, name, seed in found
    ]


def training_inputs(
    config: Config, sources: Iterable[str], *, matching: str, masks: bool
) -> dict[str, list[str]]:
    """The artifacts of all source categories, a list a kind, aligned; residuals by one matching."""
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
        "languages": [language_file(config, source.split("/")[0]) for source in sources],
    }
    if config.vision_language.weights is not None:
        inputs["branch"] = [config.vision_language.weights]
    true_masks = {"masks": [f"{folder}/make_manifest/masks.h5" for folder in folders]}
    return inputs | (true_masks if masks else {})


def initial_weights(
    config: Config, place: str, network: str, name: str, seed: int | str
) -> dict[str, str]:
    """The pretrained weights that a variant's training starts from, under `initial`; nothing
    without any.
    """
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
    config: Config, place: str, name: str, seed: int | str
) -> dict[str, str | list[str]]:
    """What an ADClick variant's training on one category reads."""
    matching = click_matching(config, name)
    own = training_inputs(config, [place], matching=matching, masks=False)
    return {**initial_weights(config, place, "adclick", name, seed), **own}


def detector_inputs(
    config: Config, place: str, name: str, seed: int | str
) -> dict[str, str | list[str]]:
    """What an ADClick-Seg variant's training on one category reads."""
    matching = map_matching(config, name)
    own = training_inputs(config, [place], matching=matching, masks=False)
    labels = labels_of(config, config.adclick_seg_variants[name])
    if labels is not None:
        source = f"expanded_{labels}_seed{seed}"
        own["expanded_images"] = [images_of(config, place, source)]
        own["expanded_residuals"] = [residuals_file(config, place, matching, source)]
    return {**initial_weights(config, place, "adclick_seg", name, seed), **own}


def click_inputs(config: Config, place: str, method: str, seed: int | str) -> dict[str, str]:
    """The network of a click method, if it has one, and the residuals of the real images, if it
    reads them.
    """
    if method in PICTURE_PEERS:
        return {}
    residuals = residuals_file(config, place, click_matching(config, method), REAL)
    if method in config.run_click_peers:
        return {"residuals": residuals}
    weights = adclick_weights(config, place, click_variant(config, method), seed)
    return {"residuals": residuals, **_network(config, place, weights)}


def detection_inputs(config: Config, place: str, method: str, seed: int | str) -> dict[str, str]:
    """The network of a detection method, if it has one, and the real images' residuals."""
    residuals = residuals_file(config, place, map_matching(config, method), REAL)
    if method in config.run_map_peers:
        return {"residuals": residuals}
    name = trained_variant(config, method)
    folder = f"{category_folder(config, place)}/train_adclick_seg/{name}/seed{seed}"
    return {"residuals": residuals, **_network(config, place, f"{folder}/weights.safetensors")}


def _network(config: Config, place: str, weights: str) -> dict[str, str]:
    return {"weights": weights, "language": language_file(config, place.split("/")[0])}


# --- labels -------------------------------------------------------------------------------------


def label_names(config: Config) -> list[str]:
    """Names of the labels that training defects may have, each once: those of some variant."""
    named = [labels_of(config, variant) for variant in config.adclick_seg_variants.values()]
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


def _variant_of_labels(config: Config, labels: str) -> SegVariant:
    """Some variant that learns from these labels: all of them say the same of the labels."""
    variants = config.adclick_seg_variants.values()
    return next(variant for variant in variants if labels_of(config, variant) == labels)


def labelling_inputs(config: Config, place: str, labels: str, seed: int | str) -> dict[str, str]:
    """The network that clicks labels and the residuals that it sees; other labels need neither."""
    variant = _variant_of_labels(config, labels)
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


def images_of(config: Config, place: str, source: str) -> str:
    """The pictures of a source: `real`, `simulated`, or `expanded_<labels>_seed<seed>`."""
    folder = category_folder(config, place)
    if source == REAL:
        return f"{folder}/make_manifest/images.h5"
    if source == SIMULATED:
        return f"{folder}/simulate_defects/images.h5"
    labels, seed = source.removeprefix("expanded_").rsplit("_", 1)
    return f"{folder}/expand_defects/{labels}/{seed}/images.h5"


def local_gpus() -> int:
    """GPUs that a computing job takes on this machine: one where there is one, else none."""
    return int(Path("/dev/nvidiactl").exists())


def check(config: Config) -> None:
    """InputError for variants that need a pretraining which some category cannot have or which is
    of another network, or labels that no ADClick variant makes.
    """
    alone = [place for place in places(config) if not pretraining_sources(config, place)]
    click = _click_networks(config)
    needing = [name for name in click if not config.adclick_variants[name].finetune]
    needing += [
        name for name in config.run_adclick_seg if config.adclick_seg_variants[name].pretrain
    ]
    if alone and needing:
        raise InputError(
            f"{', '.join(alone)}: nothing to pretrain on, which {', '.join(needing)} need;"
            " set pretrain_on, or run variants with finetune: true and pretrain: false"
        )
    detectors = ((name, config.adclick_seg_variants[name]) for name in config.run_adclick_seg)
    unlike = [name for name, one in detectors if one.pretrain and one.supervision == "unsupervised"]
    if unlike and config.adclick_seg_network.shortcut == "unsupervised":
        raise InputError(
            f"{', '.join(unlike)}: pretraining has labels, so with adclick_seg_network.shortcut:"
            " unsupervised its network is another; choose none or all, or pretrain: false"
        )


def missing_weights(config: Config) -> bool:
    """Whether the run trains a language branch whose frozen Swin has no weights."""
    variants = [config.adclick_variants[name] for name in _click_networks(config)]
    detectors = [config.adclick_seg_variants[name] for name in config.run_adclick_seg]
    language = any(variant.language for variant in [*variants, *detectors])
    branch = config.vision_language
    return language and branch.trainable != "all" and branch.weights is None


def _click_networks(config: Config) -> list[str]:
    """The ADClick variants that the run needs: its own, and those that label for its detectors."""
    detectors = [config.adclick_seg_variants[name] for name in config.run_adclick_seg]
    weak = [variant for variant in detectors if variant.supervision == "weak"]
    labellers = [labeller(config, matching_of(config, variant)) for variant in weak]
    return sorted({*config.run_adclick, *labellers})


def _network_matchings(config: Config) -> set[str]:
    """The matchings whose residuals some network of the run reads."""
    click = {click_matching(config, name) for name in _click_networks(config)}
    return click | {map_matching(config, name) for name in config.run_adclick_seg}


# --- results ------------------------------------------------------------------------------------


def click_methods(config: Config) -> dict[str, list[int]]:
    """Click methods of the run and their seeds; what is not trained has one."""
    peers = {name: config.seeds[:1] for name in config.run_click_peers}
    names = [*config.run_adclick, *zoom_methods(config)]
    return peers | {name: list(config.seeds) for name in names}


def map_methods(config: Config) -> dict[str, list[int]]:
    """Detection methods of the run and their seeds."""
    peers = {name: config.seeds[:1] for name in config.run_map_peers}
    trained = [*config.run_adclick_seg, *config.sliding_methods]
    return peers | {name: list(config.seeds) for name in trained}


def table_methods(config: Config, number: int) -> list[str]:
    """The methods that a table shows, peers first; an ablation (7, 8) those of the run's matching,
    also those not run.
    """
    if number == 1:
        return list(click_methods(config))
    if number in ABLATIONS:
        return _ablation(config, number)
    variants = {name: config.adclick_seg_variants[name] for name in config.run_adclick_seg}
    free = [name for name, variant in variants.items() if variant.supervision == "unsupervised"]
    if number in UNSUPERVISED_TABLES:
        return [*config.run_map_peers, *_with_sliding(config, free)]
    supervised = [
        name
        for name, variant in variants.items()
        if name not in free and variant.abandon and not costs_differ(variant)
    ]
    return [*config.run_map_peers, *_with_sliding(config, supervised)]


def _with_sliding(config: Config, names: Iterable[str]) -> list[str]:
    """Variants, each followed by its maps of sliding windows where the run makes them."""
    slid = {variant: method for method, variant in config.sliding_methods.items()}
    return [method for name in names for method in (name, slid.get(name)) if method is not None]


def costs_differ(variant: SegVariant) -> bool:
    """Whether a variant has labels of fewer images, or of other clicks, than the run's."""
    return (variant.labelled_images, variant.label_clicks) != (None, None)


def _ablation(config: Config, number: int) -> list[str]:
    click, detection = config.adclick_variants, config.adclick_seg_variants
    shown = {
        7: [name for name, one in click.items() if one.inputs == "residual" and one.pretrain],
        8: [
            name
            for name, variant in detection.items()
            if variant.supervision == "weak" and not costs_differ(variant)
        ],
    }[number]
    defined: Mapping[str, AdclickVariant | SegVariant] = {7: click, 8: detection}[number]
    return [name for name in shown if matching_of(config, defined[name]) == config.matching]


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


def clicked_file(config: Config, place: str, method: str, robot: str, seed: int | str) -> str:
    """The answers of a click method to a robot user."""
    return _clicked(config, place, method, robot, seed, "simulate_clicks/maps.h5")


def _clicked(
    config: Config, place: str, method: str, robot: str, seed: int | str, result: str
) -> str:
    stage, name = result.split("/")
    own = "" if robot == PROTOCOL else f"{robot}/"
    return f"{category_folder(config, place)}/{stage}/{method}/{own}seed{seed}/{name}"


def click_scores(config: Config, place: str, method: str, robot: str, seed: int | str) -> str:
    """The scores of a click method with a robot user."""
    return _clicked(config, place, method, robot, seed, "evaluate_clicks/metrics.json")


def robot_table(config: Config) -> list[str]:
    """The table of honest clicks, when the run has other users than the protocol's."""
    if not (config.run_robots and robot_methods(config) and config.tables.get(ROBOT_TABLE_LIKE)):
        return []
    return [f"results/{config.run}/tables/{ROBOT_TABLE}.csv"]


def robot_metrics(config: Config) -> list[str]:
    """The metric files that the table of honest clicks is made of."""
    return [
        click_scores(config, f"{dataset}/{category}", method, robot, seed)
        for dataset in config.tables.get(ROBOT_TABLE_LIKE, [])
        for category in config.datasets[dataset].categories
        for method, seeds in robot_methods(config).items()
        for robot in robot_names(config)
        for seed in seeds
    ]


def table_metrics(config: Config, number: int) -> list[str]:
    """The metric files that a table is made of."""
    clicks = number in CLICK_TABLES
    seeds = click_methods(config) if clicks else map_methods(config)
    stage = "evaluate_clicks" if clicks else "evaluate_maps"
    return [
        f"results/{config.run}/{dataset}/{category}/{stage}/{method}/seed{seed}/metrics.json"
        for dataset in config.tables.get(number, [])
        for category in config.datasets[dataset].categories
        for method in table_methods(config, number)
        for seed in seeds.get(method, [])
    ]


def drawn_clicks(config: Config) -> dict[str, list[int]]:
    """The click methods in figures and their seeds: those of the run's matching."""
    found = click_methods(config).items()
    return {name: seeds for name, seeds in found if click_matching(config, name) == config.matching}


def drawn_maps(config: Config) -> dict[str, list[int]]:
    """The detection methods in figures and their seeds: those of the run's matching and labels, on
    whole images.
    """
    variants = config.adclick_seg_variants
    apart = {name for name, variant in variants.items() if costs_differ(variant)}
    apart |= config.sliding_methods.keys()
    return {
        name: seeds
        for name, seeds in map_methods(config).items()
        if map_matching(config, name) == config.matching and name not in apart
    }


def click_figure_inputs(config: Config, place: str) -> dict[str, Any]:
    """Metrics of every click method and seed, and the maps whose best and worst cases are shown."""
    folder, methods = category_folder(config, place), drawn_clicks(config)
    shown = shown_click_method(config)
    return {
        "metrics": _seed_files(f"{folder}/evaluate_clicks", methods, "metrics.json"),
        "maps": f"{folder}/simulate_clicks/{shown}/seed{methods[shown][0]}/maps.h5",
    }


def map_figure_inputs(config: Config, place: str) -> dict[str, list[str]]:
    """Curves of every detection method and seed, and the first seed's maps of those compared."""
    folder, methods = category_folder(config, place), drawn_maps(config)
    first = {name: methods[name][:1] for name in compared_map_methods(config)}
    return {
        "maps": _seed_files(f"{folder}/predict_maps", first, "maps.h5"),
        "curves": _seed_files(f"{folder}/evaluate_maps", methods, "curves.json"),
    }


def _seed_files(folder: str, methods: Mapping[str, list[int]], name: str) -> list[str]:
    return [
        f"{folder}/{method}/seed{seed}/{name}"
        for method, seeds in methods.items()
        for seed in seeds
    ]


def shown_click_method(config: Config) -> str:
    """The click method whose cases are shown: the one that labels, else the last one run."""
    methods = list(drawn_clicks(config))
    return config.label_with if config.label_with in methods else [NOTHING, *methods][-1]


def compared_map_methods(config: Config) -> list[str]:
    """The detection methods that stand side by side: those of tables 2 to 6, not the ablation's."""
    drawn = drawn_maps(config)
    named = [*table_methods(config, 2), *table_methods(config, 4)]
    return [name for name in dict.fromkeys(named) if name in drawn] or list(drawn)


def shown_map_method(config: Config) -> str:
    """The detection method whose best and worst cases are shown: weakly supervised, else the last
    of those compared.
    """
    names = compared_map_methods(config)
    variants = config.adclick_seg_variants
    weak = [name for name in names if name in variants and variants[name].supervision == "weak"]
    return [NOTHING, *names, *weak[:1]][-1]


def trainings(config: Config, place: str) -> list[tuple[str, str, dict[str, str]]]:
    """Network, method and records (by phase, of those it has) of the trainings behind a category's
    results, by the run's matching.
    """
    folder = category_folder(config, place)
    clicks, maps = drawn_clicks(config), drawn_maps(config)
    names = [("adclick", name) for name in config.run_adclick if name in clicks]
    names += [("adclick_seg", name) for name in config.run_adclick_seg if name in maps]
    found: list[tuple[str, str, dict[str, str]]] = []
    for (network, name), seed in itertools.product(names, config.seeds):
        own = f"{folder}/train_{network}/{name}/seed{seed}/weights.safetensors"
        if network == "adclick":
            own = adclick_weights(config, place, name, seed)
        initial = initial_weights(config, place, network, name, seed).values()
        files = [f"{Path(path).parent}/record.json" for path in (*initial, own)]
        phases = {
            "pretraining" if f"/pretrain_{network}/" in file else "training": file for file in files
        }
        found.append((network, name, phases))
    return found


def training_records(config: Config, place: str) -> list[str]:
    """The records of all trainings behind a category's results, each once."""
    files = [file for _, _, phases in trainings(config, place) for file in phases.values()]
    return list(dict.fromkeys(files))


def label_costs(config: Config, dataset: str) -> list[LabelCost]:
    """The methods of the figure of what labels buy, with the cost of each: detectors that differ in
    their labels alone, among them one with a number of its own of images or clicks, and those
    without labels; by the run's matching. Empty where the run has no such variant. What a person's
    labels cost only their files know, so they are not among them.
    """
    defined = {name: config.adclick_seg_variants[name] for name in config.run_adclick_seg}
    variants = {name: one for name, one in defined.items() if one.supervision != HUMAN}
    varied = [_training_but_labels(one) for one in variants.values() if costs_differ(one)]
    return [
        LabelCost(method=name, **_label_cost(config, dataset, variant))
        for name, variant in variants.items()
        if matching_of(config, variant) == config.matching
        and (_training_but_labels(variant) in varied or (varied and _unlabelled(variant)))
    ]


def _unlabelled(variant: SegVariant) -> bool:
    return variant.supervision == "unsupervised"


def _training_but_labels(variant: SegVariant) -> dict[str, Any] | None:
    """How a variant is trained, apart from its labels and its matching; None without labels."""
    labels = {"supervision", "matching", "labelled_images", "label_clicks"}
    return None if _unlabelled(variant) else variant.model_dump(exclude=labels)


def _label_cost(config: Config, dataset: str, variant: SegVariant) -> dict[str, Any]:
    """Labelled images and clicks on each; no clicks where the labels are true masks or boxes."""
    images = variant.labelled_images or config.datasets[dataset].training_defects
    clicks = variant.label_clicks or config.clicks.label_clicks
    return {
        "supervision": variant.supervision,
        "images": 0 if _unlabelled(variant) else images,
        "clicks": clicks if variant.supervision == "weak" else 0,
    }


def label_cost_metrics(config: Config, place: str) -> list[str]:
    """The metric files behind the figure of what labels buy, of every seed."""
    seeds = map_methods(config)
    named = [cost.method for cost in label_costs(config, place.split("/")[0])]
    folder = f"{category_folder(config, place)}/evaluate_maps"
    return _seed_files(folder, {name: seeds[name] for name in named}, "metrics.json")


def table_file(config: Config, number: int) -> str:
    """One of the paper's eight tables."""
    return f"results/{config.run}/tables/table{number}.csv"


def tables(config: Config) -> list[str]:
    """The tables of the run, in order."""
    numbers = [number for number in sorted(config.tables) if config.tables[number]]
    return [*(table_file(config, number) for number in numbers), *robot_table(config)]


def figures(config: Config) -> list[str]:
    """The figures of the run, for each category those of which the run has anything to show:
    results where its data set is in a table.
    """
    scored = {name for names in config.tables.values() for name in names}
    names = ["clicks", "miou"] if drawn_clicks(config) else []
    names += ["maps", "curves"] if drawn_maps(config) else []
    trained = ["losses"] if config.run_adclick or config.run_adclick_seg else []
    drawn = [
        f"results/{config.run}/figures/{place}/{name}.png"
        for place in places(config)
        for name in (names if place.split("/")[0] in scored else []) + trained
    ]
    priced = [place for place in places(config) if label_costs(config, place.split("/")[0])]
    return drawn + [f"results/{config.run}/figures/{place}/labels.png" for place in priced]


def manifest_inputs(config: Config, dataset: str) -> dict[str, str]:
    """What a manifest is made of besides pictures: the split's file, the record of drawn data."""
    defined = config.datasets[dataset]
    inputs = {} if defined.split == SORTED_SPLIT else {"split": defined.split}
    if defined.layout == "toy":
        inputs["drawn"] = f"results/{config.run}/{dataset}/draw_toy/record.json"
    return inputs


def missing_data(config: Config, unread: Iterable[str]) -> list[str]:
    """Folders of data sets that are to be read and are not on disk; `unread` are places."""
    defined = [config.datasets[place.split("/")[0]] for place in unread]
    folders = [Path(config.data_root) / one.root for one in defined if one.layout != "toy"]
    return [str(folder) for folder in dict.fromkeys(folders) if not folder.is_dir()]


def backbone_file(config: Config) -> dict[str, str]:
    """The backbone's local weights as an input, so that another file under its name is noticed."""
    file = config.features.weights.file
    return {} if file is None else {"backbone": file}


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

    Dot-files and dot-folders do not count.
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
    if path.is_file():
        state = path.stat()
        yield [path.relative_to(root).as_posix(), state.st_size, state.st_mtime_ns]
        return
    with os.scandir(path) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                yield from _file_states(Path(entry.path), root)


# --- settings -----------------------------------------------------------------------------------


def settings_json(config: Config, stage: str, **wildcards: str) -> str:
    """The settings of one job as JSON, from its stage and wildcards."""
    return SETTINGS[stage](config, wildcards).model_dump_json()


def _draw_toy(config: Config, _: Mapping[str, str]) -> Section:
    return pick(config, DrawToy)


def _make_manifest(config: Config, wildcards: Mapping[str, str]) -> Section:
    dataset = config.datasets[wildcards["dataset"]]
    return pick(
        config,
        MakeManifest,
        layout=dataset.layout,
        root="" if dataset.layout == "toy" else dataset.root,
        category=wildcards["category"],
        split="sorted" if dataset.split == SORTED_SPLIT else "file",
        training_defects=dataset.training_defects,
        empty_masks=dataset.empty_masks,
    )


def _fit_foreground(config: Config, wildcards: Mapping[str, str]) -> Section:
    textures = config.datasets[wildcards["dataset"]].textures
    return pick(config, FitForeground, estimate=wildcards["category"] not in textures)


def _compute_residuals(config: Config, wildcards: Mapping[str, str]) -> Section:
    name = wildcards["matching"]
    unread = name not in _network_matchings(config)
    return pick(config, ComputeResiduals, matching=config.matchings[name], lengths_only=unread)


def _generate_prompts(config: Config, wildcards: Mapping[str, str]) -> Section:
    return pick(
        config, GeneratePrompts, categories=config.datasets[wildcards["dataset"]].categories
    )


def _train_adclick(config: Config, wildcards: Mapping[str, str]) -> Section:
    place, pretraining = _place(wildcards), wildcards.get("pretraining")
    if pretraining is None:
        variant = config.adclick_variants[wildcards["variant"]]
        language, inputs = variant.language, variant.inputs
    else:
        language = pretraining.startswith("language")
        ends = reversed(INPUT_SUFFIXES.items())  # every name ends with the residual's, which is ""
        inputs = next(name for name, suffix in ends if pretraining.endswith(suffix))
    return pick(
        config,
        TrainAdclick,
        **_training(config, place, pretraining),
        language=language,
        inputs=inputs,
        training=_relevant(config.adclick_training, pretraining),
    )


def _train_adclick_seg(config: Config, wildcards: Mapping[str, str]) -> Section:
    place, pretraining = _place(wildcards), wildcards.get("pretraining")
    if pretraining is None:
        defined = config.adclick_seg_variants[wildcards["variant"]]
        variant = SegTraining(**defined.model_dump(include=set(SegTraining.model_fields)))
    else:
        variant = SegTraining(
            supervision="full",
            pretrain=False,
            iis=pretraining.endswith("_iis"),
            language=pretraining.startswith("language"),
            abandon=False,
        )
    own = config.adclick_seg_network
    window, normalise = own.window, own.normalise
    network, residual_input = config.network, config.residual_input
    return pick(
        config,
        TrainAdclickSeg,
        **_training(config, place, pretraining),
        variant=variant,
        training=_relevant(config.adclick_seg_training, pretraining),
        network=network.model_copy(update={"window": window or network.window}),
        residual_input=residual_input.model_copy(
            update={"normalise": normalise or residual_input.normalise}
        ),
    )


def _relevant(training: Training, pretraining: str | None) -> Training:
    """The settings of one phase: those of the other are blanked, since they change nothing here."""
    nothing = Batch(normal=0, simulated=0, real=0)
    if pretraining is None:
        return training.model_copy(
            update={"pretrain_steps": 0, "pretrain_batch": nothing, "pretrain_rate": 1.0}
        )
    return training.model_copy(update={"steps": 0, "batch": nothing})


def _training(config: Config, place: str, pretraining: str | None) -> dict[str, Any]:
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


def _simulate_clicks(config: Config, wildcards: Mapping[str, str]) -> Section:
    peer = wildcards["method"] if wildcards["method"] in config.run_click_peers else None
    robot = wildcards.get("robot", PROTOCOL)
    return pick(
        config,
        SimulateClicks,
        category=wildcards["category"],
        stride=config.features.stride,
        robot=robot_of(config, robot),
        zoom=config.zoom if wildcards["method"] in zoom_methods(config) else None,
        peer=peer,
        detection=config.detection if peer == "threshold" else None,
    )


def _evaluate_clicks(config: Config, wildcards: Mapping[str, str]) -> Section:
    robot = wildcards.get("robot", PROTOCOL)
    return pick(
        config, EvaluateClicks, **_named(wildcards), method=wildcards["method"], robot=robot
    )


def _label_defects(config: Config, wildcards: Mapping[str, str]) -> Section:
    variant = _variant_of_labels(config, wildcards["labels"])
    return LabelDefects(
        category=wildcards["category"],
        supervision=variant.supervision,  # pyright: ignore[reportArgumentType]
        labelled_images=variant.labelled_images,
        threshold=config.clicks.threshold,
        radius_px=config.clicks.radius_px,
        label_clicks=variant.label_clicks or config.clicks.label_clicks,
    )


def _expand_defects(config: Config, _: Mapping[str, str]) -> Section:
    return pick(config, ExpandDefects, radius_px=config.clicks.radius_px)


def _predict_maps(config: Config, wildcards: Mapping[str, str]) -> Section:
    method = wildcards["method"]
    return pick(
        config,
        PredictMaps,
        category=wildcards["category"],
        method=method,
        stride=config.features.stride,
        sliding=config.sliding if method in config.sliding_methods else None,
    )


def _evaluate_maps(config: Config, wildcards: Mapping[str, str]) -> Section:
    variant = config.adclick_seg_variants.get(trained_variant(config, wildcards["method"]))
    supervised = variant is not None and variant.supervision != "unsupervised"
    return pick(
        config, EvaluateMaps, **_named(wildcards), method=wildcards["method"], supervised=supervised
    )


def _make_table(config: Config, wildcards: Mapping[str, str]) -> Section:
    number = int(wildcards["number"])
    variants: Mapping[str, Section] = {
        7: config.adclick_variants,
        8: config.adclick_seg_variants,
    }.get(number, {})
    methods = table_methods(config, number)
    return pick(
        config,
        MakeTable,
        number=number,
        datasets={name: config.datasets[name].categories for name in config.tables[number]},
        methods=methods,
        switches={name: variants[name].model_dump() for name in methods if name in variants},
        scale=scale_facts(config),
    )


def _make_robot_table(config: Config, _: Mapping[str, str]) -> Section:
    names = config.tables.get(ROBOT_TABLE_LIKE, [])
    return pick(
        config,
        MakeRobotTable,
        datasets={name: config.datasets[name].categories for name in names},
        methods=list(robot_methods(config)),
        robots={name: robot_of(config, name) for name in robot_names(config)},
        scale=scale_facts(config),
    )


def scale_facts(config: Config) -> dict[str, str]:
    """The run's values of what sets scales apart, by their names in config/published/settings.csv
    and in its words.
    """
    features, network, language = config.features, config.network, config.language
    untrained = {True: ", untrained", False: ""}
    loops = (config.adclick_training, config.adclick_seg_training)
    steps = {count for loop in loops for count in (loop.pretrain_steps, loop.steps)}
    seeded = language.weights.source == "seeded"
    radius = config.matchings[config.matching].radius
    return {
        "image size": f"{config.size_px} x {config.size_px} px",
        "feature extractor": f"{features.backbone} of timm"
        + untrained[features.weights.source == "seeded"],
        "residual tensor": f"{config.grid} x {config.grid} x {features.dimension}",
        "normal images retrieved (K)": str(config.retrieval.neighbours),
        "matching radius (sigma)": "none" if radius is None else f"{radius} positions of the grid",
        "trunk": f"one Swin stage: depth {network.depth}, width {network.dim},"
        f" {network.heads} heads, window {network.window}",
        "trained parts of the vision-language module": {
            "pwam": "PWAM only; Swin frozen",
            "language": "PWAM, gates and output norms; Swin frozen",
            "all": "all",
        }[config.vision_language.trainable],
        "text encoder": "a small BERT, untrained" if seeded else language.encoder,
        "prompts per defect type (U)": str(config.prompts.phrases),
        "training steps": " to ".join(str(count) for count in sorted({min(steps), max(steps)})),
    }


def _make_click_figures(config: Config, wildcards: Mapping[str, str]) -> Section:
    return pick(
        config,
        MakeClickFigures,
        **_named(wildcards),
        methods=list(drawn_clicks(config)),
        shown=shown_click_method(config),
    )


def _make_map_figures(config: Config, wildcards: Mapping[str, str]) -> Section:
    return pick(
        config,
        MakeMapFigures,
        **_named(wildcards),
        columns=compared_map_methods(config),
        methods=list(drawn_maps(config)),
        shown=shown_map_method(config),
    )


def _make_training_figure(config: Config, wildcards: Mapping[str, str]) -> Section:
    place = _place(wildcards)
    order = {file: number for number, file in enumerate(training_records(config, place))}
    files = [
        TrainingFiles(
            network=NETWORK_TITLES[network],
            method=name,
            pretraining=order.get(phases.get("pretraining", "")),
            training=order.get(phases.get("training", "")),
        )
        for network, name, phases in trainings(config, place)
    ]
    return pick(config, MakeTrainingFigure, **_named(wildcards), trainings=files)


def _make_label_costs(config: Config, wildcards: Mapping[str, str]) -> Section:
    named = _named(wildcards)
    return pick(config, MakeLabelCosts, **named, costs=label_costs(config, named["dataset"]))


def _named(wildcards: Mapping[str, str]) -> dict[str, str]:
    return {"dataset": wildcards["dataset"], "category": wildcards["category"]}


def _place(wildcards: Mapping[str, str]) -> str:
    return f"{wildcards['dataset']}/{wildcards['category']}"


def _plain(stage: type[Section]) -> Any:
    return lambda config, _: pick(config, stage)


SETTINGS = {
    "draw_toy": _draw_toy,
    "make_manifest": _make_manifest,
    "extract_features": _plain(ExtractFeatures),
    "fit_retrieval": _plain(FitRetrieval),
    "fit_foreground": _fit_foreground,
    "simulate_defects": _plain(SimulateDefects),
    "find_neighbours": _plain(FindNeighbours),
    "compute_residuals": _compute_residuals,
    "generate_prompts": _generate_prompts,
    "encode_prompts": _plain(EncodePrompts),
    "train_adclick": _train_adclick,
    "train_adclick_seg": _train_adclick_seg,
    "simulate_clicks": _simulate_clicks,
    "evaluate_clicks": _evaluate_clicks,
    "label_defects": _label_defects,
    "collect_labels": _plain(CollectLabels),
    "expand_defects": _expand_defects,
    "predict_maps": _predict_maps,
    "evaluate_maps": _evaluate_maps,
    "make_table": _make_table,
    "make_robot_table": _make_robot_table,
    "make_click_figures": _make_click_figures,
    "make_map_figures": _make_map_figures,
    "make_label_costs": _make_label_costs,
    "make_training_figure": _make_training_figure,
}
