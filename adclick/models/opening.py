"""A trained network and one category's artifacts, opened for clicking or for detection."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adclick.clicks.robot import Predict
from adclick.language.words import Texts, read_texts, text_of
from adclick.models.refining import refined
from adclick.models.session import Session, open_image, trained_form, trained_precision
from adclick.models.zoom import Window, crop_inputs
from adclick.networks.inputs import ResidualForm
from adclick.networks.loading import load_model
from adclick.run.artifacts import open_arrays
from adclick.run.device import Precision
from adclick.run.settings.clicks import Edges, Zoom


@dataclass(frozen=True)
class Opened:
    """A network with everything that it needs of one category; rows are those of the manifest."""

    model: Any
    images: Any
    residuals: Any
    scale: np.ndarray
    texts: Texts
    form: ResidualForm
    radius_px: float
    device: torch.device
    precision: Precision

    def answers(
        self,
        row: int,
        types: Sequence[str],
        *,
        zoom: Zoom | None,
        edges: Edges | None,
        threshold: float,
    ) -> Predict:
        """The network's answers about the image of a row, refined."""
        return refined(
            self.session(row, types).predict,
            self.images[row],
            open_window=lambda window: self.session(row, types, window).predict,
            zoom=zoom,
            edges=edges,
            stride=self.images.shape[1] // self.residuals.shape[1],
            radius_px=self.radius_px,
            threshold=threshold,
        )

    def session(self, row: int, types: Sequence[str], window: Window | None = None) -> Session:
        """The image of a row, or a window of it, opened for clicks, with the average words of the
        given types.
        """
        residual, image = self.residuals[row], self.images[row]
        if window is not None:
            image, residual = crop_inputs(image, residual, window)
        texts = [text_of(self.texts, name) for name in types]
        return open_image(
            self.model,
            residual=residual,
            scale=self.scale,
            image=image,
            texts=np.stack([text.average for text in texts]),
            text_masks=np.stack([text.average_mask for text in texts]),
            form=self.form,
            radius_px=self.radius_px,
            device=self.device,
            precision=self.precision,
        )


@contextmanager
def open_network(
    weights: Path,
    *,
    images: Path,
    residuals: Path,
    language: Path | None,
    category: str,
    radius_px: float,
    device: torch.device,
) -> Iterator[Opened]:
    """A network and the artifacts of one category, open until the block ends."""
    model, metadata = load_model(weights)
    form = trained_form(metadata.extra["settings"])
    with ExitStack() as stack:
        pictures = stack.enter_context(open_arrays(images))
        signed = stack.enter_context(open_arrays(residuals))
        scale = np.asarray(signed["normal_mean_square"][:], np.float32)
        yield Opened(
            model,
            pictures["images"],
            signed["residuals"],
            scale,
            read_texts(language, category),
            form,
            radius_px,
            device,
            trained_precision(metadata.extra["settings"]),
        )
