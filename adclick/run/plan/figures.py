"""Which figures a run draws, and of what."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from adclick.run.config import Config
from adclick.run.plan.clicks import adclick_weights, initial_weights
from adclick.run.plan.names import (
    HUMAN,
    NETWORK_TITLES,
    NOTHING,
    category_folder,
    click_matching,
    click_methods,
    costs_differ,
    map_matching,
    map_methods,
    matching_of,
    named_place,
    place_of,
    places,
)
from adclick.run.plan.pick import Stage
from adclick.run.plan.tables import map_rows
from adclick.run.settings.clicks import Clicks
from adclick.run.settings.peers import peer_methods
from adclick.run.settings.section import Section
from adclick.run.settings.training import SegVariant


class TrainingFiles(Section):
    """A method's trainings as places in a list of records; None where it lacks the phase."""

    network: str
    method: str
    pretraining: int | None
    training: int | None


class LabelCost(Section):
    """What the labels of a method cost: pictures, and clicks on each (0: painted, or none)."""

    method: str
    supervision: Literal["unsupervised", "weak", "full", "box"]
    images: int
    clicks: int


class MakeClickFigures(Stage):
    """Settings of `make_click_figures`; cases are those of the method `shown`."""

    dataset: str
    category: str
    figure_cases: int
    clicks: Clicks
    methods: list[str]
    shown: str
    titles: dict[str, str]

    @classmethod
    def of(cls, config: Config, wildcards: Mapping[str, str]) -> Stage:
        return cls.pick(
            config,
            **named_place(wildcards),
            methods=list(drawn_clicks(config)),
            shown=shown_click_method(config),
        )


class MakeMapFigures(Stage):
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

    @classmethod
    def of(cls, config: Config, wildcards: Mapping[str, str]) -> Stage:
        return cls.pick(
            config,
            **named_place(wildcards),
            columns=compared_map_methods(config),
            methods=list(drawn_maps(config)),
            shown=shown_map_method(config),
        )


class MakeLabelCosts(Stage):
    """Settings of `make_label_costs`."""

    dataset: str
    category: str
    costs: list[LabelCost]
    titles: dict[str, str]

    @classmethod
    def of(cls, config: Config, wildcards: Mapping[str, str]) -> Stage:
        named = named_place(wildcards)
        return cls.pick(config, **named, costs=label_costs(config, named["dataset"]))


class MakeTrainingFigure(Stage):
    """Settings of `make_training_figure`."""

    dataset: str
    category: str
    trainings: list[TrainingFiles]
    titles: dict[str, str]

    @classmethod
    def of(cls, config: Config, wildcards: Mapping[str, str]) -> Stage:
        place = place_of(wildcards)
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
        return cls.pick(config, **named_place(wildcards), trainings=files)


def drawn_clicks(config: Config) -> dict[str, list[int]]:
    """The click methods in figures and their seeds: those of the run's matching that have any."""
    return {
        name: seeds
        for name, seeds in click_methods(config).items()
        if seeds and click_matching(config, name) == config.matching
    }


def drawn_maps(config: Config) -> dict[str, list[int]]:
    """The detection methods in figures and their seeds: those of the run's matching and labels, on
    whole images; peers that learn are in tables alone.
    """
    variants = config.adclick_seg_variants
    apart = {name for name, variant in variants.items() if costs_differ(variant)}
    apart |= config.sliding_methods.keys() | peer_methods().keys()
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
    named = [*map_rows(config, supervised=False), *map_rows(config, supervised=True)]
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
