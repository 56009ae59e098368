"""BLIP's forward pass for training: fused attention, each image encoded once for all its captions, logits for real
tokens only. Results and gradients equal those of transformers' forward pass.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from transformers import BlipForConditionalGeneration, BlipTextLMHeadModel, BlipVisionModel
from transformers.models.blip.modeling_blip import BlipAttention
from transformers.models.blip.modeling_blip_text import BlipTextSelfAttention

from training.data.dataset import Batch


class Forward(torch.nn.Module):
    """Forward pass of a captioner over a batch, as a module so that DDP can wrap it."""

    def __init__(self, model: BlipForConditionalGeneration) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [tokens, V] of the batch's real tokens, and image states [B, patches + 1, width]."""
        states = encode(self.model.vision_model, batch.pixels)
        decoder = self.model.text_decoder
        hidden = decode(decoder, batch.tokens[:, :-1], states, batch.owner)  # [N, L - 1, text width]
        logits: torch.Tensor = decoder.cls(hidden.flatten(0, 1).index_select(0, batch.positions))
        return logits, states


def encode(vision_model: BlipVisionModel, pixels: torch.Tensor) -> torch.Tensor:
    """Image states [B, patches + 1, width] of `pixels` [B, 3, S, S]."""
    states: torch.Tensor = vision_model.embeddings(pixels)
    for layer in vision_model.encoder.layers:
        attention = layer.self_attn
        batch, length, width = states.shape
        qkv = attention.qkv(layer.layer_norm1(states))
        qkv = qkv.view(batch, length, 3, attention.num_heads, attention.head_dim).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind()
        attended = attend(query, key, value, _dropout(attention))
        states = states + attention.projection(attended.transpose(1, 2).reshape(batch, length, width))
        states = states + layer.mlp(layer.layer_norm2(states))
    normed: torch.Tensor = vision_model.post_layernorm(states)
    return normed


def decode(
    decoder: BlipTextLMHeadModel, tokens: torch.Tensor, states: torch.Tensor, owner: torch.Tensor
) -> torch.Tensor:
    """Hidden states [N, L, text width] of `tokens` [N, L]; each token attends to earlier ones and its owner's image.

    `owner` is int64 [N] on the CPU: the index in `states` of each caption's image. Padding is at the end, where causal
    attention hides it from every real token, so no mask is needed.
    """
    shared = _captions_per_image(owner, len(states))
    hidden: torch.Tensor = decoder.bert.embeddings(input_ids=tokens)
    for layer in decoder.bert.encoder.layer:
        attention, cross = layer.attention, layer.crossattention
        query, key, value = (_split_heads(attention.self, linear(hidden)) for linear in _qkv(attention.self))
        attended = attend(query, key, value, _dropout(attention.self), causal=True)
        hidden = attention.output(_merge_heads(attended), hidden)
        query = cross.self.query(hidden)
        key, value = (_split_heads(cross.self, linear(states)) for linear in _qkv(cross.self)[1:])
        if shared:  # all captions of an image become queries to one copy of its keys and values
            query = query.view(len(states), -1, query.shape[-1])
        else:
            key, value = key[owner], value[owner]
        attended = attend(_split_heads(cross.self, query), key, value, _dropout(cross.self))
        hidden = layer.feed_forward_chunk(cross.output(_merge_heads(attended).view_as(hidden), hidden))
    return hidden


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float, *, causal: bool = False
) -> torch.Tensor:
    """Attention [N, heads, L, head_dim], by torch's fused kernel.

    The exception is bfloat16 on a CPU, where the fused kernel's gradient takes three times as long as that of
    separate matrix products.
    """
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=causal)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    return F.dropout(scores.softmax(dim=-1), dropout) @ value


def _captions_per_image(owner: torch.Tensor, images: int) -> int:
    """Captions per image if all images have equally many and the captions are ordered by image; else 0."""
    count, rest = divmod(len(owner), images)
    in_order = torch.arange(images).repeat_interleave(count)
    return count if not rest and torch.equal(owner, in_order) else 0


def _qkv(attention: BlipTextSelfAttention) -> tuple[torch.nn.Linear, torch.nn.Linear, torch.nn.Linear]:
    return attention.query, attention.key, attention.value


def _split_heads(attention: BlipTextSelfAttention, states: torch.Tensor) -> torch.Tensor:
    """[N, L, width] to [N, heads, L, head_dim]."""
    return states.view(*states.shape[:2], attention.num_attention_heads, -1).transpose(1, 2)


def _merge_heads(attended: torch.Tensor) -> torch.Tensor:
    """[N, heads, L, head_dim] to [N, L, width]."""
    return attended.transpose(1, 2).flatten(2)


def _dropout(attention: BlipTextSelfAttention | BlipAttention) -> float:
    """Dropout probability of the attention. It is 0 in all published BLIP configurations."""
    return float(attention.dropout.p) if attention.training else 0.0
