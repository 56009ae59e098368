"""Which arithmetic captions are computed in, and which one pays for a model on this machine."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from transformers import BlipForConditionalGeneration, BlipVisionModel

from captioning.engine.attention import fused, rounded
from captioning.engine.int8 import available, int8
from captioning.engine.vision import Layer, chunk_size
from captioning.engine.weights import floating

Precision = Literal["fp32", "bf16", "fp16", "int8"]

#: Types that the whole model is converted to.
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
REPEATS = 9
#: Less than this many times as fast as float32 is not worth the rounding.
WORTH = 1.5
#: Largest relative difference, in norm, of a layer's result from float32's. Rounding to bf16 or int8 gives about 0.01;
#: a kernel that multiplies wrongly gives 0.1 and more.
CLOSE = 0.05


class PrecisionError(ValueError):
    """A precision that this device cannot compute in."""


@dataclass(frozen=True)
class Trial:
    """A layer in one precision: how many times as fast as in fp32, and the relative difference of its result."""

    speed: float
    error: float

    @property
    def close(self) -> bool:
        return self.error <= CLOSE  # False for NaN, too


def choose(model: BlipForConditionalGeneration) -> tuple[Precision, str]:
    """The precision for a model where it is, and why: bf16 or fp16 on a GPU; on a CPU the fastest of those whose
    results are close to fp32's, by a short measurement.
    """
    if model.device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the GPU computes in it"
        return "fp16", "the GPU computes in it, and not in bf16"
    trials = measure(model.vision_model)
    wrong = [_too_far(precision, trial) for precision, trial in trials.items() if not trial.close]
    close = {precision: trial.speed for precision, trial in trials.items() if trial.close}
    best = max(close, key=lambda precision: close[precision])
    if close[best] < WORTH:
        best, why = "fp32", f"nothing else is {WORTH:g} times as fast for this model on this processor"
    else:
        why = f"{close[best]:.1f} times as fast as fp32 for this model on this processor"
    return best, "; ".join([why, *wrong])


def check(model: BlipForConditionalGeneration, precision: Precision) -> str | None:
    """What is wrong with the results of a precision that a person chose, or None.

    Raises `PrecisionError` if the device cannot compute in it at all.
    """
    on_cpu = model.device.type == "cpu"
    if precision == "int8" and not (on_cpu and available()):
        raise PrecisionError(
            "CAPTIOND_PRECISION=int8 is for CPUs whose 8-bit products are right, and this device has none. "
            "Set CAPTIOND_PRECISION=auto."
        )
    if not on_cpu or precision not in ("bf16", "int8"):
        return None
    trial = measure(model.vision_model, [precision])[precision]
    return None if trial.close else f"{_too_far(precision, trial)}. Captions may be wrong"


def _too_far(precision: Precision, trial: Trial) -> str:
    return f"{precision} differs from fp32 by {trial.error:.0%} for this model on this processor"


@torch.inference_mode()
def measure(tower: BlipVisionModel, precisions: Sequence[Precision] = ("bf16", "int8")) -> dict[Precision, Trial]:
    """fp32 and each of the precisions that a CPU may use, on the tower's last layer.

    Its input is what the layers before it make of a random image, because large activations, which are rounded worst,
    appear in the depth of a trained tower.
    """
    length = tower.embeddings.num_positions
    side = tower.config.image_size
    *before, layer = tower.encoder.layers
    pixels = torch.rand(chunk_size(length), 3, side, side, generator=torch.Generator().manual_seed(0))
    states = tower.embeddings(pixels * 4 - 2)
    for each in before:
        states = Layer(each, floating, fused)(states)
    attend = rounded(states.device)
    layers: dict[Precision, Callable[[], torch.Tensor]] = {"fp32": partial(Layer(layer, floating, fused), states)}
    if "bf16" in precisions:
        layers["bf16"] = partial(Layer(copy.deepcopy(layer).bfloat16(), floating, attend), states.bfloat16())
    if "int8" in precisions and available():
        layers["int8"] = partial(Layer(layer, int8, attend), states)
    results = {precision: run().float() - states for precision, run in layers.items()}
    seconds = dict.fromkeys(layers, float("inf"))
    for _ in range(REPEATS):  # in turn, and the shortest of each: what is slower was disturbed
        for precision, run in layers.items():
            started = time.perf_counter()
            run()
            seconds[precision] = min(seconds[precision], time.perf_counter() - started)
    exact = results["fp32"]
    return {
        precision: Trial(seconds["fp32"] / seconds[precision], float((result - exact).norm() / exact.norm()))
        for precision, result in results.items()
    }
