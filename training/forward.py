"""BLIP's forward pass as training runs it: attention fused, each picture once for all its captions, words only where
there are some. It gives what transformers' own pass gives, and gradients flow through it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from transformers import BlipForConditionalGeneration, BlipTextLMHeadModel, BlipVisionModel
from transformers.models.blip.modeling_blip import BlipAttention
from transformers.models.blip.modeling_blip_text import BlipTextSelfAttention

from training.data.dataset import Batch


class Forward(torch.nn.Module):
    """A captioner's pass over a batch, as a module of its own so that DDP can wrap it."""

    def __init__(self, model: BlipForConditionalGeneration, pad_id: int) -> None:
        super().__init__()
        self.model = model
        self._pad_id = pad_id

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [tokens, V] of the real tokens after the first, and the pictures' states [B, patches + 1, width]."""
        states = encode(self.model.vision_model, batch.pixels)
        decoder = self.model.text_decoder
        found = decode(decoder, batch.tokens[:, :-1], states, batch.owner)  # [N, L - 1, text width]
        real = real_tokens(batch, self._pad_id)
        logits: torch.Tensor = decoder.cls(found.flatten(0, 1).index_select(0, real))
        return logits, states


def real_tokens(batch: Batch, pad_id: int) -> torch.Tensor:
    """Where in [N x (L - 1)] a token follows that is no padding; int64 [tokens]."""
    return (batch.tokens[:, 1:] != pad_id).flatten().nonzero().flatten()


def encode(tower: BlipVisionModel, pixels: torch.Tensor) -> torch.Tensor:
    """States [B, patches + 1, width] of `pixels` [B, 3, S, S]."""
    states: torch.Tensor = tower.embeddings(pixels)
    for layer in tower.encoder.layers:
        attention = layer.self_attn
        batch, length, width = states.shape
        mixed = attention.qkv(layer.layer_norm1(states))
        mixed = mixed.view(batch, length, 3, attention.num_heads, attention.head_dim).permute(2, 0, 3, 1, 4)
        query, key, value = mixed.unbind()
        attended = attend(query, key, value, _dropout(attention))
        states = states + attention.projection(attended.transpose(1, 2).reshape(batch, length, width))
        states = states + layer.mlp(layer.layer_norm2(states))
    normed: torch.Tensor = tower.post_layernorm(states)
    return normed


def decode(
    decoder: BlipTextLMHeadModel, tokens: torch.Tensor, states: torch.Tensor, owner: torch.Tensor
) -> torch.Tensor:
    """States [N, L, text width] behind `tokens` [N, L], each seeing those before it and its owner's picture.

    Padding stands at the end, where no real token looks, so it needs no mask.
    """
    shared = _captions_each(owner, len(states))
    found: torch.Tensor = decoder.bert.embeddings(input_ids=tokens)
    for layer in decoder.bert.encoder.layer:
        attention, cross = layer.attention, layer.crossattention
        query, key, value = (_heads(attention.self, part(found)) for part in _parts(attention.self))
        attended = attend(query, key, value, _dropout(attention.self), causal=True)
        found = attention.output(_joined(attended), found)
        query = cross.self.query(found)
        key, value = (_heads(cross.self, part(states)) for part in _parts(cross.self)[1:])
        if shared:  # the captions of a picture as that many more queries to the same keys
            query = query.view(len(states), -1, query.shape[-1])
        else:
            key, value = key[owner], value[owner]
        attended = attend(_heads(cross.self, query), key, value, _dropout(cross.self))
        found = layer.feed_forward_chunk(cross.output(_joined(attended).view_as(found), found))
    return found


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float, *, causal: bool = False
) -> torch.Tensor:
    """Attention [N, heads, L, head width], by torch's fused kernel but where its gradient takes three times as long as
    that of the products: in bfloat16 on a CPU.
    """
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=causal)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    return F.dropout(scores.softmax(dim=-1), dropout) @ value


def _captions_each(owner: torch.Tensor, pictures: int) -> int:
    """How many captions every picture has, when all have as many and they stand in order; else 0."""
    each, rest = divmod(len(owner), pictures)
    in_order = torch.arange(pictures, device=owner.device).repeat_interleave(each)
    return each if not rest and torch.equal(owner, in_order) else 0


def _parts(attention: BlipTextSelfAttention) -> tuple[torch.nn.Linear, torch.nn.Linear, torch.nn.Linear]:
    return attention.query, attention.key, attention.value


def _heads(attention: BlipTextSelfAttention, states: torch.Tensor) -> torch.Tensor:
    """[N, L, width] to [N, heads, L, head width]."""
    return states.view(*states.shape[:2], attention.num_attention_heads, -1).transpose(1, 2)


def _joined(attended: torch.Tensor) -> torch.Tensor:
    """[N, heads, L, head width] back to [N, L, width]."""
    return attended.transpose(1, 2).flatten(2)


def _dropout(attention: BlipTextSelfAttention | BlipAttention) -> float:
    """The part of the attention that is dropped; none of BLIP's published configurations drops any."""
    return float(attention.dropout.p) if attention.training else 0.0
