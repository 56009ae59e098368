"""Matrix products in 8-bit integers on a CPU, by torch's own oneDNN kernels.

Weights are rounded once, with one scale per output; inputs are rounded at each call, with one scale per row, so that
the result of one image does not depend on the others in its batch. On a processor with VNNI instructions this is
several times as fast as float32, and it needs neither another library nor a converted model on disk.

On x86 processors without VNNI, oneDNN multiplies unsigned by signed bytes with an instruction (`vpmaddubsw`) that adds
the products of two neighbouring inputs in 16 bits and saturates. There neighbouring weights are made so small that no
such sum can overflow, with the scale that costs each output least. Which kind of kernel it is, is found out by
multiplying the largest numbers.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch

from captioning.engine.weights import Linear

#: Inputs are unsigned bytes: zero is stored as `ZERO`. Adding another half turns the truncation to an integer into
#: rounding.
ZERO, LARGEST_INPUT = 128, 127.0
#: Largest absolute value of a rounded weight.
LARGEST_WEIGHT = 127
#: Largest sum of two neighbouring weights of one sign where a sum of two products is kept in 16 bits: 128 * 255 is less
#: than 2 ** 15.
LARGEST_PAIR = 128
#: Largest weights that are tried for each output there: with larger ones the steps are finer, and more pairs are cut.
TRIED_LARGEST = (127, 112, 96, 80, 64)
#: Words of the vocabulary that are looked at exactly: six times as many as a search with five beams keeps.
CANDIDATES = 64
#: Rows of the products that are tried: oneDNN chooses its kernel by them, too.
TRIED_ROWS = (1, 8, 600)


@cache
def kernel() -> Literal["exact", "saturating"] | None:
    """How this processor multiplies bytes: exactly, exactly if `LARGEST_PAIR` is kept to, or otherwise (None)."""
    if "onednn" not in torch.backends.quantized.supported_engines:
        return None
    if _is_exact(LARGEST_WEIGHT):
        return "exact"
    return "saturating" if _is_exact(LARGEST_PAIR // 2) else None


def available() -> bool:
    """Whether this build of torch multiplies 8-bit integers, and rightly, on this processor."""
    return kernel() is not None


def int8(*layers: torch.nn.Linear) -> Linear:
    """The product of the layers, side by side, over rounded weights; only where this is `available`."""
    weight = torch.cat([layer.weight.data for layer in layers]).float()
    bias = torch.cat([layer.bias.data for layer in layers]).float()
    rounded_weight, weight_scales = _rounded(weight)
    packed = torch.ops.onednn.qlinear_prepack(rounded_weight, None)
    weight_scales = weight_scales.flatten()
    zeros = torch.zeros(len(weight), dtype=torch.int32)
    middle = torch.tensor(ZERO + 0.5)

    def product(inputs: torch.Tensor) -> torch.Tensor:
        rows = inputs.reshape(-1, inputs.shape[-1])
        row_scales = _scales(rows, LARGEST_INPUT)
        rounded = torch.addcdiv(middle, rows, row_scales).to(torch.uint8)
        sums = _multiply(rounded, packed, weight_scales, zeros)
        return torch.addcmul(bias, sums, row_scales).view(*inputs.shape[:-1], -1)

    return product


def vocabulary(head: torch.nn.Linear) -> Linear:
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


def _rounded(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight [outputs, inputs] in int8, and what one step of it is worth for each output, [outputs, 1]."""
    if kernel() == "exact":
        scales = _scales(weight, LARGEST_WEIGHT)
        return (weight / scales).round().to(torch.int8), scales
    # With another number of inputs, oneDNN's kernel for AVX2 does not take neighbours together.
    tried = TRIED_LARGEST if weight.shape[1] % 4 == 0 else TRIED_LARGEST[-1:]
    best, best_scales = torch.zeros_like(weight, dtype=torch.int8), torch.ones(len(weight), 1)
    least = torch.full((len(weight), 1), torch.inf)
    for largest in tried:
        scales = _scales(weight, largest)
        rounded = (weight / scales).round()
        if largest > LARGEST_PAIR // 2:
            rounded = _cut_pairs(rounded)
        error = (rounded * scales - weight).square().sum(dim=1, keepdim=True)
        better = error < least
        best = torch.where(better, rounded.to(torch.int8), best)
        best_scales, least = torch.where(better, scales, best_scales), torch.minimum(error, least)
    return best, best_scales


def _cut_pairs(rounded: torch.Tensor) -> torch.Tensor:
    """The weights, of which two neighbours of one sign add up to `LARGEST_PAIR` at most, taken from both alike."""
    pairs = rounded.view(len(rounded), -1, 2)
    above = (pairs.sum(dim=-1).abs() - LARGEST_PAIR).clamp_min(0)  # weights of two signs never add up to so much
    cut = torch.stack([(above / 2).ceil(), (above / 2).floor()], dim=-1)
    return (pairs - pairs.sign() * cut).view_as(rounded)


def _scales(rows: torch.Tensor, largest: float) -> torch.Tensor:
    """What one step of the rounding is worth in each row, [rows, 1]."""
    return (rows.abs().amax(dim=1, keepdim=True) / largest).clamp_min(torch.finfo(torch.float32).tiny)


def _multiply(
    inputs: torch.Tensor, packed: torch.Tensor, weight_scales: torch.Tensor, zeros: torch.Tensor
) -> torch.Tensor:
    """(inputs - ZERO) times the packed weights times their scales: uint8 [rows, inputs] to float32 [rows, outputs]."""
    product: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
        inputs, 1.0, ZERO, packed, weight_scales, zeros, None, 1.0, 0, torch.float32, "none", [], "none"
    )
    return product


def _is_exact(largest: int) -> bool:
    """Whether the largest inputs times weights of this size give what they should. All sums are exact in float32."""
    length, outputs = 256, 64
    weight = torch.full((outputs, length), largest, dtype=torch.int8)
    weight[1::2] *= -1
    packed = torch.ops.onednn.qlinear_prepack(weight, None)
    scales, zeros = torch.ones(outputs), torch.zeros(outputs, dtype=torch.int32)
    for rows in TRIED_ROWS:
        inputs = torch.full((rows, length), 255, dtype=torch.uint8)
        expected = (inputs.float() - ZERO) @ weight.float().T
        if not torch.equal(_multiply(inputs, packed, scales, zeros), expected):
            return False
    return True
