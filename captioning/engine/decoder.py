"""BLIP's text decoder, run step by step with a key/value cache.

The cross-attention keys and values are computed once per image and shared by its beams, which attend to them as
further queries. Only the short self-attention cache has a row per beam.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from transformers import BlipTextLMHeadModel
from transformers.models.blip.modeling_blip_text import BlipTextLayer

from captioning.engine.weights import Linear, LinearFactory


class Decoder:
    """The text decoder over the weights of `text_decoder`, which must stay on its device afterwards.

    `make_head` builds the projection to the vocabulary.
    """

    def __init__(
        self,
        text_decoder: BlipTextLMHeadModel,
        make_linear: LinearFactory,
        make_head: Callable[[torch.nn.Linear], Linear],
    ) -> None:
        bert, config, head = text_decoder.bert, text_decoder.config, text_decoder.cls.predictions
        self._heads = config.num_attention_heads
        self._head_dim = config.hidden_size // config.num_attention_heads
        #: Longest sequence in tokens, limited by the position embeddings.
        self.max_positions: int = config.max_position_embeddings
        self._layers = [_Layer(layer, make_linear) for layer in bert.encoder.layer]
        self._embeddings = bert.embeddings
        self._cross_kv = make_linear(*(linear for layer in bert.encoder.layer for linear in _key_and_value(layer)))
        self._transform = head.transform
        self._head = make_head(head.decoder)

    def project_cross_kv(self, states: torch.Tensor) -> torch.Tensor:
        """Return keys and values [layers, 2, B, heads, S, head_dim] of image states [B, S, width]."""
        batch, length, _ = states.shape
        projected = self._cross_kv(states).view(batch, length, len(self._layers), 2, self._heads, self._head_dim)
        return projected.permute(2, 3, 0, 4, 1, 5).contiguous()

    def new_cache(self, rows: int, max_length: int, dtype: torch.dtype) -> KVCache:
        """Return an empty self-attention cache of static size: `rows` sequences of at most `max_length` tokens.

        `dtype` is that of the cross-attention keys and values. Under autocast it differs from the weights' dtype.
        """
        shape = (len(self._layers), 2, rows, max_length, self._heads, self._head_dim)
        return KVCache(torch.empty(shape, dtype=dtype, device=self._embeddings.word_embeddings.weight.device))

    def step(self, tokens: torch.Tensor, cache: KVCache, cross_kv: torch.Tensor) -> torch.Tensor:
        """Return float32 logits [rows, vocabulary] of the token after `tokens` [rows, n], and extend `cache`.

        n may be greater than 1 only while the cache is empty. `cross_kv` is the result of `project_cross_kv`; each
        image has the same number of consecutive rows.
        """
        rows, count = tokens.shape
        width = self._heads * self._head_dim
        begin = cache.length
        positions = self._embeddings.position_embeddings.weight[begin : begin + count]
        states = self._embeddings.LayerNorm(self._embeddings.word_embeddings(tokens) + positions)
        for number, layer in enumerate(self._layers):
            qkv = layer.qkv(states).view(rows, count, 3, self._heads, self._head_dim)
            query, key, value = qkv.unbind(2)
            keys, values = cache.append(number, key, value)
            attended = F.scaled_dot_product_attention(query.transpose(1, 2), keys, values, is_causal=count > 1)
            states = layer.after_self(attended.transpose(1, 2).reshape(rows, count, width), states)
            # The rows of an image become queries of one attention: [B, rows per image x n, heads, head_dim].
            query = layer.cross_query(states).view(cross_kv.shape[2], -1, self._heads, self._head_dim)
            attended = F.scaled_dot_product_attention(query.transpose(1, 2), *cross_kv[number])
            states = layer.after_cross(attended.transpose(1, 2).reshape(rows, count, width), states)
        cache.length += count
        logits: torch.Tensor = self._head(self._transform(states[:, -1]))
        return logits.float()


class _Layer:
    """The parts of a decoder layer around its two attentions. States are [rows, n, width]."""

    def __init__(self, layer: BlipTextLayer, make_linear: LinearFactory) -> None:
        attention, cross = layer.attention, layer.crossattention
        self.qkv = make_linear(attention.self.query, attention.self.key, attention.self.value)
        self.cross_query = make_linear(cross.self.query)
        self._self_output, self._self_norm = make_linear(attention.output.dense), attention.output.LayerNorm
        self._cross_output, self._cross_norm = make_linear(cross.output.dense), cross.output.LayerNorm
        self._up, self._activation = make_linear(layer.intermediate.dense), layer.intermediate.intermediate_act_fn
        self._down, self._norm = make_linear(layer.output.dense), layer.output.LayerNorm

    def after_self(self, attended: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """Apply self-attention's output projection, residual and layer norm."""
        normed: torch.Tensor = self._self_norm(self._self_output(attended) + states)
        return normed

    def after_cross(self, attended: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """Apply cross-attention's output projection, residual and layer norm, then the MLP."""
        states = self._cross_norm(self._cross_output(attended) + states)
        normed: torch.Tensor = self._norm(self._down(self._activation(self._up(states))) + states)
        return normed


def _key_and_value(layer: BlipTextLayer) -> tuple[torch.nn.Linear, torch.nn.Linear]:
    return layer.crossattention.self.key, layer.crossattention.self.value


class KVCache:
    """Self-attention keys and values of the tokens so far, in a buffer of static length.

    `buffer` is [layers, 2, rows, max_length, heads, head_dim]; `length` tokens of it are filled.
    """

    def __init__(self, buffer: torch.Tensor) -> None:
        self._buffer = buffer
        self.length = 0

    def append(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Store a layer's new key and value [rows, n, heads, head_dim].

        Returns all its keys and values so far, each [rows, heads, length + n, head_dim]. `length` does not change,
        because every layer appends at the same position.
        """
        end = self.length + key.shape[1]
        self._buffer[layer, 0, :, self.length : end] = key
        self._buffer[layer, 1, :, self.length : end] = value
        keys, values = self._buffer[layer, :, :, :end].transpose(2, 3)
        return keys, values

    def reorder(self, rows: torch.Tensor) -> None:
        """Replace the rows by the rows at indices `rows`, int64 [new rows]. An index may occur several times."""
        chosen = self._buffer[:, :, :, : self.length].index_select(2, rows)
        if len(rows) > self._buffer.shape[2]:
            self._buffer = self._buffer.new_empty((*self._buffer.shape[:2], len(rows), *self._buffer.shape[3:]))
        self._buffer = self._buffer[:, :, : len(rows)]
        self._buffer[:, :, :, : self.length] = chosen


def compact(cross_kv: torch.Tensor, active: Sequence[int]) -> tuple[torch.Tensor, list[int]]:
    """Return the keys and values of the images at the indices `active`, and the order these are in now.

    Overwrites `cross_kv`: the last active images move into the gaps, because copying all of them would cost more
    than the shorter step saves.
    """
    count = len(active)
    order = list(range(count))
    gaps = sorted(set(order) - set(active))
    movers = [image for image in active if image >= count]
    for gap, mover in zip(gaps, movers, strict=True):
        cross_kv[:, :, gap] = cross_kv[:, :, mover]
        order[gap] = mover
    return cross_kv[:, :, :count], order
