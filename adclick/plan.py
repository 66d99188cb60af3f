"""What a run consists of: which artifacts each stage reads and which settings it is given.

Pure functions of the configuration, used by the Snakefile. Wildcards come as plain keywords.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from adclick.config import (
    AdclickVariant,
    Batch,
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
    LabelDefects,
    MakeFigures,
    MakeManifest,
    MakeTable,
    PredictMaps,
    Section,
    SegVariant,
    SimulateDefects,
    TrainAdclick,
    TrainAdclickSeg,
    Training,
    pick,
)
from adclick.errors import InputError
from adclick.provenance import digest

REAL, SIMULATED = "real", "simulated"
SORTED_SPLIT = "sorted"
FIGURE_NAMES = ("clicks", "maps", "curve")
CLICK_TABLES, UNSUPERVISED_TABLES, SUPERVISED_TABLES = (1, 7), (2, 3), (4, 5, 6)


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


# --- variants -----------------------------------------------------------------------------------


def adclick_pretraining(variant: AdclickVariant) -> str:
    """The name of the pretraining that a variant starts from: variants with equal settings share
    it.
    """
    return ("language" if variant.language else "plain") + (
        "" if variant.residual else "_no_residual"
    )


def seg_pretraining(variant: SegVariant) -> str:
    """The name of the pretraining that an ADClick-Seg variant starts from."""
    return ("language" if variant.language else "plain") + ("_iis" if variant.iis else "_focal")


def adclick_weights(config: Config, place: str, name: str, seed: int | str) -> str:
    """The weights of an ADClick variant: finetuned, or pretrained as they are."""
    variant = config.adclick_variants[name]
    folder = category_folder(config, place)
    if variant.finetune:
        return f"{folder}/train_adclick/{name}/seed{seed}/weights.safetensors"
    return (
        f"{folder}/pretrain_adclick/{adclick_pretraining(variant)}/seed{seed}/weights.safetensors"
    )


def training_inputs(config: Config, sources: Iterable[str], *, masks: bool) -> dict[str, list[str]]:
    """The artifacts of all source categories, a list a kind, aligned."""
    folders = [(source.split("/")[0], category_folder(config, source)) for source in sources]
    inputs = {
        "manifests": [f"{folder}/make_manifest/manifest.csv" for _, folder in folders],
        "images": [f"{folder}/make_manifest/images.h5" for _, folder in folders],
        "residuals": [f"{folder}/compute_residuals/{REAL}.h5" for _, folder in folders],
        "simulated_images": [f"{folder}/simulate_defects/images.h5" for _, folder in folders],
        "simulated_residuals": [
            f"{folder}/compute_residuals/{SIMULATED}.h5" for _, folder in folders
        ],
        "languages": [language_file(config, dataset) for dataset, _ in folders],
    }
    if config.vision_language.weights is not None:
        inputs["branch"] = [config.vision_language.weights]
    true_masks = {"masks": [f"{folder}/make_manifest/masks.h5" for _, folder in folders]}
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
        shared = adclick_pretraining(config.adclick_variants[name])
    else:
        variant = config.adclick_seg_variants[name]
        if not variant.pretrain:
            return {}
        shared = seg_pretraining(variant)
    folder = category_folder(config, place)
    return {"initial": f"{folder}/pretrain_{network}/{shared}/seed{seed}/weights.safetensors"}


def expanded_source(variant: SegVariant, seed: int | str) -> str | None:
    """The name of the expanded training defects that a variant learns from; None without
    supervision.
    """
    return (
        None
        if variant.supervision == "unsupervised"
        else f"expanded_{variant.supervision}_seed{seed}"
    )


def images_of(config: Config, place: str, source: str) -> str:
    """The pictures of a source: `real`, `simulated`, or `expanded_<supervision>_seed<seed>`."""
    folder = category_folder(config, place)
    if source == REAL:
        return f"{folder}/make_manifest/images.h5"
    if source == SIMULATED:
        return f"{folder}/simulate_defects/images.h5"
    _, supervision, seed = source.split("_")
    return f"{folder}/expand_defects/{supervision}/{seed}/images.h5"


def local_gpus() -> int:
    """GPUs that a computing job takes on this machine: one where there is one, else none."""
    return int(Path("/dev/nvidiactl").exists())


def check(config: Config) -> None:
    """InputError for variants that need a pretraining which some category cannot have."""
    alone = [place for place in places(config) if not pretraining_sources(config, place)]
    click = {*config.run_adclick, config.label_with}
    needing = [name for name in sorted(click) if not config.adclick_variants[name].finetune]
    needing += [
        name for name in config.run_adclick_seg if config.adclick_seg_variants[name].pretrain
    ]
    if alone and needing:
        raise InputError(
            f"{', '.join(alone)}: nothing to pretrain on, which {', '.join(needing)} need;"
            " set pretrain_on, or run variants with finetune: true and pretrain: false"
        )


def missing_weights(config: Config) -> bool:
    """Whether the run trains a language branch whose frozen Swin has no weights."""
    variants = [config.adclick_variants[name] for name in [*config.run_adclick, config.label_with]]
    detectors = [config.adclick_seg_variants[name] for name in config.run_adclick_seg]
    language = any(variant.language for variant in [*variants, *detectors])
    branch = config.vision_language
    return language and branch.trainable != "all" and branch.weights is None


# --- results ------------------------------------------------------------------------------------


def click_methods(config: Config) -> dict[str, list[int]]:
    """Click methods of the run and their seeds; what is not trained has one."""
    peers = {name: config.seeds[:1] for name in config.run_click_peers}
    return peers | {name: list(config.seeds) for name in config.run_adclick}


def map_methods(config: Config) -> dict[str, list[int]]:
    """Detection methods of the run and their seeds."""
    peers = {name: config.seeds[:1] for name in config.run_map_peers}
    return peers | {name: list(config.seeds) for name in config.run_adclick_seg}


def table_methods(config: Config, number: int) -> list[str]:
    """The methods that a table shows, peers first."""
    variants = config.adclick_seg_variants
    if number in CLICK_TABLES:
        shown = [
            name
            for name in config.run_adclick
            if config.adclick_variants[name].residual or number == 1
        ]
        return [*config.run_click_peers, *shown] if number == 1 else shown
    free = [name for name in config.run_adclick_seg if variants[name].supervision == "unsupervised"]
    if number in UNSUPERVISED_TABLES:
        return [*config.run_map_peers, *free]
    supervised = [name for name in config.run_adclick_seg if name not in free]
    if number in SUPERVISED_TABLES:
        named = [name for name in supervised if variants[name].abandon]
        return [*config.run_map_peers, *named]
    return [name for name in supervised if variants[name].supervision == "weak"]


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
        for seed in seeds[method]
    ]


def figure_inputs(config: Config, place: str) -> dict[str, list[str]]:
    """What a category's figures show: metrics of every seed, maps of every method's first seed."""
    folder = category_folder(config, place)

    def files(stage: str, methods: Mapping[str, list[int]], name: str, *, every: bool) -> list[str]:
        return [
            f"{folder}/{stage}/{method}/seed{seed}/{name}"
            for method, seeds in methods.items()
            for seed in (seeds if every else seeds[:1])
        ]

    return {
        "click_metrics": files(
            "evaluate_clicks", click_methods(config), "metrics.json", every=True
        ),
        "click_maps": files("evaluate_clicks", click_methods(config), "maps.h5", every=False),
        "maps": files("predict_maps", map_methods(config), "maps.h5", every=False),
    }


def table_targets(config: Config) -> dict[int, list[str]]:
    """What each of the paper's eight tables is made of here: its file, or nothing where the run has
    none.
    """
    return {
        number: [f"results/{config.run}/tables/table{number}.csv"]
        if config.tables.get(number)
        else []
        for number in range(1, 9)
    }


def tables(config: Config) -> list[str]:
    """The tables of the run, in order."""
    return [target for targets in table_targets(config).values() for target in targets]


def figures(config: Config) -> list[str]:
    """The figures of the run: three a category; none without a click method to choose cases by."""
    if not click_methods(config):
        return []
    folders = [f"results/{config.run}/figures/{place}" for place in places(config)]
    return [f"{folder}/{name}.png" for folder in folders for name in FIGURE_NAMES]


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


def _generate_prompts(config: Config, wildcards: Mapping[str, str]) -> Section:
    return pick(
        config, GeneratePrompts, categories=config.datasets[wildcards["dataset"]].categories
    )


def _train_adclick(config: Config, wildcards: Mapping[str, str]) -> Section:
    place, pretraining = _place(wildcards), wildcards.get("pretraining")
    if pretraining is None:
        variant = config.adclick_variants[wildcards["variant"]]
        language, residual = variant.language, variant.residual
    else:
        language, residual = (
            pretraining.startswith("language"),
            not pretraining.endswith("_no_residual"),
        )
    return pick(
        config,
        TrainAdclick,
        **_training(config, place, pretraining),
        language=language,
        residual=residual,
        training=_relevant(config.adclick_training, pretraining),
    )


def _train_adclick_seg(config: Config, wildcards: Mapping[str, str]) -> Section:
    place, pretraining = _place(wildcards), wildcards.get("pretraining")
    if pretraining is None:
        variant = config.adclick_seg_variants[wildcards["variant"]]
    else:
        variant = SegVariant(
            supervision="full",
            pretrain=False,
            iis=pretraining.endswith("_iis"),
            language=pretraining.startswith("language"),
            abandon=False,
        )
    training = _relevant(config.adclick_seg_training, pretraining)
    return pick(
        config,
        TrainAdclickSeg,
        **_training(config, place, pretraining),
        variant=variant,
        training=training,
    )


def _relevant(training: Training, pretraining: str | None) -> Training:
    """The settings of one phase: those of the other are blanked, since they change nothing here."""
    nothing = Batch(normal=0, simulated=0, real=0)
    if pretraining is None:
        return training.model_copy(update={"pretrain_steps": 0, "pretrain_batch": nothing})
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


def _evaluate_clicks(config: Config, wildcards: Mapping[str, str]) -> Section:
    method = wildcards["method"]
    detection = config.detection if method in config.run_click_peers else None
    return pick(config, EvaluateClicks, **_named(wildcards), method=method, detection=detection)


def _label_defects(config: Config, wildcards: Mapping[str, str]) -> Section:
    return LabelDefects(
        category=wildcards["category"],
        supervision="weak" if wildcards["supervision"] == "weak" else "full",
        threshold=config.clicks.threshold,
        radius_px=config.clicks.radius_px,
        label_clicks=config.clicks.label_clicks,
    )


def _expand_defects(config: Config, _: Mapping[str, str]) -> Section:
    return pick(config, ExpandDefects, radius_px=config.clicks.radius_px)


def _predict_maps(config: Config, wildcards: Mapping[str, str]) -> Section:
    return pick(config, PredictMaps, category=wildcards["category"], method=wildcards["method"])


def _evaluate_maps(config: Config, wildcards: Mapping[str, str]) -> Section:
    variant = config.adclick_seg_variants.get(wildcards["method"])
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
    )


def _make_figures(config: Config, wildcards: Mapping[str, str]) -> Section:
    return pick(
        config,
        MakeFigures,
        **_named(wildcards),
        cases=config.figure_cases,
        click_methods=list(click_methods(config)),
        map_methods=list(map_methods(config)),
    )


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
    "compute_residuals": _plain(ComputeResiduals),
    "generate_prompts": _generate_prompts,
    "encode_prompts": _plain(EncodePrompts),
    "train_adclick": _train_adclick,
    "train_adclick_seg": _train_adclick_seg,
    "evaluate_clicks": _evaluate_clicks,
    "label_defects": _label_defects,
    "expand_defects": _expand_defects,
    "predict_maps": _predict_maps,
    "evaluate_maps": _evaluate_maps,
    "make_table": _make_table,
    "make_figures": _make_figures,
}
