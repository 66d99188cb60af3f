"""Score anybody's anomaly maps against their masks: AP, AUROC, PRO and image AUROC."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from adclick.metrics.map_files import LoadedMap, pair_maps, read_pairs
from adclick.metrics.pixels import component_results, image_results, pixel_metrics
from adclick.metrics.ranks import FOUND_RATE, ComponentResult, ImageResult, PixelMetrics
from adclick.metrics.sizes import SizeClass, by_size, size_lines
from adclick.metrics.streaming import StreamingMetrics
from adclick.run.artifacts import json_text, write_text
from adclick.run.errors import InputError
from adclick.run.provenance import digest, fingerprint, installed_version, make_stamp
from adclick.run.settings.data import MaskValues

COMMAND = "adclick.metrics.scoring"
NAMED_SIZES = 3


@dataclass(frozen=True)
class _Facts:
    """What is kept of an image when its pixels are gone."""

    name: str
    width: int
    height: int
    defective_px: int
    low: float
    high: float
    was_resized: bool
    is_coarse: bool
    map_sha256: str
    mask_sha256: str

    @property
    def size(self) -> str:
        return f"{self.width} x {self.height}"


@dataclass(frozen=True)
class _Scores:
    """The metrics; results by image, empty when nobody asked for them; by image's defect.

    `uncertainty`: by how much each metric may be off, None when exact.
    """

    facts: list[_Facts]
    metrics: PixelMetrics
    uncertainty: PixelMetrics | None
    images: list[ImageResult]
    components: list[list[ComponentResult]]


def main(
    *,
    maps: Path,
    masks: Path,
    output: Path | None = None,
    per_image: Path | None = None,
    per_component: Path | None = None,
    pro_limit: float = 0.3,
    resize: bool = False,
    skip_missing: bool = False,
    stream: bool = False,
    mask_values: MaskValues | None = None,
    as_json: bool = False,
) -> None:
    """Score the maps under one folder against the masks under another; see `adclick evaluate`.

    Writes the metrics as JSON (`output`) and results by image and by defect as CSV, and prints a
    summary, or the JSON. InputError tells of all that does not fit.
    """
    if not 0 < pro_limit <= 1:
        raise InputError(f"--pro-limit {pro_limit}: must be above 0 and at most 1")
    _check_outputs(output, per_image, per_component)
    pairs, left_out = pair_maps(maps, masks, skip_missing=skip_missing)
    score = _score_streaming if stream else _score_exactly
    scores = score(
        partial(read_pairs, pairs, resize=resize, mask_values=mask_values),
        pro_limit,
        by_image=per_image is not None,
    )
    settings = {
        "pro_limit": pro_limit,
        "resize": resize,
        "skip_missing": skip_missing,
        "stream": stream,
        "mask_values": mask_values,
    }
    notes = _notes(scores, left_out)
    text = json_text(_payload(scores, pro_limit, notes), stamp=_stamp(scores.facts, settings))
    if per_image is not None:
        write_text(per_image, _image_table(scores))
    if per_component is not None:
        write_text(per_component, _component_table(scores))
    if output is not None:
        write_text(output, text)
    print(text if as_json else _summary(scores, pro_limit, notes), end="")


def _check_outputs(*paths: Path | None) -> None:
    """That no two results go to one file: the later would replace the other."""
    files = [path.resolve() for path in paths if path is not None]
    twice = next((path for path in files if files.count(path) > 1), None)
    if twice is not None:
        raise InputError(f"{twice}: named for two results; give each its own file")


def _score_exactly(
    read: Callable[[], Iterator[LoadedMap]],
    pro_limit: float,
    *,
    by_image: bool,
) -> _Scores:
    """All maps in memory, and their normal pixels once more."""
    loaded = list(read())
    facts = _checked(map(_facts, loaded))
    maps, masks = [image.scores for image in loaded], [image.mask for image in loaded]
    return _Scores(
        facts=facts,
        metrics=pixel_metrics(maps, masks, pro_limit=pro_limit),
        uncertainty=None,
        images=image_results(maps, masks) if by_image else [],
        components=component_results(maps, masks, pro_limit=pro_limit),
    )


def _score_streaming(
    read: Callable[[], Iterator[LoadedMap]],
    pro_limit: float,
    *,
    by_image: bool,
) -> _Scores:
    """One map in memory at a time; read for the range, for the counts, and for the defects."""
    facts = _checked(map(_facts, read()))
    counts = _counts(min(one.low for one in facts), max(one.high for one in facts))
    images = []
    for image in read():
        counts.add(image.scores, image.mask)
        if by_image:
            images += image_results([image.scores], [image.mask])
    components = [
        counts.components(image.scores, image.mask, pro_limit=pro_limit) for image in read()
    ]
    return _Scores(
        facts=facts,
        metrics=counts.result(pro_limit=pro_limit),
        uncertainty=counts.uncertainty(pro_limit=pro_limit),
        images=images,
        components=components,
    )


def _counts(low: float, high: float) -> StreamingMetrics:
    try:
        return StreamingMetrics(low, high)
    except ValueError as error:
        raise InputError(f"--stream: {error}; scale the maps, or leave out --stream") from None


def _facts(image: LoadedMap) -> _Facts:
    height, width = image.mask.shape
    return _Facts(
        name=image.name,
        width=width,
        height=height,
        defective_px=int(image.mask.sum()),
        low=float(image.scores.min()),
        high=float(image.scores.max()),
        was_resized=image.was_resized,
        is_coarse=image.is_coarse,
        map_sha256=image.map_sha256,
        mask_sha256=image.mask_sha256,
    )


def _checked(facts: Iterable[_Facts]) -> list[_Facts]:
    found = list(facts)
    defective_px = sum(one.defective_px for one in found)
    if defective_px in (0, _pixels(found)):
        raise InputError(
            f"the masks hold no {'normal' if defective_px else 'defective'} pixel;"
            " nothing can be told apart"
        )
    return found


def _pixels(facts: Iterable[_Facts]) -> int:
    return sum(one.width * one.height for one in facts)


def _payload(scores: _Scores, pro_limit: float, notes: Sequence[str]) -> dict[str, Any]:
    facts, uncertainty = scores.facts, scores.uncertainty
    defective = sum(one.defective_px > 0 for one in facts)
    return {
        **_named(scores.metrics),
        "images": len(facts),
        "normal": len(facts) - defective,
        "defective": defective,
        "pixels": _pixels(facts),
        "defective_pixels": sum(one.defective_px for one in facts),
        "sizes": Counter(one.size for one in facts),
        "resized_maps": sum(one.was_resized for one in facts),
        "pro_limit": pro_limit,
        "sizes_of_defects": [asdict(one) for one in _by_size(scores)],
        "uncertainty": None if uncertainty is None else _named(uncertainty),
        "evaluator": _evaluator(),
        "notes": notes,
    }


def _by_size(scores: _Scores) -> list[SizeClass]:
    return by_size(one for own in scores.components for one in own)


def _named(metrics: PixelMetrics) -> dict[str, float | None]:
    return {
        "pixel_ap": metrics.ap,
        "pixel_auroc": metrics.auroc,
        "pixel_pro": metrics.pro,
        "image_auroc": metrics.image_auroc,
    }


def _evaluator() -> str:
    """The version, and a digest of the metrics' code: equal digests, equal formulas."""
    return f"adclick {installed_version('adclick')}, metrics {fingerprint('adclick.metrics')}"


def _stamp(facts: Sequence[_Facts], settings: dict[str, Any]) -> dict[str, Any]:
    inputs = {
        "maps": digest([(one.name, one.map_sha256) for one in facts]),
        "masks": digest([(one.name, one.mask_sha256) for one in facts]),
    }
    return make_stamp(COMMAND, settings=settings, inputs=inputs, seed=None)


def _notes(scores: _Scores, left_out: Sequence[str]) -> list[str]:
    """What a reader of the numbers must know."""
    resized = sum(one.was_resized for one in scores.facts)
    coarse = sum(one.is_coarse for one in scores.facts)
    notes = []
    if resized:
        notes.append(f"{resized} maps were stretched bilinearly to the size of their image")
    if coarse:
        notes.append(
            f"{coarse} maps have 8 bits, so at most 256 different scores: many tie, and AP, AUROC"
            " and PRO are those of the coarse scores"
        )
    if left_out:
        notes.append(f"{len(left_out)} images without a map were left out")
    if scores.metrics.image_auroc is None:
        notes.append("no good image, so no image AUROC")
    if scores.uncertainty is not None:
        off = scores.uncertainty
        notes.append(
            f"counted in steps: AP is off by at most {off.ap:.1g}, AUROC by {off.auroc:.1g},"
            f" PRO by {off.pro:.1g}"
        )
    return notes


def _summary(scores: _Scores, pro_limit: float, notes: Sequence[str]) -> str:
    metrics, facts = scores.metrics, scores.facts
    defective = sum(one.defective_px > 0 for one in facts)
    sizes = sorted({one.size for one in facts})
    shown = ", ".join(sizes) if len(sizes) <= NAMED_SIZES else f"{len(sizes)} different sizes"
    image_auroc = "-" if metrics.image_auroc is None else f"{metrics.image_auroc:.4f}"
    lines = [
        f"images       {len(facts)}: {len(facts) - defective} normal, {defective} defective",
        f"resolution   {shown} pixels",
        f"pixel AP     {metrics.ap:.4f}",
        f"pixel AUROC  {metrics.auroc:.4f}",
        f"pixel PRO    {metrics.pro:.4f}  (false positive rates up to {pro_limit:g})",
        f"image AUROC  {image_auroc}",
        *size_lines(_by_size(scores)),
        f"  (found: at most {FOUND_RATE:.1%} of normal pixels score as high)",
        f"evaluator    {_evaluator()}",
        *(f"note: {note}" for note in notes),
    ]
    return "\n".join(lines) + "\n"


def _image_table(scores: _Scores) -> str:
    rows = [
        {"image": facts.name, "width": facts.width, "height": facts.height, **asdict(result)}
        for facts, result in zip(scores.facts, scores.images, strict=True)
    ]
    return _table(rows, ["image", "width", "height", *ImageResult.__dataclass_fields__])


def _component_table(scores: _Scores) -> str:
    """The defects, those that were missed first."""
    rows = [
        {"image": facts.name, **asdict(component)}
        for facts, found in zip(scores.facts, scores.components, strict=True)
        for component in found
    ]
    rows.sort(key=lambda row: row["coverage"])
    return _table(rows, ["image", *ComponentResult.__dataclass_fields__])


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    text = StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
