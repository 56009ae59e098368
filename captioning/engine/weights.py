"""Linear layers as the engine runs them: as they are, those that read the same input as one, or in 8-bit integers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F

#: Output of one or more linear layers, side by side: [..., inputs] to [..., sum of outputs].
Linear = Callable[[torch.Tensor], torch.Tensor]


class LinearFactory(Protocol):
    """Makes the product of layers that read the same input."""

    def __call__(self, *layers: torch.nn.Linear) -> Linear: ...


def floating(*layers: torch.nn.Linear) -> Linear:
    """The product in the layers' own type. They keep their parameters as views of it, so nothing is held twice."""
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
