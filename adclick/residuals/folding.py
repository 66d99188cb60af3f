"""Batch norms of a frozen network, folded into the convolutions before them to save time."""

import copy
from collections import Counter
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

TOLERANCE = 1e-5  # relative L2 distance of every map from the unfolded network's


def fold_batch_norms(network: Network, sample: Tensor) -> Network:
    """The network with every batch norm that takes a convolution's answer folded into it.

    The network, in evaluation mode, must answer `sample` with a list of maps. Which norm takes what
    is seen by running it on that; what is no plain `Conv2d` and `BatchNorm2d` stays. Where the maps
    then differ (a convolution's answer is used elsewhere too, say), nothing is folded.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return network
    with torch.no_grad():
        pairs, maps = _normalised_convolutions(network, sample)
        if not pairs:
            return network
        folded = copy.deepcopy(network)
        for convolution, norm in pairs:
            _fold(folded, convolution, norm)
        errors = [
            float((found - plane).norm() / plane.norm())
            for found, plane in zip(folded(sample), maps, strict=True)
        ]
    return folded if all(error <= TOLERANCE for error in errors) else network


def _normalised_convolutions(
    network: nn.Module, sample: Tensor
) -> tuple[list[tuple[str, str]], list[Tensor]]:
    """Names of convolutions and of the norms that take their answers, each used once; the maps."""
    answers: list[tuple[str, Tensor]] = []
    taken: list[tuple[str, Tensor]] = []

    def note_answer(name: str) -> Any:
        return lambda module, given, answer: answers.append((name, answer))

    def note_taken(name: str) -> Any:
        return lambda module, given: taken.append((name, given[0]))

    hooks = []
    for name, module in network.named_modules():
        if type(module) is nn.Conv2d:  # subclasses may make their weight anew at every call
            hooks.append(module.register_forward_hook(note_answer(name)))
        elif type(module) is nn.BatchNorm2d and module.affine and module.track_running_stats:
            hooks.append(module.register_forward_pre_hook(note_taken(name)))
    maps = network(sample)
    for hook in hooks:
        hook.remove()
    used = Counter(name for name, _ in [*answers, *taken])
    pairs = [
        (convolution, norm)
        for convolution, answer in answers
        for norm, given in taken
        if given is answer and used[convolution] == used[norm] == 1
    ]
    return pairs, maps


def _fold(network: nn.Module, convolution: str, norm: str) -> None:
    """Give a convolution the scale and shift of its batch norm, in float64, and drop the latter."""
    conv: Any = network.get_submodule(convolution)
    batch: Any = network.get_submodule(norm)
    scale = batch.weight.double() / (batch.running_var.double() + batch.eps).sqrt()
    bias = 0 if conv.bias is None else conv.bias.double()
    shift = batch.bias.double() + (bias - batch.running_mean.double()) * scale
    conv.weight.copy_(conv.weight.double() * scale[:, None, None, None])
    conv.bias = nn.Parameter(shift.to(conv.weight), requires_grad=False)
    parent, _, name = norm.rpartition(".")
    setattr(network.get_submodule(parent), name, nn.Identity())
