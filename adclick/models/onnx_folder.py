"""A detector as a folder for ONNX Runtime: picture in, map and score out, without torch."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8
from pydantic import ValidationError

from adclick.models.decisions import level_of
from adclick.models.description import DESCRIPTION, MapUse, read_description
from adclick.run.artifacts import new_folder, read_json, write_text
from adclick.run.errors import InputError
from adclick.run.settings.section import Section, validation_line

if TYPE_CHECKING:
    from adclick.models.whole import WholeDetector

GRAPH, EXAMPLE = "detector.onnx", "inspect_picture.py"
FORMAT = "adclick-onnx"
OPSET = 20
EXAMPLE_SHAPE = (300, 400, 3)  # of the picture that the graph is traced with; others fit as well
PARITY = 1e-3
SCRIPT = '''"""python inspect_picture.py PICTURE (needs numpy, onnxruntime and pillow)."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

folder = Path(__file__).parent
told = json.loads((folder / "model.json").read_text("utf-8"))
session = onnxruntime.InferenceSession(folder / "detector.onnx")
picture = Image.open(sys.argv[1])
grey = picture.mode.startswith("I")  # of 16 bits
if picture.mode == "F" or (";16" in str(picture.tile) and not grey):
    sys.exit("colours of 16 bits, or fractions: save the picture with 8 bits, or as grey")
picture = ImageOps.exif_transpose(picture)
if grey:  # of the camera's bits the upper 8
    white = 2 ** (told["bits"] or 16) - 1
    values = np.clip(np.asarray(picture).astype(np.int64), 0, white)
    picture = Image.fromarray(((values * 255 + white // 2) // white).astype(np.uint8))
anomaly_map, score = session.run(None, {"picture": np.asarray(picture.convert("RGB"))})
said = ": defective" if score > told["threshold"] else ": normal"
print(f"score {score:.3f}" + (said if told["decides"] else ""))
'''


class OnnxDescription(Section):
    """What `model.json` says beside a graph: a picture with a score above `threshold` is defective
    (if it `decides`, see `adclick.models.decisions`).
    """

    format: Literal["adclick-onnx"]
    version: Literal[1]
    title: str
    types: tuple[str, ...]
    made_from: dict[str, Any]
    identity: str
    size_px: int
    bits: int | None
    threshold: float
    decides: bool
    threshold_from: str
    detection: MapUse
    normal_images: int
    largest_difference: float


def export_onnx(model_folder: Path, output: Path, *, false_alarms: float | None = None) -> None:
    """Write the folder of a detector's model folder, whole or not at all.

    It has the graph `detector.onnx` (with its weights and the normal pictures' features beside it),
    `model.json`, which has the threshold, and a script that shows how to use them. Before it is
    there, the graph's maps of some normal pictures are compared with torch's: InputError when they
    differ by more than `PARITY`, when the model needs clicks, when `output` exists, when the
    packages for it are missing, or a share of false alarms is asked for and nothing was held out.
    """
    _require_packages("onnx", "onnxscript", "onnxruntime")
    if output.exists():
        raise InputError(f"{output} is there already: delete it, or give another name")
    described = read_description(model_folder)
    if described.detection is None:
        raise InputError(f"{described.title}: a click model needs clicks (adclick annotate)")
    if described.pictures.size is not None:
        raise InputError(
            f"{described.title}: sees pictures at {described.pictures.size.words}; one graph is for"
            " squares of the run's size alone: use adclick predict, which takes pictures as they"
            " are, or leave datasets.<name>.size out and train again"
        )
    level = level_of(described.detection, false_alarms=false_alarms)
    from adclick.models.folder import open_model
    from adclick.models.whole import whole_detector

    model = open_model(model_folder, device="cpu")
    with new_folder(output) as folder:
        write_graph(whole_detector(model), folder / GRAPH)
        difference = _largest_difference(folder / GRAPH, model)
        if difference > PARITY:
            raise InputError(
                f"{output}: its maps would differ from torch's by {difference:.2g}; not written"
            )
        content = OnnxDescription(
            format=FORMAT,
            version=1,
            title=described.title,
            types=described.types,
            made_from=described.made_from,
            identity=described.identity,
            size_px=described.size_px,
            bits=described.pictures.bits,
            threshold=level.value,
            decides=level.decides,
            threshold_from=level.line,
            detection=described.detection,
            normal_images=described.normal_images,
            largest_difference=float(f"{difference:.2g}"),
        )
        write_text(
            folder / DESCRIPTION, json.dumps(content.model_dump(mode="json"), indent=1) + "\n"
        )
        write_text(folder / EXAMPLE, SCRIPT)


def _require_packages(*names: str) -> None:
    import importlib.util

    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"{', '.join(missing)}: not installed; pip install 'adclick[onnx]'")


def write_graph(module: "WholeDetector", path: Path) -> None:
    """Write a module's graph, for pictures of any size."""
    import torch

    height, width = torch.export.Dim("height", min=8), torch.export.Dim("width", min=8)
    picture = torch.zeros(EXAMPLE_SHAPE, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of torch's exporter, about itself
        program = torch.onnx.export(
            module,
            (picture,),
            input_names=["picture"],
            output_names=["map", "score"],
            dynamic_shapes={"picture": {0: height, 1: width}},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(path, external_data=True)


def _largest_difference(graph: Path, model: Any) -> float:
    """Between the maps of torch and of the graph, over some normal pictures."""
    from adclick.models.folder import detect
    from adclick.residuals.maps import resize_map

    session = _session(graph)
    found = 0.0
    for row in (0, len(model.bank["images"]) // 2):
        picture = model.bank["images"][row][: -max(1, model.size_px // 9)]  # no square
        expected = resize_map(detect(model, picture), picture.shape[:2])
        given = session.run(None, {"picture": picture})[0]
        found = max(found, float(np.abs(expected - given).max()))
    return found


def _session(graph: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=_providers())


def _providers() -> list[str]:
    import onnxruntime

    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    return [name for name in wanted if name in onnxruntime.get_available_providers()]


def is_onnx_folder(folder: Path) -> bool:
    """Whether a folder is one that `export_onnx` wrote."""
    return (folder / GRAPH).is_file()


def read_onnx_description(folder: Path) -> OnnxDescription:
    """What its `model.json` says; InputError when it is damaged or of another version."""
    try:
        return OnnxDescription.model_validate(read_json(folder / DESCRIPTION))
    except ValidationError as error:
        raise InputError(validation_line(str(folder / DESCRIPTION), error)) from None


@contextmanager
def open_onnx(folder: Path) -> Iterator[Any]:
    """A function from a picture to its map at its own size. InputError when ONNX Runtime is not
    installed, or the graph is damaged.
    """
    _require_packages("onnxruntime")
    try:
        session = _session(folder / GRAPH)
    except Exception as error:  # of ONNX Runtime, which has no common kind
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{folder / GRAPH}: cannot be opened ({reason})") from None

    def map_of(
        picture: UInt8[np.ndarray, "height width 3"],
    ) -> Float32[np.ndarray, "height width"]:
        return session.run(None, {"picture": np.ascontiguousarray(picture)})[0]

    yield map_of
