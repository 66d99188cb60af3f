"""A finished run's network and what it needs of its category, collected as one model folder."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adclick.data.rows import NORMAL_TYPE
from adclick.language.encoder import average_features
from adclick.language.words import Text, defect_types, read_texts
from adclick.models.decisions import level_of
from adclick.models.description import (
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
    description_json,
    read_description,
)
from adclick.models.run_sources import NETWORKS, Source, find, stamp_of
from adclick.models.session import trained_precision
from adclick.networks.checkpoints import read_metadata, save_tensors
from adclick.networks.trained_detector import KIND
from adclick.residuals.backbone import LayerMaps
from adclick.run.artifacts import (
    ArraySpec,
    create_array,
    create_arrays,
    image_ids,
    input_digest,
    new_folder,
    open_arrays,
    open_tensors,
    read_csv,
    text_of,
    write_json,
)
from adclick.run.errors import InputError
from adclick.run.provenance import file_sha256
from adclick.run.settings.data import EARLIER_USE, PictureUse


def export_model(category: Path, variant: str, *, seed: int, output: Path) -> None:
    """Write the model folder of a variant that a run trained for a category, whole or not at all.

    `category` is `results/<run>/<data set>/<category>`. All settings come from the stamps of the
    artifacts. InputError when the variant was not trained there, when artifacts are not of one run,
    or when `output` exists.
    """
    if output.exists():
        raise InputError(f"{output} is there already: delete it, or give another name")
    source = find(category, variant, seed)
    with new_folder(output) as folder:
        shutil.copyfile(source.weights, folder / WEIGHTS)
        types, words = _types(source)
        if words is not None:
            _write_words(folder / WORDS, source, words)
        _write_bank(folder / BANK, source)
        backbone = _write_backbone(folder / BACKBONE, source)
        described = _describe(source, folder, types, backbone)
        write_json(
            folder / DESCRIPTION, description_json(described), stamp=source.stamp, sealed=False
        )


def is_current(folder: Path, category: Path, variant: str, *, seed: int) -> bool:
    """Whether a model folder is what `export_model` would write now."""
    try:
        return read_description(folder).stamp == find(category, variant, seed).stamp
    except InputError:
        return False


def exported(category: Path, variant: str, *, seed: int, output: Path) -> Path:
    """The model folder `output`, exported again where it is not what the run has now: the old one
    is there until the new one is whole, and stays while the run makes parts of it again.
    """
    if output.is_dir() and is_current(output, category, variant, seed=seed):
        return output
    new, old = (output.with_name(f".{output.name}.{which}") for which in ("new", "old"))
    shutil.rmtree(new, ignore_errors=True)
    try:
        export_model(category, variant, seed=seed, output=new)
    except (InputError, OSError):
        if output.is_dir():
            return output
        raise
    shutil.rmtree(old, ignore_errors=True)
    if output.is_dir():
        output.rename(old)
    new.rename(output)
    shutil.rmtree(old, ignore_errors=True)
    return output


def _types(source: Source) -> tuple[list[str], Mapping[str, Text] | None]:
    """The category's real defect types, and the words of all its types."""
    kinds = sorted(set(read_csv(source.part("make_manifest/manifest.csv"))["defect_type"]))
    real = [kind for kind in kinds if kind not in (NORMAL_TYPE, "")]
    if source.language is None:
        return real, None
    texts = read_texts(source.language, source.category.name)
    assert texts is not None
    return defect_types(texts, real), {kind: texts[kind] for kind in real}


def _write_words(path: Path, source: Source, words: Mapping[str, Text]) -> None:
    """The average words of every type, and their average over the types."""
    assert source.language is not None
    texts = np.stack([text.average for text in words.values()])
    masks = np.stack([text.average_mask for text in words.values()])
    mode = stamp_of(source.language)["settings"]["language"]["average"]
    any_text, any_mask = average_features(texts, masks, mode=mode)
    specs = {
        "texts": ArraySpec(texts.shape[1:], "float32"),
        "masks": ArraySpec(masks.shape[1:], "float32"),
    }
    with create_arrays(path, image_ids=list(words), specs=specs, stamp=source.stamp) as file:
        file["texts"][:], file["masks"][:] = texts, masks
        create_array(file, "any_text", any_text.shape, "float32")[:] = any_text
        create_array(file, "any_mask", any_mask.shape, "float32")[:] = any_mask


def _write_bank(path: Path, source: Source) -> None:
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


def _write_backbone(path: Path, source: Source) -> BackboneUse:
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
        precision=trained_precision(source.settings),
    )


def _require_backbone(path: Path, given: Path, source: Source) -> None:
    """InputError when the backbone's file is no longer the one that the run was made with."""
    used = stamp_of(source.residuals)["inputs"].get("backbone")
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


def _describe(
    source: Source,
    folder: Path,
    types: Sequence[str],
    backbone: BackboneUse,
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
            "chosen": settings.get("chosen"),
        },
        size_px=settings["size_px"],
        pictures=picture_use(source.part("make_manifest/images.h5")),
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
        clicks=ClickUse(
            radius_px=trained["radius_px"],
            threshold=trained["threshold"],
            **source.refinement,
        ),
        detection=source.detection,
        normal_images=normal_images,
        parameters=_parameters(source.weights),
        files={path.name: file_sha256(path) for path in sorted(folder.iterdir())},
        stamp=source.stamp,
    )


def picture_use(images: Path) -> PictureUse:
    """What the pictures' artifact says of how its pictures became what they are."""
    with open_arrays(images) as file:
        use = text_of(file, "use")
    return EARLIER_USE if use is None else PictureUse.model_validate_json(use)


def _parameters(path: Path) -> int:
    with open_tensors(path, framework="numpy") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    return int(sum(np.prod(shape, dtype=np.int64) for shape in shapes))


def _title(source: Source) -> str:
    """One line for people: which network, of what, and what of it was never trained."""
    untrained = []
    if source.settings["features"]["weights"]["source"] == "seeded":
        untrained.append("backbone")
    if source.language is not None:
        words = stamp_of(source.language)["settings"]["language"]["weights"]["source"]
        untrained += ["text encoder"] if words == "seeded" else []
    run, dataset, category = source.category.absolute().parts[-3:]
    named = f"{NETWORKS[source.metadata.kind]} {source.variant}, {dataset}/{category}"
    note = f"; {' and '.join(untrained)} untrained" if untrained else ""
    return f"{named} (run {run}, seed {source.seed}{note})"


def describe_folder(folder: Path) -> str:
    """What `adclick export-model` says at its end."""
    described = read_description(folder)
    size_mb = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    said = (
        f"{folder}: {described.title}\n"
        f"{described.normal_images} normal images, {described.geometry.words},"
        f" {described.parameters:,} parameters, types {', '.join(described.types)};"
        f" {size_mb:.0f} MB, {described.identity}"
    )
    if described.made_from.get("chosen"):
        said += (
            f"\nmatching {described.made_from['matching']}: {described.made_from['chosen']} was"
            " chosen on simulated defects of held-out normal images"
        )
    if described.kind == KIND:
        said += "\n" + _held_out(folder)
    return said if described.detection is None else f"{said}\n{level_of(described.detection).line}"


def _held_out(folder: Path) -> str:
    """What a detector on features and the training-free map alone reach on held-out pictures."""
    facts = read_metadata(folder / WEIGHTS).extra
    reached = {score["amount"]: _scores(score) for score in facts["held_out"]}
    chosen = facts["amount"]
    ours = f"its map, {reached[chosen]}; " if chosen else "nothing gains on the "
    return (
        f"adds {chosen:g} of what it learned to the training-free map. On labelled pictures held"
        f" out in training: {ours}training-free map alone, {reached[0]}"
    )


def _scores(score: Mapping[str, Any]) -> str:
    named = {"AP": "typical_ap", "PRO": "pixel_pro", "image AUROC": "image_auroc"}
    given = {name: score[key] for name, key in named.items() if score[key] is not None}
    return ", ".join(f"{name} {100 * value:.1f} %" for name, value in given.items())
