"""BLIP's vision tower with fused attention; transformers' own has no such path."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from transformers import BlipVisionModel


def encode(tower: BlipVisionModel, pixels: torch.Tensor) -> torch.Tensor:
    """States [B, patches + 1, width] of `pixels` [B, 3, S, S]: the tower's `last_hidden_state`."""
    heads = tower.config.num_attention_heads
    states: torch.Tensor = tower.embeddings(pixels)
    batch, length, width = states.shape
    for layer in tower.encoder.layers:
        mixed = layer.self_attn.qkv(layer.layer_norm1(states)).view(batch, length, 3, heads, width // heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, length, width)
        states = states + layer.self_attn.projection(attended)
        states = states + layer.mlp(layer.layer_norm2(states))
    found: torch.Tensor = tower.post_layernorm(states)
    return found
