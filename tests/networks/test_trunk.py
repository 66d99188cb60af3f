import pytest
import torch
from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock
from torch import Tensor

from adclick.networks.checkpoints import seeded
from adclick.networks.trunk import ResidualTrunk, SwinBlock, rising_rates, swin_blocks

TINY = {"residual_channels": 6, "dim": 16, "depth": 2, "heads": 2, "window": 4, "grid": 8}


def _tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _trunk(drop_path: float = 0.0) -> ResidualTrunk:
    return seeded(ResidualTrunk, 0, **TINY, drop_path=drop_path)


def _region(shifted: int, size: int, window: int, shift: int) -> tuple[int, int]:
    """Window along one axis, and which side of the wrap a shifted coordinate came from."""
    return shifted // window, 0 if shifted < size - shift else 1


def _slow_shifted_attention(block: SwinBlock, features: Tensor) -> Tensor:
    """Window attention of one head as loops over padded positions; [height width channel]."""
    window, shift = block.window_size[0], block.shift_size[0]
    height, width, dim = features.shape
    tall, wide = -(-height // window) * window, -(-width // window) * window
    padded = torch.zeros(tall, wide, dim)
    padded[:height, :width] = features
    query, key, value = block.attn.qkv(padded).chunk(3, dim=-1)
    output = torch.zeros_like(padded)
    for row in range(tall):
        for column in range(wide):
            here = ((row - shift) % tall, (column - shift) % wide)
            logits, values = [], []
            for other_row in range(tall):
                for other_column in range(wide):
                    there = ((other_row - shift) % tall, (other_column - shift) % wide)
                    sizes = (tall, wide)
                    if any(
                        _region(a, s, window, shift) != _region(b, s, window, shift)
                        for a, b, s in zip(here, there, sizes, strict=True)
                    ):
                        continue
                    down = here[0] - there[0] + window - 1
                    right = here[1] - there[1] + window - 1
                    bias = block.attn.relative_position_bias_table[down * (2 * window - 1) + right]
                    dot = query[row, column] @ key[other_row, other_column]
                    logits.append(dot * dim**-0.5 + bias[0])
                    values.append(value[other_row, other_column])
            weights = torch.stack(logits).softmax(0)
            output[row, column] = weights @ torch.stack(values)
    return block.attn.proj(output)[:height, :width]


def _block(cls: type[SwinTransformerBlock], size: int, shift: int) -> SwinTransformerBlock:
    block = seeded(
        cls, 3, dim=4, input_resolution=(size, size), num_heads=1, window_size=4, shift_size=shift
    )
    with torch.no_grad():
        block.attn.relative_position_bias_table.normal_(generator=torch.Generator().manual_seed(4))
    return block


@pytest.mark.parametrize("shift", [0, 2])
@torch.no_grad()
def test_block_equals_loops_where_the_map_is_no_multiple_of_the_window(shift: int) -> None:
    block = _block(SwinBlock, 6, shift)
    features = _tokens(1, 6, 5, 4)
    slow = _slow_shifted_attention(block, features[0])  # pyright: ignore[reportArgumentType]
    assert torch.allclose(block._attn(features)[0], slow, atol=1e-5)


@torch.no_grad()
def test_block_equals_timm_where_the_map_is_a_multiple_and_only_there() -> None:
    for size, equal in ((8, True), (5, False)):
        features = _tokens(1, size, size, 4)
        ours, theirs = (_block(cls, size, 2)(features) for cls in (SwinBlock, SwinTransformerBlock))
        assert torch.allclose(ours, theirs, atol=1e-6) == equal


@torch.no_grad()
def test_trunk_equals_a_one_stage_timm_swin_of_equal_weights() -> None:
    trunk = _trunk().eval()
    swin = SwinTransformer(
        img_size=8, patch_size=1, in_chans=6, embed_dim=16, depths=(2,), num_heads=(2,),
        window_size=4, num_classes=0,
    ).eval()  # fmt: skip
    names = {"patch_embed": "patch_embed.proj", "patch_norm": "patch_embed.norm"}
    names |= {"blocks": "layers.0.blocks", "norm": "norm"}
    state = {}
    for name, value in trunk.state_dict().items():
        first, rest = name.split(".", 1)
        state[f"{names[first]}.{rest}"] = value
    swin.load_state_dict(state)
    residual = _tokens(2, 6, 8, 8)
    expected = swin.forward_features(residual).permute(0, 3, 1, 2)
    assert torch.allclose(trunk(trunk.embed(residual)), expected, atol=1e-5)


def test_blocks_shift_in_turn_and_the_window_clamps_to_the_grid() -> None:
    make = {"dim": 8, "heads": 2, "drop_path": [0.0] * 3}
    shifts = [block.shift_size for block in swin_blocks(grid=8, window=4, **make)]
    assert shifts == [(0, 0), (2, 2), (0, 0)]
    clamped = swin_blocks(grid=4, window=8, **make)
    assert {(block.window_size, block.shift_size) for block in clamped} == {((4, 4), (0, 0))}


def test_embedded_tokens_are_layer_normalised() -> None:
    tokens = _trunk().embed(_tokens(1, 6, 8, 8))
    assert tokens.shape == (1, 16, 8, 8)
    assert tokens.mean(dim=1).abs().max() < 1e-5
    assert torch.allclose(tokens.var(dim=1, unbiased=False), torch.ones(1, 8, 8), atol=1e-2)


@torch.no_grad()
def test_part_of_a_map_passes_and_equals_a_trunk_built_for_that_grid() -> None:
    large = _trunk().eval()
    small = seeded(ResidualTrunk, 1, **(TINY | {"grid": 16}), drop_path=0.0).eval()
    small.load_state_dict(large.state_dict())
    tokens = _tokens(1, 16, 12, 12)
    assert torch.allclose(large(tokens), small(tokens), atol=1e-6)


@torch.no_grad()
def test_a_token_reaches_beyond_its_window_only_through_the_shift() -> None:
    trunk = _trunk().eval()
    tokens = _tokens(1, 16, 8, 8)
    moved = tokens.clone()
    moved[0, :, 0, 0] = 5 * _tokens(16, seed=1)
    changed = (trunk(moved) - trunk(tokens)).abs().sum(dim=1)[0] > 0
    assert changed[:4, :4].all()
    assert changed[5, 5]
    assert not changed[7, 7]


def test_drop_path_rates_rise_evenly_to_the_last() -> None:
    assert rising_rates(0.3, 4) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert rising_rates(0.3, 1) == [0.0]


def test_drop_path_acts_in_training_only() -> None:
    trunk = _trunk(drop_path=0.5)
    tokens = _tokens(4, 16, 8, 8)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        assert not torch.equal(trunk.train()(tokens), trunk(tokens))
        assert torch.equal(trunk.eval()(tokens), trunk(tokens))


def test_heads_that_do_not_divide_dim_are_refused() -> None:
    with pytest.raises(ValueError, match="not a multiple of heads"):
        swin_blocks(dim=10, grid=8, heads=4, window=4, drop_path=[0.0])
