"""BLIP's vision encoder with fused attention: stem, transformer blocks, final layer norm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import BlipVisionModel
from transformers.models.blip.modeling_blip import BlipEncoderLayer, BlipVisionEmbeddings

from captioning.engine.attention import Attention, cpu_has_bf16
from captioning.engine.int8 import int8_linear
from captioning.engine.weights import LinearFactory
from captioning.student.stem import HybridPatches

#: Patches that a CPU encodes at a time: enough for full speed, few enough for the products to stay in its caches.
CHUNK_PATCHES = 600


class VisionEncoder:
    """Images to patch states.

    `stem` turns pixels [B, 3, S, S] into states [B, patches + 1, width]: the patch embedding (a convolution, or the
    convolutional stem of a hybrid), the class token and the position embeddings. `blocks` and `norm` keep that shape.
    """

    def __init__(self, stem: BlipVisionEmbeddings, blocks: Sequence[Block], norm: torch.nn.LayerNorm) -> None:
        self._stem, self._blocks, self._norm = stem, blocks, norm

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return states [B, patches + 1, width] of `pixels` [B, 3, S, S], BLIP's `last_hidden_state`."""
        if pixels.is_cuda:
            return self._encode(pixels)
        return torch.cat([self._encode(chunk) for chunk in pixels.split(chunk_size(self._stem.num_positions))])

    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self._stem(pixels)
        for block in self._blocks:
            states = block(states)
        normed: torch.Tensor = self._norm(states)
        return normed


def build_vision_encoder(model: BlipVisionModel, make_linear: LinearFactory, attention: Attention) -> VisionEncoder:
    """Build the encoder over the weights of `model`, which must stay on its device afterwards."""
    stem = model.embeddings
    patches = stem.patch_embedding
    if make_linear is int8_linear and isinstance(patches, HybridPatches) and cpu_has_bf16():
        # There are no int8 kernels for the convolutions; in bfloat16 they are twice as fast as in float32.
        patches.stem.bfloat16()
    blocks = [Block(layer, make_linear, attention) for layer in model.encoder.layers]
    return VisionEncoder(stem, blocks, model.post_layernorm)


def chunk_size(patches: int) -> int:
    """Return how many images of `patches` patches each a CPU encodes at a time."""
    return max(1, CHUNK_PATCHES // patches)


class Block:
    """A pre-norm transformer block: states [B, patches + 1, width] to states of the same shape."""

    def __init__(self, layer: BlipEncoderLayer, make_linear: LinearFactory, attention: Attention) -> None:
        self._attention = attention
        self._heads = layer.self_attn.num_heads
        self._norm_1, self._norm_2 = layer.layer_norm1, layer.layer_norm2
        self._qkv, self._projection = make_linear(layer.self_attn.qkv), make_linear(layer.self_attn.projection)
        self._up, self._down = make_linear(layer.mlp.fc1), make_linear(layer.mlp.fc2)
        self._activation = layer.mlp.activation_fn

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        batch, length, width = states.shape
        qkv = self._qkv(self._norm_1(states)).view(batch, length, 3, self._heads, width // self._heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [B, heads, length, head_dim]
        attended = self._attention(query, key, value).transpose(1, 2).reshape(batch, length, width)
        states = states + self._projection(attended)
        return states + self._down(self._activation(self._up(self._norm_2(states))))
