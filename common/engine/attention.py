"""Attention over all patches of a picture: [B, heads, length, head width], three times, to the same once."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F


class Attention(Protocol):
    """Every query sees every key."""

    def __call__(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor: ...


def fused(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """In the type of the query, by torch's fused kernel."""
    return F.scaled_dot_product_attention(query, key, value)


def in_bf16(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """In bfloat16, whatever the type of the query; on a CPU that multiplies in it, twice as fast as `fused`."""
    scaled = (query * query.shape[-1] ** -0.5).bfloat16()
    weights = torch.softmax(scaled @ key.bfloat16().transpose(-1, -2), dim=-1)
    return (weights @ value.bfloat16()).to(query.dtype)


def rounded(device: torch.device) -> Attention:
    """The attention that goes with products that are no finer than bfloat16."""
    pays: bool = device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return in_bf16 if pays else fused
