"""Attention over all patches of a picture: [B, heads, length, head width], three times, to the same once."""

from __future__ import annotations

import platform
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
    return in_bf16 if device.type == "cpu" and multiplies_bf16() else fused


def multiplies_bf16() -> bool:
    """Whether this processor has instructions for products in bfloat16. oneDNN also says that it supports bfloat16 on
    x86 processors with AVX-512 that have none; there it takes several times as long as float32.
    """
    if platform.machine() in ("x86_64", "AMD64"):
        return bool(torch.cpu._is_avx512_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
