"""A trained network from its file; apart from saving, since no training needs both kinds."""

from collections.abc import Callable
from pathlib import Path

from adclick.networks.adclick import ADClick, build_adclick
from adclick.networks.adclick_seg import ADClickSeg, build_adclick_seg
from adclick.networks.checkpoints import ModelMetadata, load_weights_into, read_metadata, seeded
from adclick.networks.simpleclick import SimpleClick, build_simpleclick
from adclick.run.errors import InputError

ClickNetwork = ADClick | ADClickSeg | SimpleClick
# What takes clicks; else see `trained_detector`.
CLICKED: dict[str, Callable[..., ClickNetwork]] = {
    "adclick": build_adclick,
    "adclick_seg": build_adclick_seg,
    "simpleclick": build_simpleclick,
}


def load_model(path: Path, *, kind: str | None = None) -> tuple[ClickNetwork, ModelMetadata]:
    """The model of a file, on the CPU and in evaluation mode, with what the file says of itself.

    InputError when the file is missing, is not a model of ours, is of another kind than asked for,
    or when its weights do not fit its sizes.
    """
    metadata = read_metadata(path)
    if kind is not None and metadata.kind != kind:
        raise InputError(
            f"{path}: a model of kind {metadata.kind}, but {kind} is needed here; give another file"
        )
    if metadata.kind not in CLICKED:
        raise InputError(f"{path}: a detector that takes no clicks; give another variant")
    try:
        model = seeded(CLICKED[metadata.kind], 0, **metadata.sizes)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path}: sizes of no model of this version ({error}); train it again"
        ) from None
    load_weights_into(model, path)
    return model.eval(), metadata
