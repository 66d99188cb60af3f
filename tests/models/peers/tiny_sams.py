"""SAM and SAM 2 with random weights, small enough for tests, in folders as the library writes."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    Sam2Config,
    Sam2ImageProcessor,
    Sam2Model,
    Sam2Processor,
    SamConfig,
    SamImageProcessor,
    SamModel,
    SamProcessor,
)

SIDE, PATCH = 64, 16  # the network's square; low-resolution masks have a quarter of its side
DECODER = {
    "hidden_size": 32,
    "mlp_dim": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "iou_head_hidden_dim": 16,
}
PROMPTS = {"hidden_size": 32, "image_size": SIDE, "patch_size": PATCH}


def save_sam(folder: Path) -> None:
    vision = {
        "hidden_size": 16,
        "output_channels": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": PATCH,
        "window_size": 2,
        "global_attn_indexes": [0],
        "num_pos_feats": 16,
        "initializer_range": 0.02,
    }
    config = SamConfig(
        vision_config=vision,
        prompt_encoder_config=PROMPTS,
        mask_decoder_config=DECODER,
    )
    shown = {"size": {"longest_edge": SIDE}, "pad_size": {"height": SIDE, "width": SIDE}}
    processor = SamProcessor(SamImageProcessor(**shown))
    _save(lambda: SamModel(config), processor, folder)


def save_sam2(folder: Path) -> None:
    backbone = {
        "hidden_size": 8,
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 1, 1],
        "window_size_per_stage": [4, 4, 4, 4],
        "global_attention_blocks": [3],
        "model_type": "sam2_hiera_det_model",
    }
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 32,
        "model_type": "sam2_vision_model",
    }
    config = Sam2Config(
        vision_config=vision,
        prompt_encoder_config=PROMPTS,
        mask_decoder_config=DECODER,
    )
    processor = Sam2Processor(Sam2ImageProcessor(size={"height": SIDE, "width": SIDE}))
    _save(lambda: Sam2Model(config), processor, folder)


def _save(build: Any, processor: Any, folder: Path) -> None:
    """Weights are drawn much larger than the library does, so that clicks and masks are seen."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = build()
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.2 * torch.randn(weight.shape))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
