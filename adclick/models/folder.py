"""A model folder: all that a trained network needs to answer about a new picture, and its opening.

`model.json` says what the model is and how it was made; `weights.safetensors` is the network,
`bank.h5` the normal images with their features and what was fitted to them, `words.h5` the encoded
words of each defect type (with a language branch), `backbone.safetensors` the frozen backbone
(unless it is drawn from a seed). Nothing else is read: a folder works wherever it is copied to.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32, Int, UInt8

from adclick.clicks.levels import shown_lengths
from adclick.clicks.robot import Predict
from adclick.data.geometry import (
    Shape,
    cells_in,
    content_of,
    cropped,
    first_map_content,
    frame_of,
    padded,
)
from adclick.data.images import resize_image
from adclick.models.description import (
    BACKBONE,
    BANK,
    WEIGHTS,
    WORDS,
    Description,
    part,
    read_description,
)
from adclick.models.refining import RefinedSession, choice_of, refined
from adclick.models.session import (
    Session,
    open_image,
    start_session,
    trained_fitted,
    trained_form,
    trained_precision,
)
from adclick.models.sliding import zero_click_map
from adclick.models.windows import answer_in_parts, opened_once
from adclick.models.zoom import Window, crop_inputs
from adclick.networks.inputs import ResidualForm
from adclick.networks.loading import ClickNetwork, load_model
from adclick.networks.parts import Part, map_in_parts, parts_of
from adclick.networks.trained_detector import KIND as FEATURE_DETECTOR
from adclick.networks.trained_detector import TrainedDetector, load_detector
from adclick.residuals.backbone import Backbone, load_backbone
from adclick.residuals.bank_rows import BankRows
from adclick.residuals.comparison import Bank, Compared, compare, neighbours
from adclick.residuals.maps import finish_map, training_free_map
from adclick.residuals.retrieval import histogram
from adclick.residuals.streaming import features_of
from adclick.run.artifacts import image_ids, open_arrays, text_of
from adclick.run.device import Precision, is_reduced
from adclick.run.errors import InputError
from adclick.run.provenance import file_sha256

# In pictures of the residual, white is this many times the root mean square length of normal ones.
SHOWN_LENGTHS = 5.0


@dataclass(frozen=True)
class Words:
    """The words of the known types, in their order, and one text for a defect of unknown type."""

    texts: Float[np.ndarray, "type channel token"]
    masks: Float[np.ndarray, "type token"]
    any_text: Float[np.ndarray, "channel token"]
    any_mask: Float[np.ndarray, " token"]


@dataclass(frozen=True, eq=False)
class OpenedModel:
    """A model folder in memory; only features of the normal images stay on disk."""

    description: Description
    size_px: int
    types: tuple[str, ...]
    title: str
    kind: str
    device: str
    network: ClickNetwork | TrainedDetector
    form: ResidualForm
    precision: Precision
    fitted: bool
    backbone: Backbone
    bank: Any
    patches: BankRows
    bank_ids: tuple[str, ...]
    words: Words | None


@dataclass(frozen=True, eq=False)
class Encoding:
    """A picture seen by a model, before any click; arrays alone, so that it can be kept or sent.

    `image` is the picture at the network's size, in whole patches; `content` (height, width) of it
    is no padding. `residual` is signed. `residual_map` is the training-free map for showing (1 and
    more is cut: `SHOWN_LENGTHS`), `neighbour` the normal image most like the picture. `probability`
    is a detector's finished zero-click map, None for a click model; `score` is its maximum, without
    one that of the uncut residual map. `tokens` and `maps` are what no click changes, for a defect
    of unknown type; None where a picture is larger than what the network sees at once.
    """

    image: UInt8[np.ndarray, "height width 3"]
    residual: Float16[np.ndarray, "row column channel"]
    content: Shape
    residual_map: Float32[np.ndarray, "content_height content_width"]
    neighbour: UInt8[np.ndarray, "_ _ 3"]
    neighbour_id: str
    probability: Float32[np.ndarray, "content_height content_width"] | None
    score: float
    tokens: Float32[np.ndarray, "1 token_channel row column"] | None
    maps: tuple[Float32[np.ndarray, "1 _ _ _"], ...]


def open_model(folder: Path, *, device: str | torch.device | None = None) -> OpenedModel:
    """The model of a folder that `adclick export-model` wrote, ready to answer.

    Without a device a GPU is taken where there is one. InputError when the folder is none, is of
    another version, or its parts are damaged or not of one export.
    """
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    described = read_description(folder)
    for name in described.files:
        if name != BANK and file_sha256(part(folder, name)) != described.files[name]:
            raise InputError(f"{folder / name}: not as it was exported; export the model again")
    network, form, precision, fitted = _load_network(folder / WEIGHTS, described.kind, chosen)
    bank = open_arrays(part(folder, BANK))
    if json.loads(text_of(bank, "stamp") or "null") != described.stamp:
        raise InputError(f"{folder / BANK}: of another export; export the model again")
    use = described.backbone
    backbone = load_backbone(
        use.name,
        layers=use.layers,
        source="seeded" if use.origin == "seeded" else "file",
        file=None if use.origin == "seeded" else folder / BACKBONE,
        seed=use.seed,
        input_px=use.input_px,
        size_px=described.size_px,
    )
    backbone.halved = is_reduced(chosen, use.precision)
    return OpenedModel(
        description=described,
        size_px=described.size_px,
        types=described.types,
        title=described.title,
        kind=described.kind,
        device=str(chosen),
        network=network,
        form=form,
        precision=precision,
        fitted=fitted,
        backbone=backbone.to(chosen),
        bank=bank,
        patches=BankRows(bank["patches"], chosen, most_bytes=0),
        bank_ids=tuple(image_ids(bank)),
        words=_read_words(folder / WORDS) if WORDS in described.files else None,
    )


def _load_network(
    path: Path, kind: str, device: torch.device
) -> tuple[ClickNetwork | TrainedDetector, ResidualForm, Precision, bool]:
    if kind == FEATURE_DETECTOR:
        trained = load_detector(path, device=device)
        return trained, trained.form.residual, "float32", False
    network, metadata = load_model(path, kind=kind)
    settings = metadata.extra["settings"]
    own = (trained_form(settings), trained_precision(settings), trained_fitted(settings))
    return network.to(device).eval(), *own


def encode(model: OpenedModel, image: UInt8[np.ndarray, "height width 3"]) -> Encoding:
    """A picture of any size compared with the normal images, and all that no click changes.

    The slow part of an answer. Equals what the workflow's stages make of the same picture.
    InputError for a detector that takes no clicks.
    """
    _clicked(model)
    seen = _compare(model, image)
    free = training_free_map(
        seen.compared.lengths,
        seen.compared.foreground,
        content=seen.content,
        stride=model.description.backbone.stride,
        smoothing_px=0.0,
        foreground_exponent=1.0,
    )
    shown = free / _shown_length(model)
    opened = None
    if max(seen.compared.lengths.shape) <= model.description.window:
        opened = _open(model, seen.image, seen.compared.residuals, *_any_words(model.words))
    detected = None if model.description.detection is None else _detect(model, seen)
    return Encoding(
        image=seen.image,
        residual=seen.compared.residuals,
        content=seen.content,
        residual_map=np.clip(shown, 0, 1),
        neighbour=model.bank["images"][seen.neighbours[0]],
        neighbour_id=model.bank_ids[seen.neighbours[0]],
        probability=detected,
        score=float(shown.max() if detected is None else detected.max()),
        tokens=None if opened is None else opened.tokens.float().cpu().numpy(),
        maps=() if opened is None else tuple(one.float().cpu().numpy() for one in opened.maps),
    )


def detect(
    model: OpenedModel, image: UInt8[np.ndarray, "height width 3"]
) -> Float32[np.ndarray, "map_height map_width"]:
    """A detector's finished map of a picture of any size, at the network's size, without clicks.

    The maximum over all defect types (Eq. 7), weighted by the foreground and smoothed. InputError
    for a click model.
    """
    if model.description.detection is None:
        raise InputError(f"{model.title}: a click model needs clicks (adclick annotate)")
    return _detect(model, _compare(model, image))


def open_session(model: OpenedModel, encoding: Encoding, defect_type: str | None) -> RefinedSession:
    """An encoded picture opened for clicks on a defect of a type; its answers get a second look and
    follow the picture's edges and lines where the model was made so.

    None is an unknown type: the network then reads one text, the average of all types' texts. Of a
    named type it reads the type's own, for which the language branch looks at the picture again.
    InputError for a type that the model does not know.
    """
    texts, masks = _words_of(model, defect_type)
    use, stride = model.description.clicks, model.description.backbone.stride
    scale = np.asarray(model.bank["normal_mean_square"][:], np.float32)

    def open_part(part: Part) -> Predict:
        image = np.array(encoding.image[part.pixels(stride)])  # which may lie in a file
        residual = np.array(encoding.residual[part.cells()])

        def open_window(window: Window) -> Predict:
            return _open(model, *crop_inputs(image, residual, window), texts, masks).predict

        if encoding.tokens is None:
            opened = _open(model, image, residual, texts, masks)
        else:
            opened = _open_whole(model, encoding, defect_type, texts, masks)
        return refined(
            opened.predict,
            image,
            open_window=open_window,
            zoom=use.zoom,
            edges=use.edges,
            choose=choice_of(model.network),
            lengths=lambda: shown_lengths(residual, scale, image.shape[:2]),
            stride=stride,
            radius_px=use.radius_px,
            threshold=use.threshold,
        )

    window, kept = model.description.window, opened_once(open_part)
    whole = answer_in_parts(kept, content=encoding.content, window=window, stride=stride)
    return RefinedSession(whole, kept)


def _words_of(model: OpenedModel, defect_type: str | None) -> tuple[np.ndarray, np.ndarray]:
    if defect_type is not None and defect_type not in model.types:
        known = ", ".join(model.types)
        raise InputError(f"{model.title}: no defect type {defect_type!r}; known: {known}")
    if defect_type is None or model.words is None:
        return _any_words(model.words)
    index = model.types.index(defect_type)
    return model.words.texts[[index]], model.words.masks[[index]]


def _open_whole(
    model: OpenedModel,
    encoding: Encoding,
    defect_type: str | None,
    texts: np.ndarray,
    masks: np.ndarray,
) -> Session:
    """What `encode` has computed is for the words of an unknown type."""
    if defect_type is not None and model.words is not None:
        return _open(model, encoding.image, encoding.residual, texts, masks)
    assert encoding.tokens is not None
    device = torch.device(model.device)
    return start_session(
        _clicked(model),
        torch.from_numpy(encoding.tokens).to(device),
        [torch.from_numpy(level).to(device) for level in encoding.maps],
        image=encoding.image,
        radius_px=model.description.clicks.radius_px,
        precision=model.precision,
        fitted=model.fitted,
    )


def _clicked(model: OpenedModel) -> ClickNetwork:
    """The network, if it takes clicks; else InputError."""
    if isinstance(model.network, TrainedDetector):
        raise InputError(f"{model.title}: a detector that takes no clicks; use adclick predict")
    return model.network


def _read_words(path: Path) -> Words:
    with open_arrays(path) as file:
        return Words(*(file[name][:] for name in ("texts", "masks", "any_text", "any_mask")))


def _any_words(words: Words | None) -> tuple[np.ndarray, np.ndarray]:
    """The text of an unknown type; for a network without language nothing that it would read."""
    if words is None:
        return np.zeros((1, 1, 1), np.float32), np.zeros((1, 1), np.float32)
    return words.any_text[None], words.any_mask[None]


@dataclass(frozen=True, eq=False)
class _Seen:
    """A picture at the network's size, compared with the normal images; `content` of it is no
    padding.
    """

    image: UInt8[np.ndarray, "height width 3"]
    content: Shape
    neighbours: Int[np.ndarray, " neighbour"]
    compared: Compared


def _compare(model: OpenedModel, image: np.ndarray) -> _Seen:
    """Features, neighbours, residual and foreground, as the workflow makes them."""
    how, use = model.description.comparison, model.description.backbone
    bank, described = model.bank, model.description
    content = content_of((image.shape[0], image.shape[1]), described.geometry)
    normal = bank["images"].shape[1:3]
    frame = frame_of([content, (int(normal[0]), int(normal[1]))], use.stride, described.geometry)
    picture = padded(resize_image(image, content, described.pictures.resize), frame)
    patches, layer1 = features_of(
        model.backbone,
        picture[None],
        stride=use.stride,
        layer_dimensions=use.layer_dimensions,
        dimension=use.dimension,
    )
    own = first_map_content(layer1[0], content, frame, use.stride)
    found = neighbours(
        histogram(own, bank["codebook"][:], how.blocks)[None],
        bank,
        kept_blocks=how.kept_blocks,
        count=how.neighbours,
        sources=[""],
        bank_ids=model.bank_ids,
    )[0]
    first_maps = [layer1[0]]  # passed on, so that the matching has its room
    del layer1, own
    compared = compare(
        patches[0],
        first_maps.pop(),
        Bank(
            model.patches,
            bank["foreground"],
            bank["foreground_weight"],
            bank["foreground_numbers"],
        ),
        content=cells_in(content, use.stride),
        matched=found[: how.matched_neighbours],
        joined=found[: how.foreground_neighbours],
        radius=how.radius,
        device=torch.device(model.device),
    )
    return _Seen(picture, content, found, compared)


def _shown_length(model: OpenedModel) -> np.float32:
    """The length of residual that is shown as white."""
    normal = np.sqrt(model.bank["normal_mean_square"][:].sum())
    return np.float32(SHOWN_LENGTHS * (normal or 1.0))


def _open(
    model: OpenedModel,
    image: np.ndarray,
    residual: np.ndarray,
    texts: np.ndarray,
    masks: np.ndarray,
) -> Session:
    return open_image(
        _clicked(model),
        residual=residual,
        scale=model.bank["normal_mean_square"][:],
        image=image,
        texts=texts,
        text_masks=masks,
        form=model.form,
        radius_px=model.description.clicks.radius_px,
        device=torch.device(model.device),
        precision=model.precision,
        fitted=model.fitted,
    )


def _detect(model: OpenedModel, seen: _Seen) -> Float32[np.ndarray, "height width"]:
    use, words = model.description.detection, model.words
    assert use is not None
    stride = model.description.backbone.stride
    if isinstance(model.network, TrainedDetector):
        return model.network.probability(
            patches=seen.compared.patches,
            residual=seen.compared.residuals,
            image=seen.image,
            training_free=training_free_map(
                seen.compared.lengths,
                seen.compared.foreground,
                content=seen.content,
                stride=stride,
                smoothing_px=use.smoothing_px,
                foreground_exponent=use.foreground_exponent,
            ),
            device=torch.device(model.device),
        )
    texts, masks = _any_words(None) if words is None else (words.texts, words.masks)
    grid = cells_in(seen.content, stride)
    parts = parts_of(grid, model.description.window)

    def found() -> Iterator[np.ndarray]:
        for one in parts:
            image, residual = seen.image[one.pixels(stride)], seen.compared.residuals[one.cells()]
            opened = _open(model, image, residual, texts, masks)
            yield zero_click_map(opened, sliding=use.sliding, stride=stride)

    return finish_map(
        cropped(map_in_parts(zip(parts, found(), strict=True), grid, stride), seen.content),
        seen.compared.foreground,
        stride=stride,
        smoothing_px=use.smoothing_px,
        foreground_exponent=use.foreground_exponent,
    )
