"""int8 and bf16 stay close to float32, and an image's caption does not depend on its batch."""

from __future__ import annotations

import copy
import os
import platform
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from captioning.engine import Engine, Precision, PrecisionError, Search, check_precision, choose_precision
from captioning.engine import precision as precision_module
from captioning.engine.attention import bf16_attention, sdpa
from captioning.engine.int8 import RESCORED_TOKENS, int8_available, int8_head, int8_linear, kernel_kind
from captioning.engine.precision import Trial
from captioning.engine.weights import Linear, float_linear
from captioning.student import Student
from tests.support.images import drawing
from tests.support.models import tiny_model
from tests.unit.captioning.test_engine import COLOURS

needs_int8 = pytest.mark.skipif(not int8_available(), reason="this build of torch has no int8 kernels")
#: Largest relative error of int8 by kind of kernel. Limiting the pair sums costs a saturating kernel some accuracy.
MAX_ERROR = {"exact": 0.01, "saturating": 0.0125}


#: Prints the kind of kernel, and how many layers of many shapes it does not multiply exactly with the largest inputs.
WITHOUT_VNNI = """
import torch
from captioning.engine.int8 import _quantize_weight, int8_linear, kernel_kind
torch.manual_seed(0)
wrong = 0
for inputs in (30, 33, 96, 257, 258, 260, 352, 768):
    for outputs in (1, 16, 64):
        layer = torch.nn.Linear(inputs, outputs)
        layer.weight.data = torch.randn(outputs, inputs).exp() * torch.randn(outputs, inputs).sign()
        quantized, scales = _quantize_weight(layer.weight.data)
        product = int8_linear(layer)
        for rows in (1, 7, 64, 600):
            largest = torch.full((rows, inputs), 127.0) * torch.randn(rows, 1).sign()
            exact = (largest.double() @ (quantized.double() * scales.double()).T + layer.bias.double()).float()
            wrong += not torch.allclose(product(largest), exact, rtol=1e-5, atol=1e-2)
print(kernel_kind(), wrong)
"""


@pytest.fixture(scope="module")
def images(demo: Student) -> torch.Tensor:
    return torch.stack([torch.from_numpy(demo.preprocessing.pixels(drawing(colour))) for colour in COLOURS])


@needs_int8
class TestInt8:
    @pytest.mark.parametrize("shape", [(40, 96), (3, 7, 96)])
    def test_a_product_is_close_to_float32(self, shape: tuple[int, ...]) -> None:
        torch.manual_seed(0)
        layers = [torch.nn.Linear(96, 64), torch.nn.Linear(96, 32)]
        inputs = torch.randn(shape) * torch.rand(*shape[:-1], 1) * 10  # rows of very different magnitude

        with torch.inference_mode():
            actual = int8_linear(*layers)(inputs)
            expected = torch.cat([layer(inputs) for layer in layers], dim=-1)

        assert actual.shape == expected.shape
        assert (actual - expected).norm() < MAX_ERROR[str(kernel_kind())] * expected.norm()

    def test_the_largest_inputs_and_weights_are_multiplied_exactly(self) -> None:
        layer, inputs = torch.nn.Linear(256, 8, bias=True), torch.full((3, 256), 5.0)
        layer.weight.data = torch.full_like(layer.weight, 3.0) * torch.tensor([[1.0], [-1.0]] * 4)

        with torch.inference_mode():
            assert torch.allclose(int8_linear(layer)(inputs), layer(inputs), rtol=1e-6)

    def test_a_row_does_not_depend_on_the_others(self) -> None:
        product, inputs = int8_linear(torch.nn.Linear(96, 64)), torch.randn(10, 96)
        inputs[0] *= 1000

        with torch.inference_mode():
            assert torch.equal(product(inputs)[1:], product(inputs[1:]))

    def test_a_row_of_zeros_gives_the_bias(self) -> None:
        layer = torch.nn.Linear(96, 64)

        with torch.inference_mode():
            assert torch.equal(int8_linear(layer)(torch.zeros(1, 96))[0], layer.bias)

    def test_the_largest_logits_are_rescored_in_float32(self) -> None:
        torch.manual_seed(0)
        head, states = torch.nn.Linear(96, 5000), torch.randn(10, 96)

        with torch.inference_mode():
            actual, exact = int8_head(head)(states), head(states)

        best = exact.topk(RESCORED_TOKENS // 2).indices
        assert torch.equal(actual.topk(RESCORED_TOKENS // 2).indices, best)
        assert torch.allclose(actual.gather(1, best), exact.gather(1, best), atol=1e-5)
        assert torch.allclose(actual.logsumexp(1), exact.logsumexp(1), atol=0.01)

    def test_a_small_vocabulary_is_rescored_completely(self) -> None:
        head, states = torch.nn.Linear(96, 20), torch.randn(3, 96)

        with torch.inference_mode():
            assert torch.allclose(int8_head(head)(states), head(states), atol=1e-5)

    def test_captions_do_not_depend_on_the_batch(self, demo: Student, images: torch.Tensor) -> None:
        engine = Engine(demo.model, demo.tokenizer, "int8")

        batched = engine.caption(images, Search())

        single = [engine.caption(image[None], Search())[0] for image in images]
        assert [ranked[0].text for ranked in batched] == [ranked[0].text for ranked in single]

    def test_int8_leaves_the_weights_unchanged(self, demo: Student) -> None:
        before = copy.deepcopy(demo.model.state_dict())

        Engine(demo.model, demo.tokenizer, "int8")

        assert all(torch.equal(value, before[name]) for name, value in demo.model.state_dict().items())


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86 processors have these instructions")
@pytest.mark.parametrize("instructions", ["AVX2", "AVX512_CORE"])
def test_a_cpu_without_vnni_multiplies_the_largest_weights_exactly(instructions: str) -> None:
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": instructions}

    completed = subprocess.run([sys.executable, "-c", WITHOUT_VNNI], env=environment, capture_output=True, text=True)

    assert completed.stdout.split() == ["saturating", "0"], completed.stderr


@pytest.mark.parametrize("precision", ["bf16", pytest.param("int8", marks=needs_int8)])
def test_scores_are_close_to_fp32(demo: Student, images: torch.Tensor, precision: Precision) -> None:
    exact = Engine(demo.model, demo.tokenizer).caption(images, Search())

    reduced = Engine(copy.deepcopy(demo.model), demo.tokenizer, precision).caption(images, Search())

    for one, other in zip(exact, reduced, strict=True):
        # The error is larger for plain colours than for photographs.
        assert other[0].score == pytest.approx(one[0].score, abs=0.2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bf16_attention_is_close_to_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 50, 16)

    actual = bf16_attention(query.to(dtype), key.to(dtype), value.to(dtype))

    assert actual.dtype == dtype
    assert (actual.float() - sdpa(query, key, value)).abs().max() < 0.02


class TestChoosePrecision:
    @pytest.mark.parametrize(
        ("trials", "expected", "reason_part"),
        [
            ({"int8": Trial(6.0, 0.01), "bf16": Trial(3.0, 0.01)}, "int8", "6.0 times as fast"),
            ({"int8": Trial(1.6, 0.01), "bf16": Trial(3.0, 0.01)}, "bf16", "3.0 times as fast"),
            ({"int8": Trial(1.4, 0.01), "bf16": Trial(0.2, 0.01)}, "fp32", "no other precision is 1.5 times"),
            ({"int8": Trial(6.0, 0.15), "bf16": Trial(3.0, 0.01)}, "bf16", "int8 differs from fp32 by 15%"),
            ({"int8": Trial(6.0, 0.15), "bf16": Trial(0.2, 0.01)}, "fp32", "int8 differs from fp32 by 15%"),
            ({"int8": Trial(6.0, float("nan")), "bf16": Trial(0.2, 0.01)}, "fp32", "int8 differs from fp32 by nan"),
        ],
    )
    def test_a_cpu_gets_the_fastest_precision_that_is_close(
        self, monkeypatch: pytest.MonkeyPatch, trials: dict[Precision, Trial], expected: Precision, reason_part: str
    ) -> None:
        monkeypatch.setattr(precision_module, "measure", lambda model: {"fp32": Trial(1.0, 0.0), **trials})

        precision, reason = choose_precision(tiny_model())

        assert precision == expected
        assert reason_part in reason

    @pytest.mark.parametrize(("has_bf16", "expected"), [(True, "bf16"), (False, "fp16")])
    def test_a_gpu_gets_the_half_precision_that_it_supports(
        self, monkeypatch: pytest.MonkeyPatch, has_bf16: bool, expected: Precision
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)

        on_gpu: Any = SimpleNamespace(device=torch.device("cuda"))

        assert choose_precision(on_gpu)[0] == expected

    def test_speedup_and_error_are_measured(self, demo: Student) -> None:
        trials = precision_module.measure(demo.model.vision_model)

        assert trials["fp32"] == Trial(1.0, 0.0)
        assert all(trial.speedup > 0 for trial in trials.values())
        assert all(0 < trial.error < 0.03 for precision, trial in trials.items() if precision != "fp32")

    def test_the_measurement_leaves_the_weights_unchanged(self) -> None:
        model = tiny_model()
        before = copy.deepcopy(model.state_dict())

        choose_precision(model)

        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def inexact_linear(*layers: torch.nn.Linear) -> Linear:
    """A product that is 10% too small, as from a kernel whose sums overflow."""
    exact = float_linear(*layers)
    return lambda inputs: 0.9 * exact(inputs)


@needs_int8
class TestCheckPrecision:
    def test_a_close_precision_gives_no_warning(self) -> None:
        assert check_precision(tiny_model(), "int8") is None
        assert check_precision(tiny_model(), "fp32") is None

    def test_wrong_products_give_a_warning(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(precision_module, "int8_linear", inexact_linear)

        warning = check_precision(tiny_model(), "int8")

        assert warning is not None
        assert "int8 differs from fp32 by 1" in warning

    def test_int8_is_refused_without_a_kernel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(precision_module, "int8_available", lambda: False)

        with pytest.raises(PrecisionError, match="CAPTIOND_PRECISION=int8 is for CPUs"):
            check_precision(tiny_model(), "int8")

    def test_int8_is_refused_on_a_gpu(self) -> None:
        on_gpu: Any = SimpleNamespace(device=torch.device("cuda"))

        with pytest.raises(PrecisionError, match="CAPTIOND_PRECISION=int8 is for CPUs"):
            check_precision(on_gpu, "int8")
