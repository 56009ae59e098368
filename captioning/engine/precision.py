"""Choice of the precision that captions are computed in, by a short measurement on this machine."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from transformers import BlipForConditionalGeneration, BlipVisionModel

from captioning.engine.attention import reduced_precision_attention, sdpa
from captioning.engine.int8 import int8_available, int8_linear
from captioning.engine.vision import Block, chunk_size
from captioning.engine.weights import float_linear
from common.translation import _

Precision = Literal["fp32", "bf16", "fp16", "int8"]

#: Precisions for which the whole model is converted to another dtype.
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
#: Runs of each precision in `measure`.
REPEATS = 9
#: Smallest speed-up over fp32 that is worth the rounding errors.
MIN_SPEEDUP = 1.5
#: Largest relative difference (L2 norm) of a block's result from fp32's. Rounding to bf16 or int8 gives about 0.01; a
#: kernel that multiplies wrongly gives 0.1 and more.
MAX_ERROR = 0.05


class PrecisionError(ValueError):
    """The device cannot compute in the requested precision."""


@dataclass(frozen=True)
class Trial:
    """Measurement of a block in one precision: speed-up over fp32, and relative error of the result."""

    speedup: float
    error: float

    @property
    def is_close(self) -> bool:
        """Whether the error is acceptable. False for NaN."""
        return self.error <= MAX_ERROR


def choose_precision(model: BlipForConditionalGeneration) -> tuple[Precision, str]:
    """Return the precision for a model on its device, and the reason.

    On a GPU bf16 or fp16; on a CPU the fastest precision whose results are close to fp32's.
    """
    if model.device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the GPU supports it"
        return "fp16", "the GPU supports it, but not bf16"
    trials = measure(model.vision_model)
    rejected = [_describe_error(precision, trial) for precision, trial in trials.items() if not trial.is_close]
    speedups = {precision: trial.speedup for precision, trial in trials.items() if trial.is_close}
    best = max(speedups, key=lambda precision: speedups[precision])
    if speedups[best] < MIN_SPEEDUP:
        best, reason = "fp32", f"no other precision is {MIN_SPEEDUP:g} times as fast for this model on this processor"
    else:
        reason = f"{speedups[best]:.1f} times as fast as fp32 for this model on this processor"
    return best, "; ".join([reason, *rejected])


def check_precision(model: BlipForConditionalGeneration, precision: Precision) -> str | None:
    """Return a warning if a configured precision is not close to fp32 on this CPU, else None.

    Raises `PrecisionError` if the device cannot compute in it at all.
    """
    on_cpu = model.device.type == "cpu"
    if precision == "int8" and not (on_cpu and int8_available()):
        raise PrecisionError(
            _(
                "CAPTIOND_PRECISION=int8 is for CPUs that multiply 8-bit integers correctly, and this device does not. "
                "Set CAPTIOND_PRECISION=auto."
            )
        )
    if not on_cpu or precision not in ("bf16", "int8"):
        return None
    trial = measure(model.vision_model, [precision])[precision]
    return None if trial.is_close else f"{_describe_error(precision, trial)}. Captions may be wrong"


def _describe_error(precision: Precision, trial: Trial) -> str:
    return f"{precision} differs from fp32 by {trial.error:.0%} for this model on this processor"


@torch.inference_mode()
def measure(model: BlipVisionModel, precisions: Sequence[Precision] = ("bf16", "int8")) -> dict[Precision, Trial]:
    """Measure fp32 and `precisions` on the last block of a vision encoder on the CPU.

    The block's input is computed by the blocks before it from a random image, because large activations, which lose
    most by rounding, appear in the deep blocks of a trained encoder.
    """
    patches = model.embeddings.num_positions
    size = model.config.image_size
    *previous, last = model.encoder.layers
    pixels = torch.rand(chunk_size(patches), 3, size, size, generator=torch.Generator().manual_seed(0))
    states = model.embeddings(pixels * 4 - 2)
    for layer in previous:
        states = Block(layer, float_linear, sdpa)(states)
    attention = reduced_precision_attention(states.device)
    runs: dict[Precision, Callable[[], torch.Tensor]] = {"fp32": partial(Block(last, float_linear, sdpa), states)}
    if "bf16" in precisions:
        runs["bf16"] = partial(Block(copy.deepcopy(last).bfloat16(), float_linear, attention), states.bfloat16())
    if "int8" in precisions and int8_available():
        runs["int8"] = partial(Block(last, int8_linear, attention), states)
    results = {precision: run().float() - states for precision, run in runs.items()}
    # Interleave the precisions and take the minimum of each, because other processes can only make a run slower.
    seconds = dict.fromkeys(runs, float("inf"))
    for _repeat in range(REPEATS):
        for precision, run in runs.items():
            started = time.perf_counter()
            run()
            seconds[precision] = min(seconds[precision], time.perf_counter() - started)
    exact = results["fp32"]
    return {
        precision: Trial(seconds["fp32"] / seconds[precision], float((result - exact).norm() / exact.norm()))
        for precision, result in results.items()
    }
