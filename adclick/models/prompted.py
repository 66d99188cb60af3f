"""A picture opened with a network that answers points, and its own last mask: SAM, SAM 2."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn import functional

from adclick.clicks.click import Click
from adclick.language.pretrained import read_pretrained


@cache
def load_prompted(model: Any, processor: Any, weights: str, device: torch.device) -> Any:
    """The network and what prepares its pictures, once a process, from a folder or from what was
    downloaded of a model of the hub; InputError where it is not whole.
    """
    name = model.__name__.removesuffix("Model")
    network, prepare = read_pretrained(
        f"{name} {weights}", Path(weights), model=model, processor=processor, called=name
    )
    return network.to(device), prepare


@torch.no_grad()
def open_prompted(
    image: UInt8[np.ndarray, "height width 3"], network: Any, prepare: Any, *, device: torch.device
) -> Callable[[Sequence[Click], object], Float32[np.ndarray, "height width"]]:
    """A function of clicks, the last of which is new, to the probability of the clicked object.

    The picture is embedded once. A first click has three answers, of which the network's own
    estimate of the IoU takes the best; to more clicks it gives one, and reads its low-resolution
    mask of the clicks before, where it has answered them (what the user saw of it is not read).
    Without a click: 0 everywhere.

    Source: the interactive protocol of Kirillov et al. (arXiv 2304.02643), of SAM 2 as well (arXiv
    2408.00714).
    """
    inputs = prepare(images=image, return_tensors="pt")
    pixels = inputs["pixel_values"].to(device)
    embedded = network.get_image_embeddings(pixels)
    # The part of the network's square that the picture fills; SAM pads it below and to the right.
    filled = inputs.get("reshaped_input_sizes", torch.tensor([pixels.shape[-2:]]))[0].tolist()
    logits_after: dict[tuple[Click, ...], Tensor] = {}

    @torch.no_grad()
    def predict(clicks: Sequence[Click], previous: object = None) -> np.ndarray:
        if not clicks:
            return np.zeros(image.shape[:2], np.float32)
        points, labels = _prompts(clicks, image.shape[:2], filled)
        answer = network(
            image_embeddings=embedded,
            input_points=points.to(device),
            input_labels=labels.to(device),
            input_masks=logits_after.get(tuple(clicks[:-1])),
            multimask_output=len(clicks) == 1,
        )
        best = int(answer.iou_scores[0, 0].argmax())
        logits = answer.pred_masks[:, 0, best : best + 1]
        logits_after[tuple(clicks)] = logits
        whole = _resized(logits, pixels.shape[-2:])[..., : filled[0], : filled[1]]
        return torch.sigmoid(_resized(whole, image.shape[:2]))[0, 0].cpu().numpy()

    return predict


def _prompts(
    clicks: Sequence[Click], shape: Sequence[int], filled: Sequence[int]
) -> tuple[Float[Tensor, "1 1 click 2"], Tensor]:
    """The centres of the clicked pixels (x, y) in pixels of the network, which adds the half pixel
    of its own, and 1 for positive clicks, 0 for negative ones [1 1 click].
    """
    down, across = (length / own for length, own in zip(filled, shape, strict=True))
    places = [[(one.column + 0.5) * across - 0.5, (one.row + 0.5) * down - 0.5] for one in clicks]
    return torch.tensor([[places]]), torch.tensor([[[int(one.positive) for one in clicks]]])


def _resized(
    logits: Float[Tensor, "1 1 _ _"], shape: Sequence[int]
) -> Float[Tensor, "1 1 height width"]:
    return functional.interpolate(logits, size=tuple(shape), mode="bilinear", align_corners=False)
