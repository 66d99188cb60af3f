"""Clicks on one image decoded by what they change: `decode`'s answer at a part of its cost.

A click alters the tokens under its disk, and those where the mask given back has changed. Windows
of attention carry a change only to their own tokens, so block after block only the windows that
contain a changed token are computed; the others are kept from the answer before. Then the neck's
first convolutions, which do not overlap, are computed where tokens changed. What normalises over
the whole image, and all that follows, is computed anew. Where a click changes most tokens (a
probability is given back instead of a mask, or clicks are diffused) all is, as `decode` does it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from adclick.models.adclick import ADClick
from adclick.models.adclick_seg import ADClickSeg
from adclick.models.neck import resized_language
from adclick.models.trunk import SwinBlock

MOST_CHANGED = 0.5  # share of the tokens; beyond, little would be kept
TILE = 8  # tokens a side of the squares in which the neck's first convolutions are computed


@dataclass(frozen=True, eq=False)
class _Kept:
    """What the last answer was made of: the tokens before the first block, then after each, and
    the neck's first convolutions.
    """

    tokens: Float[Tensor, "height width dim"]
    blocks: list[Float[Tensor, "height width dim"]]
    levels: list[Float[Tensor, "1 _ _ _"]]


class ClickDecoder:
    """Answers to clicks on one image; each is computed from the changes since the last.

    Any order of calls gives the same answers, to rounding. Images whose tokens do not fill whole
    windows, and several texts at once, are decoded in whole.
    """

    def __init__(
        self,
        model: ADClick | ADClickSeg,
        tokens: Float[Tensor, "#batch channel height width"],
        maps: list[Float[Tensor, "#batch _ _ _"]],
    ) -> None:
        """Take an image as `embed` and `language_maps` give it; the model must be in
        evaluation mode.
        """
        self.model, self.tokens, self.maps = model, tokens, maps
        self._kept: _Kept | None = None
        self._base: Tensor | None = None
        self._injected: list[Tensor] | None = None

    @torch.no_grad()
    def decode(
        self, clicks: Float[Tensor, "1 click_map image_height image_width"]
    ) -> Float[Tensor, "batch 1 image_height image_width"]:
        """Logits at the clicks' resolution: `model.decode(tokens, clicks, maps)`."""
        if not self._is_divisible():
            return self.model.decode(self.tokens, clicks, self.maps)
        summed = (self._tokens() + self.model.click_stem(clicks))[0].permute(1, 2, 0)
        changed = self._changed(summed)
        if changed is None:
            return self.model.decode(self.tokens, clicks, self.maps)
        trunk, changed = self._trunk(summed, changed)
        if isinstance(self.model, ADClick):
            logits = self._pyramid_logits(self.model, trunk, changed)
        else:
            logits = self.model.logit(trunk.permute(2, 0, 1)[None])
            if self.model.shortcut is not None:
                logits = logits + self.tokens[:, trunk.shape[2] :]
        return functional.interpolate(
            logits, size=clicks.shape[-2:], mode="bilinear", align_corners=False
        )

    def _is_divisible(self) -> bool:
        height, width = self.tokens.shape[2:]
        sides = [TILE, *(side for block in _blocks(self.model) for side in block.window_size)]
        whole = all(height % side == 0 == width % side for side in sides)
        return whole and len(self.tokens) == 1 and all(len(level) == 1 for level in self.maps)

    def _tokens(self) -> Tensor:
        """What the clicks' tokens are added to."""
        if self._base is not None:
            return self._base
        base = self.tokens[:, : self.model.click_stem.projection.out_channels]
        if isinstance(self.model, ADClickSeg) and self.model.language_stem is not None:
            base = base + self.model.language_stem(self.maps, (base.shape[2], base.shape[3]))
        self._base = base
        return base

    def _changed(
        self, summed: Float[Tensor, "height width dim"]
    ) -> Bool[Tensor, "height width"] | None:
        """Which tokens are not those of the last answer; None where that is most of them, and
        nothing is kept then.
        """
        if self._kept is None:
            return torch.ones(summed.shape[:2], dtype=torch.bool, device=summed.device)
        changed = (summed != self._kept.tokens).any(dim=2)
        if float(changed.float().mean()) > MOST_CHANGED:
            self._kept = None
            return None
        return changed

    def _trunk(
        self, summed: Float[Tensor, "height width dim"], changed: Bool[Tensor, "height width"]
    ) -> tuple[Float[Tensor, "height width dim"], Bool[Tensor, "height width"]]:
        """The trunk's tokens, and which of them may not be those of the last answer."""
        kept, outputs, current = self._kept, [], summed
        for index, block in enumerate(_blocks(self.model)):
            before = None if kept is None else kept.blocks[index]
            current, changed = _block_again(block, current, before, changed)
            outputs.append(current)
        self._kept = _Kept(summed, outputs, [] if kept is None else kept.levels)
        return self.model.trunk.norm(current), changed

    def _pyramid_logits(
        self,
        model: ADClick,
        trunk: Float[Tensor, "height width dim"],
        changed: Bool[Tensor, "height width"],
    ) -> Float[Tensor, "batch 1 _ _"]:
        assert self._kept is not None
        old = self._kept.levels or [None] * len(model.neck.levels)
        firsts = [
            _level_again(level[0], trunk, before, changed)  # pyright: ignore[reportIndexIssue]
            for level, before in zip(model.neck.levels, old, strict=True)
        ]
        self._kept.levels[:] = firsts
        pyramid = [
            level[1:](first)  # pyright: ignore[reportIndexIssue]
            for level, first in zip(model.neck.levels, firsts, strict=True)
        ]
        return model.head(
            [level + said for level, said in zip(pyramid, self._said(pyramid), strict=True)]
        )

    def _said(self, pyramid: list[Tensor]) -> list[Tensor]:
        """What language adds to every level, which no click changes."""
        injection = self.model.injection if isinstance(self.model, ADClick) else None
        if injection is None:
            return [level.new_zeros(1) for level in pyramid]
        if self._injected is None:
            self._injected = [
                embed(resized_language(language, level))
                for embed, language, level in zip(injection.levels, self.maps, pyramid, strict=True)
            ]
        return self._injected


def _blocks(model: ADClick | ADClickSeg) -> list[SwinBlock]:
    return list(model.trunk.blocks)  # type: ignore[arg-type]


def _block_again(
    block: SwinBlock,
    tokens: Float[Tensor, "height width dim"],
    before: Float[Tensor, "height width dim"] | None,
    changed: Bool[Tensor, "height width"],
) -> tuple[Float[Tensor, "height width dim"], Bool[Tensor, "height width"]]:
    """A block's output where a window holds a changed token, elsewhere the one before; and where.

    Tokens are shifted before they are cut into windows, as the block does it.
    """
    if before is not None and not changed.any():
        return before, changed
    side, shift = block.window_size, block.shift_size
    shifted = torch.roll(tokens, (-shift[0], -shift[1]), (0, 1)) if any(shift) else tokens
    marks = torch.roll(changed, (-shift[0], -shift[1]), (0, 1)) if any(shift) else changed
    stale = _tiles(marks[:, :, None], side).flatten(2).any(dim=2)
    rows, columns = stale.nonzero(as_tuple=True)
    windows = _tiles(shifted, side)[rows, columns].flatten(1, 2)  # [window, token, dim]
    mask = block.get_attn_mask(shifted[None])
    if mask is not None:
        mask = mask.unflatten(0, stale.shape)[rows, columns]
    windows = windows + block.attn(block.norm1(windows), mask=mask)
    windows = windows + block.mlp(block.norm2(windows))
    if before is None:
        after = torch.empty_like(tokens)
    else:
        after = torch.roll(before, (-shift[0], -shift[1]), (0, 1)) if any(shift) else before.clone()
    _tiles(after, side)[rows, columns] = windows.unflatten(1, side)
    spread = stale.repeat_interleave(side[0], 0).repeat_interleave(side[1], 1)
    if any(shift):
        after, spread = torch.roll(after, shift, (0, 1)), torch.roll(spread, shift, (0, 1))
    return after, spread


def _level_again(
    convolution: nn.Module,
    tokens: Float[Tensor, "height width dim"],
    before: Float[Tensor, "1 _ _ _"] | None,
    changed: Bool[Tensor, "height width"],
) -> Float[Tensor, "1 _ _ _"]:
    """A convolution whose kernel is its stride, where tokens changed; elsewhere the one before."""
    side = (TILE, TILE)
    stale = _tiles(changed[:, :, None], side).flatten(2).any(dim=2)
    if before is None or bool(stale.all()):
        return convolution(tokens.permute(2, 0, 1)[None])
    rows, columns = stale.nonzero(as_tuple=True)
    if not len(rows):
        return before
    made = convolution(_tiles(tokens, side)[rows, columns].permute(0, 3, 1, 2))
    after = before.clone()
    size = (made.shape[2], made.shape[3])
    _tiles(after[0].permute(1, 2, 0), size)[rows, columns] = made.permute(0, 2, 3, 1)
    return after


def _tiles(
    values: Float[Tensor, "height width dim"] | Bool[Tensor, "height width dim"],
    side: tuple[int, int],
) -> Tensor:
    """A view of a map as [tile row, tile column, row, column, dim]."""
    cut = values.unflatten(0, (-1, side[0])).unflatten(2, (-1, side[1]))
    return cut.permute(0, 2, 1, 3, 4)
