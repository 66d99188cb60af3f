"""A finished run's network and what it needs of its category, collected as one model folder."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adclick.artifacts import (
    ArraySpec,
    create_array,
    create_arrays,
    image_ids,
    input_digest,
    open_arrays,
    read_csv,
    read_stamp,
    write_json,
)
from adclick.commands.detecting import open_detector
from adclick.commands.writing import new_folder
from adclick.config import Detection, Sliding
from adclick.data.pools import defect_types, read_texts
from adclick.data.rows import train_normal_rows
from adclick.data.samples import Text
from adclick.data.types import NORMAL_TYPE
from adclick.errors import InputError
from adclick.features import LayerMaps
from adclick.language.encoder import average_features
from adclick.models.checkpoints import ModelMetadata, read_metadata, save_tensors
from adclick.models.folder import (
    BACKBONE,
    BANK,
    DESCRIPTION,
    FORMAT,
    WEIGHTS,
    WORDS,
    BackboneUse,
    ClickUse,
    Comparison,
    Description,
    MapUse,
    description_json,
    read_description,
)
from adclick.provenance import file_sha256, make_stamp

COMMAND = "adclick.commands.export_model"
NETWORKS = {"adclick": "ADClick", "adclick_seg": "ADClick-Seg"}
MADE_WITH_WEIGHTS = ("simulate_clicks", "predict_maps")
LANGUAGE = "encode_prompts/language.h5"
NORMAL_SHARE = 0.001  # of normal pixels: what a detector's own threshold lets through


@dataclass(frozen=True)
class _Source:
    """The artifacts of a run that one model folder is made of, and what determines it."""

    category: Path
    variant: str
    seed: int
    weights: Path
    metadata: ModelMetadata
    residuals: Path
    language: Path | None
    settings: dict[str, Any]
    retrieval: dict[str, Any]
    detection: dict[str, Any] | None
    stamp: dict[str, Any]

    def part(self, name: str) -> Path:
        return self.category / name


def export_model(category: Path, variant: str, *, seed: int, output: Path) -> None:
    """Write the model folder of a variant that a run trained for a category, whole or not at all.

    `category` is `results/<run>/<data set>/<category>`. All settings come from the stamps of the
    artifacts. InputError when the variant was not trained there, when artifacts are not of one run,
    or when `output` exists.
    """
    if output.exists():
        raise InputError(f"{output} is there already: delete it, or give another name")
    source = _find(category, variant, seed)
    with new_folder(output) as folder:
        shutil.copyfile(source.weights, folder / WEIGHTS)
        types, words = _types(source)
        if words is not None:
            _write_words(folder / WORDS, source, words)
        _write_bank(folder / BANK, source)
        backbone = _write_backbone(folder / BACKBONE, source)
        detection = None if source.detection is None else _map_use(source, source.detection)
        described = _describe(source, folder, types, backbone, detection)
        write_json(folder / DESCRIPTION, description_json(described), stamp=source.stamp)


def is_current(folder: Path, category: Path, variant: str, *, seed: int) -> bool:
    """Whether a model folder is what `export_model` would write now."""
    try:
        return read_description(folder).stamp == _find(category, variant, seed).stamp
    except InputError:
        return False


def trained_variants(category: Path) -> dict[str, list[int]]:
    """The variants that can be exported from a run's category, and their seeds.

    Networks trained on the category come first, then those that were only pretrained or slid.
    """
    places = [
        *sorted(category.glob("train_adclick/*/seed*/weights.safetensors")),
        *sorted(category.glob("train_adclick_seg/*/seed*/weights.safetensors")),
        *(
            path
            for stage in MADE_WITH_WEIGHTS
            for path in sorted(category.glob(f"{stage}/*/seed*/maps.h5"))
            if "weights" in ((read_stamp(path) or {}).get("inputs") or {})
        ),
    ]
    found: dict[str, list[int]] = {}
    for path in places:
        seeds = found.setdefault(path.parents[1].name, [])
        seed = int(path.parent.name.removeprefix("seed"))
        if seed not in seeds:
            seeds.append(seed)
    return found


# --- what a run left --------------------------------------------------------------------------


def _find(category: Path, variant: str, seed: int) -> _Source:
    weights = _weights(category, variant, seed)
    metadata = read_metadata(weights)
    trained: dict[str, Any] = metadata.extra["stamp"]["inputs"]
    residuals = _residuals(category, weights, trained)
    stamp = _stamp_of(residuals)
    neighbours = category / "find_neighbours/real.h5"
    retrieval = _stamp_of(neighbours)
    _require_same(residuals, stamp, neighbours=neighbours)
    _require_same(
        residuals,
        stamp,
        features=category / "extract_features/features.h5",
        foreground=category / "fit_foreground/foreground.h5",
        images=category / "make_manifest/images.h5",
    )
    _require_same(neighbours, retrieval, retrieval=category / "fit_retrieval/retrieval.h5")
    language = _language(category, metadata, trained)
    detection = None
    if metadata.kind == "adclick_seg":
        maps = category / f"predict_maps/{variant}/seed{seed}/maps.h5"
        made = _stamp_of(maps)["settings"]
        detection = {"sliding": made["sliding"], **made["detection"]}
    used = {"weights": weights, "residuals": residuals}
    used |= {"manifest": category / "make_manifest/manifest.csv", "neighbours": neighbours}
    used |= {"language": language} if language else {}
    settings = {"variant": variant, "place": _place(category), "detection": detection}
    inputs = {name: input_digest(path) for name, path in used.items()}
    return _Source(
        category,
        variant,
        seed,
        weights,
        metadata,
        residuals,
        language,
        stamp["settings"],
        retrieval["settings"]["retrieval"],
        detection,
        make_stamp(COMMAND, settings=settings, inputs=inputs, seed=seed),
    )


def _place(category: Path) -> str:
    return "/".join(category.absolute().parts[-3:])


def _weights(category: Path, variant: str, seed: int) -> Path:
    """Where a variant's weights lie: trained here, or those that clicked or made maps here under
    this name (a pretrained network, a detector slid over windows).
    """
    for network in NETWORKS:
        path = category / f"train_{network}/{variant}/seed{seed}/weights.safetensors"
        if path.is_file():
            return path
    used = [category / f"{stage}/{variant}/seed{seed}/maps.h5" for stage in MADE_WITH_WEIGHTS]
    wanted = {_stamp_of(path)["inputs"].get("weights") for path in used if path.is_file()}
    for pattern in ("pretrain_adclick/*/*", "train_adclick_seg/*"):
        for path in sorted(category.glob(f"{pattern}/seed{seed}/weights.safetensors")):
            if input_digest(path) in wanted:
                return path
    if not category.is_dir():
        raise InputError(f"{category}: no such folder; give results/<run>/<data set>/<category>")
    listed = [
        f"{name} (seed {', '.join(map(str, seeds))})"
        for name, seeds in trained_variants(category).items()
    ]
    raise InputError(
        f"{category}: no weights of variant {variant}, seed {seed};"
        f" there are {', '.join(listed) or 'none, run the workflow first'}"
    )


def _residuals(category: Path, weights: Path, trained: Mapping[str, Any]) -> Path:
    """The residuals of the matching that a network was trained with."""
    found = sorted(category.glob("compute_residuals/*/real.h5"))
    if "pretrain_adclick" in weights.parts:
        name = weights.parents[2].name
        found = [path for path in found if path.parent.name == name]
    else:
        found = [path for path in found if [input_digest(path)] == trained["residuals"]]
    if not found:
        raise InputError(
            f"{weights}: was trained on other residuals than {category}/compute_residuals has;"
            " run the workflow again, then export"
        )
    return found[0]


def _language(category: Path, metadata: ModelMetadata, trained: Mapping[str, Any]) -> Path | None:
    """The encoded words of a network with a language branch."""
    if metadata.sizes["language"] is None:
        return None
    path = category.parent / LANGUAGE
    if input_digest(path) not in trained["languages"]:
        raise InputError(
            f"{path}: the network was trained with other words; run the workflow again, then export"
        )
    return path


def _stamp_of(path: Path) -> dict[str, Any]:
    stamp = read_stamp(path)
    if stamp is None:
        raise InputError(f"{path}: carries no stamp; run the workflow again")
    return stamp


def _require_same(path: Path, stamp: Mapping[str, Any], **inputs: Path) -> None:
    """InputError when an artifact was made of another input than lies there now."""
    for name, file in inputs.items():
        if stamp["inputs"][name] != input_digest(file):
            raise InputError(
                f"{path}: was made of another {file.name} than {file.parent} has now;"
                " run the workflow again, then export"
            )


# --- what the folder holds --------------------------------------------------------------------


def _types(source: _Source) -> tuple[list[str], Mapping[str, Text] | None]:
    """The category's real defect types, and the words of all its types."""
    kinds = sorted(set(read_csv(source.part("make_manifest/manifest.csv"))["defect_type"]))
    real = [kind for kind in kinds if kind not in (NORMAL_TYPE, "")]
    if source.language is None:
        return real, None
    texts = read_texts(source.language, source.category.name)
    return defect_types(texts, real), {kind: texts[kind] for kind in real}


def _write_words(path: Path, source: _Source, words: Mapping[str, Text]) -> None:
    """The average words of every type, and their average over the types."""
    assert source.language is not None
    texts = np.stack([text.average for text in words.values()])
    masks = np.stack([text.average_mask for text in words.values()])
    mode = _stamp_of(source.language)["settings"]["language"]["average"]
    any_text, any_mask = average_features(texts, masks, mode=mode)
    specs = {
        "texts": ArraySpec(texts.shape[1:], "float32"),
        "masks": ArraySpec(masks.shape[1:], "float32"),
    }
    with create_arrays(path, image_ids=list(words), specs=specs, stamp=source.stamp) as file:
        file["texts"][:], file["masks"][:] = texts, masks
        create_array(file, "any_text", any_text.shape, "float32")[:] = any_text
        create_array(file, "any_mask", any_mask.shape, "float32")[:] = any_mask


def _write_bank(path: Path, source: _Source) -> None:
    """The normal training images: pictures, patch features, histograms, foreground."""
    with (
        open_arrays(source.part("extract_features/features.h5")) as features,
        open_arrays(source.part("fit_retrieval/retrieval.h5")) as retrieval,
        open_arrays(source.part("fit_foreground/foreground.h5")) as foreground,
        open_arrays(source.part("make_manifest/images.h5")) as pictures,
        open_arrays(source.residuals) as residuals,
    ):
        ids = image_ids(features)
        row_of = {image_id: row for row, image_id in enumerate(image_ids(pictures))}
        copied = {
            "patches": (features["patches"], range(len(ids))),
            "images": (pictures["images"], [row_of[image_id] for image_id in ids]),
            "histograms": (retrieval["histograms"], range(len(ids))),
            "foreground": (foreground["maps"], range(len(ids))),
        }
        whole = {
            "codebook": retrieval["codebook"],
            "foreground_weight": foreground["weight"],
            "foreground_numbers": foreground["numbers"],
            "normal_mean_square": residuals["normal_mean_square"],
        }
        specs = {
            name: ArraySpec(array.shape[1:], str(array.dtype))
            for name, (array, _) in copied.items()
        }
        with create_arrays(path, image_ids=ids, specs=specs, stamp=source.stamp) as file:
            for name, (array, rows) in copied.items():
                for index, row in enumerate(rows):
                    file[name][index] = array[row]
            for name, array in whole.items():
                create_array(file, name, array.shape, "float32")[:] = array[:]


def _write_backbone(path: Path, source: _Source) -> BackboneUse:
    """The backbone's weights in timm's names, unless a seed draws them; and how it is used."""
    features = source.settings["features"]
    weights = features["weights"]
    if weights["source"] == "file":
        given = Path(weights["file"])
        if not given.is_file():
            raise InputError(f"{given}: the run's backbone is not there; put it back, then export")
        shutil.copyfile(given, path)
        _require_backbone(path, given, source)
    elif weights["source"] == "hub":
        network = _hub_network(features["backbone"], features["layers"])
        save_tensors(path, network.state_dict(), {"format": "pt", "source": features["backbone"]})
    return BackboneUse(
        name=features["backbone"],
        layers=tuple(features["layers"]),
        layer_dimensions=tuple(features["layer_dimensions"]),
        dimension=features["dimension"],
        stride=features["stride"],
        input_px=features["input_px"],
        origin=weights["source"],
        seed=weights["seed"],
        sha256=file_sha256(path) if path.is_file() else None,
    )


def _require_backbone(path: Path, given: Path, source: _Source) -> None:
    """InputError when the backbone's file is no longer the one that the run was made with."""
    used = _stamp_of(source.residuals)["inputs"].get("backbone")
    if used is not None and used != input_digest(path):
        raise InputError(f"{given}: not the file that the run was made with; put it back")


def _hub_network(name: str, layers: Sequence[int]) -> Any:
    import timm

    try:
        network = timm.create_model(name, pretrained=True)
    except Exception as error:  # what timm and the hub's client raise has no common kind
        line = " ".join(str(error).split())[:200]
        raise InputError(f"backbone {name}: its weights could not be fetched ({line})") from None
    return LayerMaps(network, layers).network


def _map_use(source: _Source, detection: Mapping[str, Any]) -> MapUse:
    """How maps are made, and the threshold that `NORMAL_SHARE` of the pixels of the normal training
    images exceed. The residual of each is to the others; the network was trained with all of them.
    """
    sliding, manifest = detection["sliding"], source.part("make_manifest/manifest.csv")
    finishing = {name: value for name, value in detection.items() if name != "sliding"}
    rows = train_normal_rows(manifest)
    with open_detector(
        source.weights,
        manifest=manifest,
        images=source.part("make_manifest/images.h5"),
        residuals=source.residuals,
        language=source.category.parent / LANGUAGE,
        category=source.category.name,
        sliding=None if sliding is None else Sliding(**sliding),
        stride=source.settings["features"]["stride"],
        detection=Detection(**finishing),
    ) as map_of:
        threshold = exceeded_by(NORMAL_SHARE, map(map_of, rows), count=len(rows))
    return MapUse(**detection, threshold=threshold)


def exceeded_by(share: float, maps: Iterable[np.ndarray], *, count: int) -> float:
    """The value, to four digits, that a share of all pixels of `count` maps of one size exceed; no
    more than those pixels and one map are kept in memory.
    """
    highest = np.empty(0, np.float32)
    for one in maps:
        kept = int(share * count * one.size) + 1
        highest = np.append(highest, one)
        highest = highest if highest.size <= kept else np.partition(highest, -kept)[-kept:]
    return float(f"{highest.min():.4g}")


def _describe(
    source: _Source,
    folder: Path,
    types: Sequence[str],
    backbone: BackboneUse,
    detection: MapUse | None,
) -> Description:
    settings, retrieval = source.settings, source.retrieval
    trained = source.metadata.extra["settings"]
    run, dataset, category = source.category.absolute().parts[-3:]
    with open_arrays(folder / BANK) as bank:
        normal_images = len(image_ids(bank))
    return Description(
        format=FORMAT,
        kind=source.metadata.kind,  # type: ignore[arg-type]
        title=_title(source),
        types=tuple(types),
        made_from={
            "run": run,
            "dataset": dataset,
            "category": category,
            "variant": source.variant,
            "seed": source.seed,
            "matching": source.residuals.parent.name,
        },
        size_px=settings["size_px"],
        backbone=backbone,
        comparison=Comparison(
            words=retrieval["words"],
            blocks=retrieval["blocks"],
            kept_blocks=retrieval["kept_blocks"],
            neighbours=retrieval["neighbours"],
            radius=settings["matching"]["radius"],
            matched_neighbours=settings["matching"]["neighbours"],
            foreground_neighbours=settings["foreground"]["neighbours"],
        ),
        clicks=ClickUse(radius_px=trained["radius_px"], threshold=trained["threshold"]),
        detection=detection,
        normal_images=normal_images,
        parameters=_parameters(source.weights),
        files={path.name: file_sha256(path) for path in sorted(folder.iterdir())},
        stamp=source.stamp,
    )


def _parameters(path: Path) -> int:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:  # pyright: ignore[reportUnknownVariableType]
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    return int(sum(np.prod(shape, dtype=np.int64) for shape in shapes))


def _title(source: _Source) -> str:
    """One line for people: which network, of what, and what of it was never trained."""
    untrained = []
    if source.settings["features"]["weights"]["source"] == "seeded":
        untrained.append("backbone")
    if source.language is not None:
        words = _stamp_of(source.language)["settings"]["language"]["weights"]["source"]
        untrained += ["text encoder"] if words == "seeded" else []
    run, dataset, category = source.category.absolute().parts[-3:]
    named = f"{NETWORKS[source.metadata.kind]} {source.variant}, {dataset}/{category}"
    note = f"; {' and '.join(untrained)} untrained" if untrained else ""
    return f"{named} (run {run}, seed {source.seed}{note})"


def describe_folder(folder: Path) -> str:
    """What `adclick export-model` says at its end."""
    described = read_description(folder)
    size_mb = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    return (
        f"{folder}: {described.title}\n"
        f"{described.normal_images} normal images of {described.size_px} px,"
        f" {described.parameters:,} parameters, types {', '.join(described.types)};"
        f" {size_mb:.0f} MB, {described.identity}"
    )
