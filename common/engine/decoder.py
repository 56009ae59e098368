"""BLIP's text decoder, one step at a time, with everything that does not change computed once.

The keys and values of the picture are computed once for each picture and shared by its beams, which attend to them
as that many queries. Only the short keys and values of the caption so far are kept for each beam.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from transformers import BlipTextLMHeadModel
from transformers.models.blip.modeling_blip_text import BlipTextLayer

from common.engine.weights import fuse


class Layer:
    """One decoder layer over the student's own weights."""

    def __init__(self, layer: BlipTextLayer) -> None:
        attention, cross = layer.attention, layer.crossattention
        self.qkv = fuse([attention.self.query, attention.self.key, attention.self.value])
        self.cross_query = cross.self.query
        self.key_and_value = (cross.self.key, cross.self.value)
        self._self_output = attention.output
        self._cross_output = cross.output
        self._feed_forward = layer.feed_forward_chunk

    def after_self(self, attended: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self._self_output(attended, states)
        return found

    def after_cross(self, attended: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self._feed_forward(self._cross_output(attended, states))
        return found


class Decoder:
    """The text decoder of a model, which must stay on its device once this is made."""

    def __init__(self, text_decoder: BlipTextLMHeadModel) -> None:
        bert, config = text_decoder.bert, text_decoder.config
        self.heads = config.num_attention_heads
        self.head_width = config.hidden_size // config.num_attention_heads
        self.positions = config.max_position_embeddings
        self._embeddings = bert.embeddings
        self._head = text_decoder.cls.predictions
        self.layers = [Layer(layer) for layer in bert.encoder.layer]
        self._pictures = fuse([linear for layer in self.layers for linear in layer.key_and_value])

    def look(self, states: torch.Tensor) -> torch.Tensor:
        """Keys and values of pictures, [layers, 2, B, heads, S, head width], from their states [B, S, width]."""
        batch, length, _ = states.shape
        mixed = F.linear(states, *self._pictures)
        mixed = mixed.view(batch, length, len(self.layers), 2, self.heads, self.head_width)
        return mixed.permute(2, 3, 0, 4, 1, 5).contiguous()

    def step(self, tokens: torch.Tensor, captions: Captions, pictures: torch.Tensor) -> torch.Tensor:
        """Logits, float32 [rows, vocabulary], of what follows `tokens` [rows, n].

        `captions` remembers what came before and is extended; more than one token can only come first. `pictures`
        is from `look`; each has the same number of rows, one after the other.
        """
        rows, count = tokens.shape
        wide = self.heads * self.head_width
        begin = captions.length
        positions = self._embeddings.position_embeddings.weight[begin : begin + count]
        states = self._embeddings.LayerNorm(self._embeddings.word_embeddings(tokens) + positions)
        for number, layer in enumerate(self.layers):
            mixed = F.linear(states, *layer.qkv).view(rows, count, 3, self.heads, self.head_width)
            query, key, value = mixed.unbind(2)
            keys, values = captions.add(number, key, value)
            attended = F.scaled_dot_product_attention(query.transpose(1, 2), keys, values, is_causal=count > 1)
            states = layer.after_self(attended.transpose(1, 2).reshape(rows, count, wide), states)
            query = layer.cross_query(states).view(pictures.shape[2], -1, self.heads, self.head_width)
            attended = F.scaled_dot_product_attention(query.transpose(1, 2), *pictures[number])
            states = layer.after_cross(attended.transpose(1, 2).reshape(rows, count, wide), states)
        captions.length += count
        logits: torch.Tensor = self._head(states[:, -1])
        return logits.float()


class Captions:
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

    def choose(self, rows: torch.Tensor) -> None:
        """Go on with these rows, of which one may be chosen several times."""
        chosen = self._kept[:, :, :, : self.length].index_select(2, rows)
        if len(rows) > self._kept.shape[2]:
            self._kept = self._kept.new_empty((*self._kept.shape[:2], len(rows), *self._kept.shape[3:]))
        self._kept = self._kept[:, :, : len(rows)]
        self._kept[:, :, :, : self.length] = chosen


def keep(pictures: torch.Tensor, wanted: Sequence[int]) -> tuple[torch.Tensor, list[int]]:
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
