"""A trained network and one category's artifacts, opened for clicking or for detection."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from adclick.clicks.levels import shown_lengths
from adclick.clicks.robot import Predict
from adclick.data.geometry import Shape, cells_in, contents_of, cropped
from adclick.language.words import Texts, read_texts, text_of
from adclick.models.refining import Choose, choice_of, refined
from adclick.models.session import (
    Session,
    open_image,
    trained_fitted,
    trained_form,
    trained_precision,
)
from adclick.models.sliding import zero_click_map
from adclick.models.windows import answer_in_parts, opened_once
from adclick.models.zoom import crop_inputs
from adclick.networks.inputs import ResidualForm
from adclick.networks.loading import ClickNetwork, load_model
from adclick.networks.parts import Part, map_in_parts, parts_of, window_of
from adclick.run.artifacts import open_arrays
from adclick.run.device import Precision
from adclick.run.settings.clicks import Edges, Zoom
from adclick.run.settings.networks import Sliding
from adclick.run.stored import StoredRows, lazily


@dataclass(frozen=True)
class Opened:
    """A network with everything that it needs of one category; rows are those of the manifest."""

    model: Any
    images: Any
    contents: Sequence[Shape]
    residuals: Any
    scale: np.ndarray
    texts: Texts
    form: ResidualForm
    window: int
    radius_px: float
    device: torch.device
    precision: Precision
    fitted: bool

    @property
    def stride(self) -> int:
        """Pixels a patch."""
        return self.images.shape[1] // self.residuals.shape[1]

    def answers(
        self,
        row: int,
        types: Sequence[str],
        *,
        zoom: Zoom | None,
        edges: Edges | None,
        threshold: float,
        choose: Callable[[Part], Choose] | None = None,
    ) -> Predict:
        """The network's answers about the image of a row, refined, in windows where it is larger
        than the network's.

        `choose` says for each part which of its answers counts and at which level it is cut, in
        place of the network's own estimate, if it has one.
        """
        own_choice = choice_of(self.model)

        def open_part(part: Part) -> Predict:
            image, residual = self.inputs(row, part)
            return refined(
                self.session(image, residual, types).predict,
                image,
                open_window=lambda window: (
                    self.session(*crop_inputs(image, residual, window), types).predict
                ),
                zoom=zoom,
                edges=edges,
                choose=own_choice if choose is None else choose(part),
                lengths=lambda: shown_lengths(residual, self.scale, image.shape[:2]),
                stride=self.stride,
                radius_px=self.radius_px,
                threshold=threshold,
            )

        return answer_in_parts(
            opened_once(open_part),
            content=self.contents[row],
            window=self.window,
            stride=self.stride,
        )

    def map_without_clicks(
        self, row: int, types: Sequence[str], sliding: Sliding | None
    ) -> Float32[np.ndarray, "height width"]:
        """The probability of a defect at every pixel of the image of a row, without clicks."""
        grid = cells_in(self.contents[row], self.stride)
        parts = parts_of(grid, self.window)
        found = (
            zero_click_map(
                self.session(*self.inputs(row, part), types), sliding=sliding, stride=self.stride
            )
            for part in parts
        )
        whole = map_in_parts(zip(parts, found, strict=True), grid, self.stride)
        return cropped(whole, self.contents[row])

    def inputs(self, row: int, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """The picture and the residual in a part of the image of a row."""
        down, across = part.pixels(self.stride)
        rows, columns = part.cells()
        image, residual = lazily(self.images, row), lazily(self.residuals, row)
        return image[down, across], residual[rows, columns]

    def session(self, image: np.ndarray, residual: np.ndarray, types: Sequence[str]) -> Session:
        """A picture opened for clicks, with the average words of the given types."""
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
            fitted=self.fitted,
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
    with open_trained(
        model,
        metadata.extra["settings"],
        images=images,
        residuals=residuals,
        scales=residuals,
        language=language,
        category=category,
        radius_px=radius_px,
        device=device,
    ) as opened:
        yield opened


@contextmanager
def open_trained(
    model: ClickNetwork,
    settings: Mapping[str, Any],
    *,
    images: Path,
    residuals: Path,
    scales: Path,
    language: Path | None,
    category: str,
    radius_px: float,
    device: torch.device,
) -> Iterator[Opened]:
    """A network that was trained with `settings` and the artifacts of one category, open until the
    block ends; `scales` are the residuals that have the mean square of normal ones.
    """
    with ExitStack() as stack:
        pictures = stack.enter_context(open_arrays(images))
        signed = stack.enter_context(open_arrays(residuals))
        normal = stack.enter_context(open_arrays(scales))
        yield Opened(
            model,
            StoredRows(pictures["images"]),
            contents_of(pictures, "images"),
            StoredRows(signed["residuals"]),
            np.asarray(normal["normal_mean_square"][:], np.float32),
            read_texts(language, category),
            trained_form(settings),
            window_of(settings),
            radius_px,
            device,
            trained_precision(settings),
            trained_fitted(settings),
        )
