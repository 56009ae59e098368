"""BLIP's vision tower with fused attention; transformers' own has no such path."""

from __future__ import annotations

import torch
from transformers import BlipVisionModel
from transformers.models.blip.modeling_blip import BlipEncoderLayer

from captioning.engine.attention import Attention, multiplies_bf16
from captioning.engine.int8 import int8
from captioning.engine.weights import LinearFactory
from captioning.student.stem import HybridPatches

#: Rows, that is patches, that a CPU takes at once: enough for full speed, and few enough to stay in its caches.
ROWS = 600


class VisionEncoder:
    """The vision tower of a model, which must stay on its device once this is made."""

    def __init__(self, tower: BlipVisionModel, make: LinearFactory, attend: Attention) -> None:
        self._embeddings = tower.embeddings
        patches = tower.embeddings.patch_embedding
        if make is int8 and isinstance(patches, HybridPatches) and multiplies_bf16():
            patches.stem.bfloat16()  # its convolutions, which have no 8-bit kernels here, are twice as fast so
        self._layers = [Layer(layer, make, attend) for layer in tower.encoder.layers]
        self._norm = tower.post_layernorm
        self._length = tower.embeddings.num_positions

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """States [B, patches + 1, width] of `pixels` [B, 3, S, S]: the tower's `last_hidden_state`."""
        if pixels.is_cuda:
            return self._encode(pixels)
        return torch.cat([self._encode(few) for few in pixels.split(chunk_size(self._length))])

    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self._embeddings(pixels)
        for layer in self._layers:
            states = layer(states)
        found: torch.Tensor = self._norm(states)
        return found


def chunk_size(length: int) -> int:
    """How many pictures of so many patches a CPU takes at once."""
    return max(1, ROWS // length)


class Layer:
    """One layer of the tower: states [B, patches + 1, width] to such states."""

    def __init__(self, layer: BlipEncoderLayer, make: LinearFactory, attend: Attention) -> None:
        self._attend = attend
        self._heads = layer.self_attn.num_heads
        self._norm_1, self._norm_2 = layer.layer_norm1, layer.layer_norm2
        self._qkv, self._projection = make(layer.self_attn.qkv), make(layer.self_attn.projection)
        self._up, self._activation, self._down = make(layer.mlp.fc1), layer.mlp.activation_fn, make(layer.mlp.fc2)

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        batch, length, width = states.shape
        mixed = self._qkv(self._norm_1(states)).view(batch, length, 3, self._heads, width // self._heads)
        attended = self._attend(*mixed.permute(2, 0, 3, 1, 4)).transpose(1, 2).reshape(batch, length, width)
        states = states + self._projection(attended)
        return states + self._down(self._activation(self._up(self._norm_2(states))))
