"""Linear layers of the engine. Layers that read the same input are merged into one matrix product."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F

#: Concatenated output of one or more linear layers: [..., in_features] to [..., sum of out_features].
Linear = Callable[[torch.Tensor], torch.Tensor]


class LinearFactory(Protocol):
    """Merges linear layers that read the same input into one `Linear`."""

    def __call__(self, *layers: torch.nn.Linear) -> Linear: ...


def float_linear(*layers: torch.nn.Linear) -> Linear:
    """Merge the layers in their own dtype.

    The layers' parameters become views of the merged weight, so that no weight is stored twice.
    """
    if len(layers) == 1:
        return layers[0]
    weight = torch.cat([layer.weight.data for layer in layers])
    bias = torch.cat([layer.bias.data for layer in layers])
    first = 0
    for layer in layers:
        rows = slice(first, first + layer.out_features)
        layer.weight.data, layer.bias.data = weight[rows], bias[rows]
        first = rows.stop
    return partial(F.linear, weight=weight, bias=bias)
