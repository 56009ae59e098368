"""Int8 matrix products on a CPU with torch's oneDNN kernels.

Weights are quantized once, with one scale per output. Inputs are quantized at each call, with one scale per row, so
that an image's result does not depend on the rest of its batch. On a processor with VNNI instructions this is several
times as fast as float32. It needs no other library and no converted model on disk.

On x86 processors without VNNI, oneDNN multiplies unsigned by signed bytes with an instruction (`vpmaddubsw`) that adds
the products of two neighbouring inputs in 16 bits and saturates. There the sums of neighbouring weights are limited so
that no such sum overflows, with the scale that gives each output the smallest error. `kernel_kind` detects the kernel
by multiplying the largest values.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch

from captioning.engine.weights import Linear

#: Zero point of the inputs, which are unsigned bytes.
ZERO_POINT = 128
#: Largest absolute value of a quantized input.
MAX_INPUT = 127.0
#: Largest absolute value of a quantized weight.
MAX_WEIGHT = 127
#: Largest absolute sum of two neighbouring weights for a saturating kernel: 128 * 255 is less than 2 ** 15.
MAX_PAIR_SUM = 128
#: Largest quantized weights that are tried for each output of a saturating kernel. A larger one gives finer steps, but
#: more pairs exceed `MAX_PAIR_SUM`.
MAX_WEIGHT_CANDIDATES = (127, 112, 96, 80, 64)
#: Tokens whose logits are recomputed in float32: six times as many as a search with five beams keeps.
RESCORED_TOKENS = 64
#: Numbers of input rows that `kernel_kind` tests. oneDNN selects its kernel by them, too.
TESTED_ROWS = (1, 8, 600)


@cache
def kernel_kind() -> Literal["exact", "saturating"] | None:
    """Return how this processor multiplies bytes.

    "exact": always exactly. "saturating": exactly while pair sums are within `MAX_PAIR_SUM`. None: int8 cannot be used.
    """
    if "onednn" not in torch.backends.quantized.supported_engines:
        return None
    if _is_exact(MAX_WEIGHT):
        return "exact"
    return "saturating" if _is_exact(MAX_PAIR_SUM // 2) else None


def int8_available() -> bool:
    """Return whether this build of torch multiplies 8-bit integers correctly on this processor."""
    return kernel_kind() is not None


def int8_linear(*layers: torch.nn.Linear) -> Linear:
    """Merge the layers into one int8 product with float32 output. Requires `int8_available`."""
    weight = torch.cat([layer.weight.data for layer in layers]).float()
    bias = torch.cat([layer.bias.data for layer in layers]).float()
    quantized, weight_scales = _quantize_weight(weight)
    packed = torch.ops.onednn.qlinear_prepack(quantized, None)
    weight_scales = weight_scales.flatten()
    weight_zero_points = torch.zeros(len(weight), dtype=torch.int32)
    # The additional half makes the truncation to an integer round to the nearest.
    offset = torch.tensor(ZERO_POINT + 0.5)

    def product(inputs: torch.Tensor) -> torch.Tensor:
        rows = inputs.reshape(-1, inputs.shape[-1])
        row_scales = _scales(rows, MAX_INPUT)
        quantized_rows = torch.addcdiv(offset, rows, row_scales).to(torch.uint8)
        sums = _multiply(quantized_rows, packed, weight_scales, weight_zero_points)
        return torch.addcmul(bias, sums, row_scales).view(*inputs.shape[:-1], -1)

    return product


def int8_head(head: torch.nn.Linear) -> Linear:
    """Projection to the vocabulary: int8 logits, of which the `RESCORED_TOKENS` largest are recomputed in float32.

    Quantization errors would otherwise change which of two close tokens wins.
    """
    approximate = int8_linear(head)
    weight, bias = head.weight, head.bias
    count = min(RESCORED_TOKENS, head.out_features)

    def product(states: torch.Tensor) -> torch.Tensor:
        logits = approximate(states)
        tokens = logits.topk(count).indices
        exact = torch.baddbmm(bias[tokens][..., None], weight[tokens], states[..., None]).squeeze(-1)
        return logits.scatter_(1, tokens, exact)

    return product


def _quantize_weight(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a weight [outputs, inputs] in int8, and the scale of each output, [outputs, 1]."""
    if kernel_kind() == "exact":
        scales = _scales(weight, MAX_WEIGHT)
        return (weight / scales).round().to(torch.int8), scales
    # oneDNN's AVX2 kernel pairs other inputs when their number is no multiple of 4, so no pair may overflow then.
    candidates = MAX_WEIGHT_CANDIDATES if weight.shape[1] % 4 == 0 else MAX_WEIGHT_CANDIDATES[-1:]
    best, best_scales = torch.zeros_like(weight, dtype=torch.int8), torch.ones(len(weight), 1)
    min_error = torch.full((len(weight), 1), torch.inf)
    for max_weight in candidates:
        scales = _scales(weight, max_weight)
        quantized = (weight / scales).round()
        if max_weight > MAX_PAIR_SUM // 2:
            quantized = _limit_pair_sums(quantized)
        error = (quantized * scales - weight).square().sum(dim=1, keepdim=True)
        better = error < min_error
        best = torch.where(better, quantized.to(torch.int8), best)
        best_scales, min_error = torch.where(better, scales, best_scales), torch.minimum(error, min_error)
    return best, best_scales


def _limit_pair_sums(quantized: torch.Tensor) -> torch.Tensor:
    """Reduce both weights of each neighbouring pair equally until their absolute sum is at most `MAX_PAIR_SUM`."""
    pairs = quantized.view(len(quantized), -1, 2)
    # Two weights of different sign never add up to so much.
    excess = (pairs.sum(dim=-1).abs() - MAX_PAIR_SUM).clamp_min(0)
    reduction = torch.stack([(excess / 2).ceil(), (excess / 2).floor()], dim=-1)
    return (pairs - pairs.sign() * reduction).view_as(quantized)


def _scales(rows: torch.Tensor, max_value: float) -> torch.Tensor:
    """Return the scale of each row, [rows, 1], that maps its largest absolute value to `max_value`."""
    return (rows.abs().amax(dim=1, keepdim=True) / max_value).clamp_min(torch.finfo(torch.float32).tiny)


def _multiply(
    inputs: torch.Tensor, packed: torch.Tensor, weight_scales: torch.Tensor, zero_points: torch.Tensor
) -> torch.Tensor:
    """Return (inputs - ZERO_POINT) @ weight.T * weight_scales: uint8 [rows, inputs] to float32 [rows, outputs]."""
    product: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
        inputs, 1.0, ZERO_POINT, packed, weight_scales, zero_points, None, 1.0, 0, torch.float32, "none", [], "none"
    )
    return product


def _is_exact(weight_value: int) -> bool:
    """Return whether the largest inputs times weights of this absolute value give the exact sums.

    All expected sums are exact in float32.
    """
    length, outputs = 256, 64
    weight = torch.full((outputs, length), weight_value, dtype=torch.int8)
    weight[1::2] *= -1
    packed = torch.ops.onednn.qlinear_prepack(weight, None)
    scales, zero_points = torch.ones(outputs), torch.zeros(outputs, dtype=torch.int32)
    for rows in TESTED_ROWS:
        inputs = torch.full((rows, length), 255, dtype=torch.uint8)
        expected = (inputs.float() - ZERO_POINT) @ weight.float().T
        if not torch.equal(_multiply(inputs, packed, scales, zero_points), expected):
            return False
    return True
