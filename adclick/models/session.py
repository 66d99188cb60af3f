"""One image opened for clicking: what no click changes is computed once, so a click is cheap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from adclick.clicks.click import Click
from adclick.clicks.disks import Fitting, fitting
from adclick.clicks.spreading import PictureGraph, picture_graph
from adclick.networks.inputs import ResidualForm, click_maps, network_input
from adclick.networks.loading import ClickNetwork
from adclick.networks.vision_language import normalise_image
from adclick.run.device import Precision, reduced


@dataclass(frozen=True)
class Session:
    """An opened image: residual tokens, language-vision maps and, where the model diffuses clicks,
    the picture's graph, computed once, wait for clicks. See `start_session`.
    """

    model: ClickNetwork
    tokens: Tensor
    maps: list[Tensor]
    graph: PictureGraph | None
    shape: tuple[int, int]
    radius_px: float
    precision: Precision = "float32"
    fit: Fitting | None = None

    @torch.no_grad()
    def predict(
        self, clicks: Sequence[Click], previous: Float[np.ndarray, "height width"] | None = None
    ) -> Float[np.ndarray, "height width"]:
        """The probability of a defect at every pixel, in [0, 1], after all `clicks`.

        `previous` is the last probability map (M_{t-1} of Eq. 1), or any mask to start from; None =
        empty. Clicks are in pixels of the network's input.
        """
        given = click_maps(
            clicks,
            previous,
            shape=self.shape,
            radius_px=self.radius_px,
            graph=self.graph,
            fit=self.fit,
        )
        batch = torch.from_numpy(given[None]).to(self.tokens.device)
        with reduced(batch.device, self.precision):
            logits = self.model.decode(self.tokens, batch, self.maps)
        return torch.sigmoid(logits[:, 0].float()).amax(0).cpu().numpy()


def trained_precision(settings: Mapping[str, Any]) -> Precision:
    """The precision that a network was trained in, and so answers in."""
    return settings.get("precision", "float32")


def trained_form(settings: Mapping[str, Any]) -> ResidualForm:
    """The form of residual that a network was trained on, from the settings in its file."""
    return ResidualForm(**settings["residual_input"])


def trained_fitted(settings: Mapping[str, Any]) -> bool:
    """Whether a network was trained on disks as wide as what was clicked."""
    return settings["training"].get("disks") == "fitted"


@torch.no_grad()
def open_image(
    model: ClickNetwork,
    *,
    residual: Float[np.ndarray, "row column channel"],
    scale: Float[np.ndarray, " channel"],
    image: UInt8[np.ndarray, "height width 3"],
    texts: Float[np.ndarray, "type text_channel token"],
    text_masks: Float[np.ndarray, "type token"],
    form: ResidualForm,
    radius_px: float,
    device: torch.device,
    precision: Precision = "float32",
    fitted: bool = False,
) -> Session:
    """A session on one image at the network's size.

    `residual` is signed, `scale` the mean square residual of the category's normal images. With
    several texts the answer is the maximum over them (Eq. 7), which is how a defect of unknown type
    is treated; one text is the usual case of a known type.
    """
    model.to(device).eval()
    inputs = network_input(residual[None], scale[None], form, device)
    pictures = normalise_image(torch.from_numpy(image[None]).to(device))
    words = [torch.from_numpy(given).to(device) for given in (texts, text_masks)]
    with reduced(device, precision):
        tokens = model.embed(inputs, pictures)
        maps = model.language_maps(pictures, *words)
    return start_session(
        model,
        tokens,
        maps,
        image=image,
        radius_px=radius_px,
        precision=precision,
        fitted=fitted,
    )


def start_session(
    model: ClickNetwork,
    tokens: Float[Tensor, "1 channel row column"],
    maps: list[Float[Tensor, "batch _ _ _"]],
    *,
    image: UInt8[np.ndarray, "height width 3"],
    radius_px: float,
    precision: Precision = "float32",
    fitted: bool = False,
) -> Session:
    """A session on what `open_image` has computed of an image."""
    cells = model.click_cells
    graph = None if cells is None else picture_graph(image, cells=cells)
    shape = (image.shape[0], image.shape[1])
    fit = fitting(image) if fitted else None
    return Session(model, tokens, maps, graph, shape, radius_px, precision, fit)
