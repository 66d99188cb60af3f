"""One HTML file that says what a detector does: numbers, scores and pictures, nothing beside it."""

import base64
import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from adclick.data.images import read_image
from adclick.metrics.false_alarms import false_alarms
from adclick.project.writing import Project
from adclick.run.artifacts import write_text
from adclick.run.errors import InputError
from adclick.studio.inspecting import LEVELS, Inspection

PICTURE_PX = 320
SHOWN = 8  # pictures of each kind
MARK, HEAT = (255, 59, 154), cv2.COLORMAP_INFERNO
STYLE = Path(__file__).parent / "static/report.css"


def write_report(inspection: Inspection, output: Path) -> None:
    """Write the report of what was inspected. InputError while pictures are being looked at."""
    state = inspection.state()
    if state["waiting"]:
        raise InputError("some photographs are still looked at: Inspect shows how many")
    level = state["threshold"]
    parts = [
        _numbers(inspection.project, state, level),
        histogram(state["pictures"], level),
        *_galleries(inspection, state["pictures"], level),
    ]
    title, style = escape(inspection.project.name), STYLE.read_text(encoding="utf-8")
    write_text(
        output,
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}: detector</title><style>{style}</style></head><body><main>"
        f"<h1>{title}</h1><p class=dim>{escape(state['model'])} · {time.strftime('%Y-%m-%d')}</p>"
        + "\n".join(parts)
        + "</main></body></html>\n",
    )


def _numbers(project: Project, state: Mapping[str, Any], level: float) -> str:
    rows = state["pictures"]
    normal = [row["score"] for row in _of(rows, "normal") if row["score"] is not None]
    defective = [row for row in _of(rows, "defective") if row["score"] is not None]
    untrained = [row for row in defective if not row["trained"]]
    labelled = [row for row in defective if row["labelled"]]
    peaks = [peak for row in labelled for peak in row["labelled"]]
    said = "a photograph whose score is above it is defective" if state["decides"] else ""
    lines = [("Threshold", f"<b>{level:.3f}</b>", said)]
    tests = [row["score"] for row in _of(rows, "test") if row["score"] is not None]
    for scores, what in ((normal, "that were held out"), (tests, "that are for tests alone")):
        if scores:
            count, share = false_alarms(scores, level)
            text = f"{count} of {len(scores)} normal photographs {what}"
            lines.append(("False alarms", f"<b>{100 * share:.1f} %</b>", text))
    if not (normal or tests):
        lines.append(("False alarms", "not known", "no normal photograph was held out"))
    if untrained:
        found = sum(row["score"] > level for row in untrained)
        text = f"of {len(untrained)} defective photographs that it was not trained on"
        lines.append(("Found", f"<b>{found}</b>", text))
    if peaks:
        lost = sum(peak <= level for peak in peaks)
        text = f"of {len(peaks)} labelled defects"
        if any(row["trained"] for row in labelled):
            which = "them" if all(row["trained"] for row in labelled) else "some of them"
            text += f"; it learnt from {which}, new ones are harder"
        lines.append(("Missed", f"<b>{lost}</b>", text))
    lines.append(("Advice", "", escape(state["advice"] or "")))
    lines.append(("Seen at", state["seen_at"], f"{len(rows)} photographs here"))
    lines.append(("Project", "", escape(str(project.folder))))
    cells = "".join(
        f"<tr><th>{name}</th><td>{value}</td><td>{text}</td></tr>" for name, value, text in lines
    )
    return f"<h2>Numbers</h2><table>{cells}</table>"


def _of(rows: Iterable[Mapping[str, Any]], group: str) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["group"] == group]


def _normal(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["group"] in ("normal", "test")]


def histogram(rows: Sequence[Mapping[str, Any]], level: float) -> str:
    """Scores of normal photographs (downwards) and defective ones (upwards), and the threshold."""
    bins, bars = 60, []
    end = min(1.0, max([1.5 * level, 1e-6, *(1.2 * (row["score"] or 0) for row in rows)]))
    groups = {"defective": _of(rows, "defective"), "normal": _normal(rows)}
    counts = {
        group: np.histogram(
            [row["score"] for row in found if row["score"] is not None], bins, (0, end)
        )[0]
        for group, found in groups.items()
    }
    highest = max(1, *(int(one.max()) for one in counts.values()))
    for group, values in counts.items():
        for place, count in enumerate(values.tolist()):
            height = 56 * count / highest
            top = 60 - height if group == "defective" else 60
            bars.append(
                f'<rect class="{group}" x="{10 * place}" width="9" y="{top:.1f}"'
                f' height="{height:.1f}"/>'
            )
    line = f'<line x1="{600 * level / end:.1f}" x2="{600 * level / end:.1f}" y1="0" y2="120"/>'
    return (
        '<h2>Scores</h2><p class="key"><i class="defective"></i>defective (up)'
        '<i class="normal"></i>held-out normal (down); the line is the threshold</p>'
        '<svg viewBox="0 0 600 120" preserveAspectRatio="none" role="img"'
        f' aria-label="Scores from 0 to {end:.3g}">{"".join(bars)}{line}</svg>'
    )


def _galleries(
    inspection: Inspection, rows: Sequence[Mapping[str, Any]], level: float
) -> Iterable[str]:
    kinds = {
        "New photographs": _of(rows, "new"),
        "Defective, not trained on": [row for row in _of(rows, "defective") if not row["trained"]],
        "Defective, trained on their labels": [
            row for row in _of(rows, "defective") if row["trained"]
        ],
        "Held-out normal ones, the highest scores": _normal(rows),
    }
    for title, found in kinds.items():
        scored = [row for row in found if row["score"] is not None]
        scored.sort(key=lambda row: -row["score"])
        if scored:
            shown = "".join(_figure(inspection, row, level) for row in scored[:SHOWN])
            more = f" ({SHOWN} of {len(scored)})" if len(scored) > SHOWN else ""
            yield f'<h2>{title}{more}</h2><div class="pictures">{shown}</div>'


def _figure(inspection: Inspection, row: Mapping[str, Any], level: float) -> str:
    steps = inspection.map_file(row["key"])
    assert steps is not None
    path, bits = inspection.pictures[row["key"]].path, inspection.description.pictures.bits
    picture = read_image(path, bits=bits, clipped=True)
    picture = overlaid(picture, steps.astype(np.float32) / LEVELS, level)
    _, content = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    verdict = "" if not inspection.level.decides else ": normal"
    verdict = ": defective" if verdict and row["score"] > level else verdict
    name = escape(row["name"])
    encoded = base64.b64encode(content.tobytes()).decode()
    return (
        f'<figure><img src="data:image/jpeg;base64,{encoded}" alt="{name} with its map">'
        f"<figcaption>{name}<br><span class=dim>{row['score']:.3f}{verdict}</span></figcaption>"
        "</figure>"
    )


def overlaid(
    image: UInt8[np.ndarray, "height width 3"], scores: Float[np.ndarray, "side side"], level: float
) -> UInt8[np.ndarray, "small_height small_width 3"]:
    """A picture, small, with the map over it as colours that fade where it is low, and a line
    where it crosses the level.
    """
    height, width = image.shape[:2]
    factor = PICTURE_PX / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    wide = cv2.resize(scores.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    share = np.clip(0.5 * wide / max(level, 1e-6), 0, 1)  # the level is in the middle of colours
    grey = np.rint(255 * share).astype(np.uint8)
    heat = cv2.cvtColor(cv2.applyColorMap(grey, HEAT), cv2.COLOR_BGR2RGB).astype(np.float32)
    weight = (0.6 * share)[..., None]
    mixed = np.ascontiguousarray(np.rint((1 - weight) * small + weight * heat).astype(np.uint8))
    edges, _ = cv2.findContours(
        (wide > level).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    return cv2.drawContours(mixed, edges, -1, MARK, 2)
