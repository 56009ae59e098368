"""BLIP's text decoder, one step at a time, with everything that does not change computed once.

The keys and values of the picture are computed once for each picture and shared by its beams, which attend to them
as that many queries. Only the short keys and values of the caption so far are kept for each beam.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from transformers import BlipTextLMHeadModel
from transformers.models.blip.modeling_blip_text import BlipTextLayer

from captioning.engine.weights import Linear, LinearFactory


class Decoder:
    """The text decoder of a model, which must stay on its device once this is made."""

    def __init__(
        self, text_decoder: BlipTextLMHeadModel, make: LinearFactory, vocabulary: Callable[[torch.nn.Linear], Linear]
    ) -> None:
        bert, config, head = text_decoder.bert, text_decoder.config, text_decoder.cls.predictions
        self.heads = config.num_attention_heads
        self.head_width = config.hidden_size // config.num_attention_heads
        self.positions = config.max_position_embeddings
        self.layers = [_Layer(layer, make) for layer in bert.encoder.layer]
        self._embeddings = bert.embeddings
        self._pictures = make(*(linear for layer in bert.encoder.layer for linear in _key_and_value(layer)))
        self._transform = head.transform
        self._vocabulary = vocabulary(head.decoder)

    def project_cross_kv(self, states: torch.Tensor) -> torch.Tensor:
        """Keys and values of pictures, [layers, 2, B, heads, S, head width], from their states [B, S, width]."""
        batch, length, _ = states.shape
        mixed = self._pictures(states).view(batch, length, len(self.layers), 2, self.heads, self.head_width)
        return mixed.permute(2, 3, 0, 4, 1, 5).contiguous()

    def step(self, tokens: torch.Tensor, cache: KVCache, pictures: torch.Tensor) -> torch.Tensor:
        """Logits, float32 [rows, vocabulary], of what follows `tokens` [rows, n].

        `cache` has what came before and is extended; more than one token can only come first. `pictures`
        is from `look`; each has the same number of rows, one after the other.
        """
        rows, count = tokens.shape
        wide = self.heads * self.head_width
        begin = cache.length
        positions = self._embeddings.position_embeddings.weight[begin : begin + count]
        states = self._embeddings.LayerNorm(self._embeddings.word_embeddings(tokens) + positions)
        for number, layer in enumerate(self.layers):
            mixed = layer.qkv(states).view(rows, count, 3, self.heads, self.head_width)
            query, key, value = mixed.unbind(2)
            keys, values = cache.add(number, key, value)
            attended = F.scaled_dot_product_attention(query.transpose(1, 2), keys, values, is_causal=count > 1)
            states = layer.after_self(attended.transpose(1, 2).reshape(rows, count, wide), states)
            query = layer.cross_query(states).view(pictures.shape[2], -1, self.heads, self.head_width)
            attended = F.scaled_dot_product_attention(query.transpose(1, 2), *pictures[number])
            states = layer.after_cross(attended.transpose(1, 2).reshape(rows, count, wide), states)
        cache.length += count
        logits: torch.Tensor = self._vocabulary(self._transform(states[:, -1]))
        return logits.float()


class _Layer:
    """One decoder layer: what stands between its two attentions."""

    def __init__(self, layer: BlipTextLayer, make: LinearFactory) -> None:
        attention, cross = layer.attention, layer.crossattention
        self.qkv = make(attention.self.query, attention.self.key, attention.self.value)
        self.cross_query = make(cross.self.query)
        self._self_output, self._self_norm = make(attention.output.dense), attention.output.LayerNorm
        self._cross_output, self._cross_norm = make(cross.output.dense), cross.output.LayerNorm
        self._up, self._activation = make(layer.intermediate.dense), layer.intermediate.intermediate_act_fn
        self._down, self._norm = make(layer.output.dense), layer.output.LayerNorm

    def after_self(self, attended: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self._self_norm(self._self_output(attended) + states)
        return found

    def after_cross(self, attended: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        states = self._cross_norm(self._cross_output(attended) + states)
        found: torch.Tensor = self._norm(self._down(self._activation(self._up(states))) + states)
        return found


def _key_and_value(layer: BlipTextLayer) -> tuple[torch.nn.Linear, torch.nn.Linear]:
    return layer.crossattention.self.key, layer.crossattention.self.value


class KVCache:
    """Keys and values of the captions so far, one row for each beam."""

    def __init__(self, decoder: Decoder, rows: int, longest: int, like: torch.Tensor) -> None:
        shape = (len(decoder.layers), 2, rows, longest, decoder.heads, decoder.head_width)
        self._kept = torch.empty(shape, dtype=like.dtype, device=like.device)
        self.length = 0

    def add(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a layer, [rows, heads, length, head width], with the new ones at their end."""
        end = self.length + key.shape[1]
        self._kept[layer, 0, :, self.length : end] = key
        self._kept[layer, 1, :, self.length : end] = value
        keys, values = self._kept[layer, :, :, :end].transpose(2, 3)
        return keys, values

    def reorder(self, rows: torch.Tensor) -> None:
        """Go on with these rows, of which one may be chosen several times."""
        chosen = self._kept[:, :, :, : self.length].index_select(2, rows)
        if len(rows) > self._kept.shape[2]:
            self._kept = self._kept.new_empty((*self._kept.shape[:2], len(rows), *self._kept.shape[3:]))
        self._kept = self._kept[:, :, : len(rows)]
        self._kept[:, :, :, : self.length] = chosen


def compact(pictures: torch.Tensor, wanted: Sequence[int]) -> tuple[torch.Tensor, list[int]]:
    """The keys and values of the wanted pictures, and the order they stand in now.

    The last ones are moved into the gaps, as a copy of all would cost more than the step it saves.
    """
    count = len(wanted)
    order = list(range(count))
    gaps = sorted(set(order) - set(wanted))
    movers = [picture for picture in wanted if picture >= count]
    for gap, mover in zip(gaps, movers, strict=True):
        pictures[:, :, gap] = pictures[:, :, mover]
        order[gap] = mover
    return pictures[:, :, :count], order
