"""Products in 8-bit integers on a CPU, by torch's own oneDNN kernels.

Weights are rounded once, with one scale for each output; inputs at each call, with one scale for each row, so that what
one picture gives does not depend on the others in its batch. On a processor with VNNI that is several times as fast as
float32, and it needs neither another library nor a converted model on disk.
"""

from __future__ import annotations

import torch

from common.engine.weights import Product

#: Inputs are unsigned: their zero stands here, and half a step more makes the cut to an integer a rounding.
ZERO, LARGEST = 128, 127.0
#: Words of the vocabulary that are looked at exactly: six times as many as a search with five beams keeps.
CANDIDATES = 64


def available() -> bool:
    """Whether this build of torch has the kernels."""
    return "onednn" in torch.backends.quantized.supported_engines


def int8(*layers: torch.nn.Linear) -> Product:
    """The product of the layers, side by side, over weights rounded to 8 bits."""
    weight = torch.cat([layer.weight.data for layer in layers]).float()
    bias = torch.cat([layer.bias.data for layer in layers]).float()
    scales = _scales(weight)
    packed = torch.ops.onednn.qlinear_prepack((weight / scales).round().to(torch.int8), None)
    scales = scales.flatten()
    zeros = torch.zeros(len(weight), dtype=torch.int32)
    middle = torch.tensor(ZERO + 0.5)

    def product(inputs: torch.Tensor) -> torch.Tensor:
        rows = inputs.reshape(-1, inputs.shape[-1])
        steps = _scales(rows)
        rounded = torch.addcdiv(middle, rows, steps).to(torch.uint8)
        sums = torch.ops.onednn.qlinear_pointwise(
            rounded, 1.0, ZERO, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], "none"
        )
        return torch.addcmul(bias, sums, steps).view(*inputs.shape[:-1], -1)

    return product


def vocabulary(head: torch.nn.Linear) -> Product:
    """The product with the vocabulary, whose small differences decide between words: rounded, to find the words that
    come into question, and those again in float32.
    """
    rough = int8(head)
    weight, bias = head.weight, head.bias
    count = min(CANDIDATES, head.out_features)

    def product(states: torch.Tensor) -> torch.Tensor:
        logits = rough(states)
        words = logits.topk(count).indices
        exact = torch.baddbmm(bias[words][..., None], weight[words], states[..., None]).squeeze(-1)
        return logits.scatter_(1, words, exact)

    return product


def _scales(rows: torch.Tensor) -> torch.Tensor:
    """What one step of 8 bits is worth in each row, [rows, 1]."""
    return (rows.abs().amax(dim=1, keepdim=True) / LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
