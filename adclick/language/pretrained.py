"""A model of the transformers library from a folder: whole, or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from adclick.run.errors import InputError


def read_pretrained(
    where: str, folder: Path, *, model: Any, processor: Any, called: str, **settings: Any
) -> tuple[Any, Any]:
    """The model and what prepares its inputs, instances of these classes, on the CPU in float32.

    `settings` go to the model. The library would fill gaps with random weights and go on: here a
    folder that cannot be read, or that lacks a weight or has one of another shape, is an
    InputError, which begins with `where` and asks whether it is a `called`.
    """
    try:
        with _quiet():
            prepare = processor.from_pretrained(folder, local_files_only=True)
            network, report = model.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                **settings,
            )
    except Exception as error:  # damaged JSON, safetensors or tokenizers: each library has its own
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{where} cannot be read ({reason}): save the model again") from error
    absent = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    if absent:
        raise InputError(
            f"{where}: {len(absent)} weights are missing or have another shape ({absent[0]}, ...):"
            f" is it a {called}, saved whole?"
        )
    return network.eval().requires_grad_(False), prepare


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and only errors in the log, as long as it lasts."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
