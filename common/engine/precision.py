"""Which arithmetic captions are computed in, and which one pays on this machine."""

from __future__ import annotations

import time
from typing import Literal

import torch

from common.engine.int8 import available, int8
from common.engine.weights import Product

Precision = Literal["fp32", "bf16", "fp16", "int8"]

#: Types that the whole model is converted to.
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
#: A product of a vision tower: 577 patches, 768 wide, four times as wide inside.
ROWS, INPUTS, OUTPUTS = 577, 768, 3072
REPEATS = 5
#: Less than this many times as fast as float32 is not worth the rounding.
WORTH = 1.5


def choose(device: torch.device) -> tuple[Precision, str]:
    """The precision for a machine, and why: bf16 or fp16 on a GPU; on a CPU what a short measurement finds best."""
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the GPU computes in it"
        return "fp16", "the GPU computes in it, and not in bf16"
    speeds = measure()
    best = max(speeds, key=lambda precision: speeds[precision])
    if speeds[best] < WORTH:
        return "fp32", f"nothing else is {WORTH:g} times as fast on this processor"
    return best, f"{speeds[best]:.1f} times as fast as fp32 on this processor"


@torch.inference_mode()
def measure() -> dict[Precision, float]:
    """Speed of one product in each precision that a CPU may use, relative to fp32."""
    layer = torch.nn.Linear(INPUTS, OUTPUTS)
    inputs = torch.randn(ROWS, INPUTS)
    seconds: dict[Precision, float] = {"fp32": _seconds(layer, inputs)}
    if available():
        seconds["int8"] = _seconds(int8(layer), inputs)
    seconds["bf16"] = _seconds(layer.bfloat16(), inputs.bfloat16())
    return {precision: seconds["fp32"] / each for precision, each in seconds.items()}


def _seconds(product: Product, inputs: torch.Tensor) -> float:
    """The shortest of several runs: what is slower was disturbed."""
    times = []
    for _ in range(1 + REPEATS):
        started = time.perf_counter()
        product(inputs)
        times.append(time.perf_counter() - started)
    return min(times[1:])
