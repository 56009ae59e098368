"""Linear layers that read the same input, as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch


class Fused(NamedTuple):
    """Weight [sum of outputs, inputs] and bias of several linear layers, one after the other."""

    weight: torch.Tensor
    bias: torch.Tensor


def fuse(layers: Sequence[torch.nn.Linear]) -> Fused:
    """One product in place of several. The layers keep their parameters as views of it, so nothing is held twice."""
    weight = torch.cat([layer.weight.data for layer in layers])
    bias = torch.cat([layer.bias.data for layer in layers])
    first = 0
    for layer in layers:
        rows = slice(first, first + layer.out_features)
        layer.weight.data, layer.bias.data = weight[rows], bias[rows]
        first = rows.stop
    return Fused(weight, bias)
