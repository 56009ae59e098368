"""Which arithmetic captions are computed in, and which one pays for a model on this machine."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Literal

import torch
from transformers import BlipForConditionalGeneration, BlipVisionModel

from common.engine.attention import fused, rounded
from common.engine.int8 import available, int8
from common.engine.vision import Layer, together
from common.engine.weights import floating

Precision = Literal["fp32", "bf16", "fp16", "int8"]

#: Types that the whole model is converted to.
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
REPEATS = 9
#: Less than this many times as fast as float32 is not worth the rounding.
WORTH = 1.5


def choose(model: BlipForConditionalGeneration) -> tuple[Precision, str]:
    """The precision for a model where it is, and why: bf16 or fp16 on a GPU; on a CPU what a short measurement finds
    best.
    """
    if model.device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the GPU computes in it"
        return "fp16", "the GPU computes in it, and not in bf16"
    speeds = measure(model.vision_model)
    best = max(speeds, key=lambda precision: speeds[precision])
    if speeds[best] < WORTH:
        return "fp32", f"nothing else is {WORTH:g} times as fast for this model on this processor"
    return best, f"{speeds[best]:.1f} times as fast as fp32 for this model on this processor"


@torch.inference_mode()
def measure(tower: BlipVisionModel) -> dict[Precision, float]:
    """Speed of the tower's first layer in each precision that a CPU may use, relative to fp32."""
    layer, length = tower.encoder.layers[0], tower.embeddings.num_positions
    states = torch.randn(together(length), length, tower.config.hidden_size)
    attend = rounded(states.device)
    in_fp32, in_bf16 = Layer(layer, floating, fused), Layer(copy.deepcopy(layer).bfloat16(), floating, attend)
    runs: dict[Precision, Callable[[], object]] = {
        "fp32": lambda: in_fp32(states),
        "bf16": lambda: in_bf16(states.bfloat16()),
    }
    if available():
        in_int8 = Layer(layer, int8, attend)
        runs["int8"] = lambda: in_int8(states)
    seconds = dict.fromkeys(runs, float("inf"))
    for _ in range(REPEATS):  # in turn, and the shortest of each: what is slower was disturbed
        for precision, run in runs.items():
            started = time.perf_counter()
            run()
            seconds[precision] = min(seconds[precision], time.perf_counter() - started)
    return {precision: seconds["fp32"] / each for precision, each in seconds.items()}
