"""Rounded arithmetic stays close to float32, and what one picture gives does not depend on its neighbours."""

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

from captioning.engine import Engine, Precision, PrecisionError, Search, check, choose
from captioning.engine import precision as module
from captioning.engine.attention import fused, in_bf16
from captioning.engine.int8 import CANDIDATES, available, int8, kernel, vocabulary
from captioning.engine.precision import Trial
from captioning.engine.weights import Linear, floating
from captioning.student import Student
from tests.support.images import drawing
from tests.support.models import tiny_model
from tests.unit.captioning.test_engine import COLOURS

needs_int8 = pytest.mark.skipif(not available(), reason="this build of torch has no int8 kernels")
#: Relative error that rounding may cause, by kernel: weights that may not overflow are rounded a little more.
ROUNDING = {"exact": 0.01, "saturating": 0.0125}


#: Multiplies layers of many shapes with the largest inputs, and counts those whose rounded weights are not multiplied
#: exactly.
WITHOUT_VNNI = """
import torch
from captioning.engine.int8 import _rounded, int8, kernel
torch.manual_seed(0)
wrong = 0
for inputs in (30, 33, 96, 257, 258, 260, 352, 768):
    for outputs in (1, 16, 64):
        layer = torch.nn.Linear(inputs, outputs)
        layer.weight.data = torch.randn(outputs, inputs).exp() * torch.randn(outputs, inputs).sign()
        rounded, scales = _rounded(layer.weight.data)
        product = int8(layer)
        for rows in (1, 7, 64, 600):
            largest = torch.full((rows, inputs), 127.0) * torch.randn(rows, 1).sign()
            exact = (largest.double() @ (rounded.double() * scales.double()).T + layer.bias.double()).float()
            wrong += not torch.allclose(product(largest), exact, rtol=1e-5, atol=1e-2)
print(kernel(), wrong)
"""


@pytest.fixture(scope="module")
def pictures(demo: Student) -> torch.Tensor:
    return torch.stack([torch.from_numpy(demo.preprocessing.pixels(drawing(colour))) for colour in COLOURS])


@needs_int8
class TestInt8:
    @pytest.mark.parametrize("shape", [(40, 96), (3, 7, 96)])
    def test_a_product_differs_by_its_rounding_alone(self, shape: tuple[int, ...]) -> None:
        torch.manual_seed(0)
        layers = [torch.nn.Linear(96, 64), torch.nn.Linear(96, 32)]
        inputs = torch.randn(shape) * torch.rand(*shape[:-1], 1) * 10  # rows of very different size

        with torch.inference_mode():
            found = int8(*layers)(inputs)
            expected = torch.cat([layer(inputs) for layer in layers], dim=-1)

        assert found.shape == expected.shape
        assert (found - expected).norm() < ROUNDING[str(kernel())] * expected.norm()

    def test_the_largest_inputs_and_weights_are_multiplied_exactly(self) -> None:
        layer, inputs = torch.nn.Linear(256, 8, bias=True), torch.full((3, 256), 5.0)
        layer.weight.data = torch.full_like(layer.weight, 3.0) * torch.tensor([[1.0], [-1.0]] * 4)

        with torch.inference_mode():
            assert torch.allclose(int8(layer)(inputs), layer(inputs), rtol=1e-6)

    def test_a_row_does_not_depend_on_the_others(self) -> None:
        product, inputs = int8(torch.nn.Linear(96, 64)), torch.randn(10, 96)
        inputs[0] *= 1000

        with torch.inference_mode():
            assert torch.equal(product(inputs)[1:], product(inputs[1:]))

    def test_a_row_of_zeros_gives_the_bias(self) -> None:
        layer = torch.nn.Linear(96, 64)

        with torch.inference_mode():
            assert torch.equal(int8(layer)(torch.zeros(1, 96))[0], layer.bias)

    def test_the_words_that_come_into_question_are_compared_exactly(self) -> None:
        torch.manual_seed(0)
        head, states = torch.nn.Linear(96, 5000), torch.randn(10, 96)

        with torch.inference_mode():
            found, exact = vocabulary(head)(states), head(states)

        best = exact.topk(CANDIDATES // 2).indices
        assert torch.equal(found.topk(CANDIDATES // 2).indices, best)
        assert torch.allclose(found.gather(1, best), exact.gather(1, best), atol=1e-5)
        assert torch.allclose(found.logsumexp(1), exact.logsumexp(1), atol=0.01)

    def test_a_small_vocabulary_is_compared_whole(self) -> None:
        head, states = torch.nn.Linear(96, 20), torch.randn(3, 96)

        with torch.inference_mode():
            assert torch.allclose(vocabulary(head)(states), head(states), atol=1e-5)

    def test_captions_do_not_depend_on_the_batch(self, demo: Student, pictures: torch.Tensor) -> None:
        engine = Engine(demo.model, demo.tokenizer, "int8")

        together = engine.caption(pictures, Search())

        alone = [engine.caption(picture[None], Search())[0] for picture in pictures]
        assert [ranked[0].text for ranked in together] == [ranked[0].text for ranked in alone]

    def test_the_model_stays_what_it_was(self, demo: Student) -> None:
        before = copy.deepcopy(demo.model.state_dict())

        Engine(demo.model, demo.tokenizer, "int8")

        assert all(torch.equal(value, before[name]) for name, value in demo.model.state_dict().items())


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86 processors have these instructions")
@pytest.mark.parametrize("instructions", ["AVX2", "AVX512_CORE"])
def test_without_vnni_the_largest_weights_are_multiplied_exactly(instructions: str) -> None:
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": instructions}

    ran = subprocess.run([sys.executable, "-c", WITHOUT_VNNI], env=environment, capture_output=True, text=True)

    assert ran.stdout.split() == ["saturating", "0"], ran.stderr


@pytest.mark.parametrize("precision", ["bf16", pytest.param("int8", marks=needs_int8)])
def test_captions_score_as_in_fp32(demo: Student, pictures: torch.Tensor, precision: Precision) -> None:
    exact = Engine(demo.model, demo.tokenizer).caption(pictures, Search())

    rounded = Engine(copy.deepcopy(demo.model), demo.tokenizer, precision).caption(pictures, Search())

    for one, other in zip(exact, rounded, strict=True):
        # Plain colours are rounded worse than photographs.
        assert other[0].score == pytest.approx(one[0].score, abs=0.2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_in_bf16_is_within_a_hundredth(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 50, 16)

    found = in_bf16(query.to(dtype), key.to(dtype), value.to(dtype))

    assert found.dtype == dtype
    assert (found.float() - fused(query, key, value)).abs().max() < 0.02


class TestChoice:
    @pytest.mark.parametrize(
        ("trials", "chosen", "words"),
        [
            ({"int8": Trial(6.0, 0.01), "bf16": Trial(3.0, 0.01)}, "int8", "6.0 times as fast"),
            ({"int8": Trial(1.6, 0.01), "bf16": Trial(3.0, 0.01)}, "bf16", "3.0 times as fast"),
            ({"int8": Trial(1.4, 0.01), "bf16": Trial(0.2, 0.01)}, "fp32", "nothing else is 1.5 times"),
            ({"int8": Trial(6.0, 0.15), "bf16": Trial(3.0, 0.01)}, "bf16", "int8 differs from fp32 by 15%"),
            ({"int8": Trial(6.0, 0.15), "bf16": Trial(0.2, 0.01)}, "fp32", "int8 differs from fp32 by 15%"),
            ({"int8": Trial(6.0, float("nan")), "bf16": Trial(0.2, 0.01)}, "fp32", "int8 differs from fp32 by nan"),
        ],
    )
    def test_a_cpu_gets_what_is_fast_and_close(
        self, monkeypatch: pytest.MonkeyPatch, trials: dict[Precision, Trial], chosen: Precision, words: str
    ) -> None:
        monkeypatch.setattr(module, "measure", lambda tower: {"fp32": Trial(1.0, 0.0), **trials})

        precision, why = choose(tiny_model())

        assert precision == chosen
        assert words in why

    @pytest.mark.parametrize(("has_bf16", "chosen"), [(True, "bf16"), (False, "fp16")])
    def test_a_gpu_gets_the_half_type_that_it_has(
        self, monkeypatch: pytest.MonkeyPatch, has_bf16: bool, chosen: Precision
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)

        on_gpu: Any = SimpleNamespace(device=torch.device("cuda"))

        assert choose(on_gpu)[0] == chosen

    def test_speed_and_result_are_measured_here(self, demo: Student) -> None:
        trials = module.measure(demo.model.vision_model)

        assert trials["fp32"] == Trial(1.0, 0.0)
        assert all(trial.speed > 0 for trial in trials.values())
        assert all(0 < trial.error < 0.03 for precision, trial in trials.items() if precision != "fp32")

    def test_the_model_stays_what_it_was(self) -> None:
        model = tiny_model()
        before = copy.deepcopy(model.state_dict())

        choose(model)

        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def saturating(*layers: torch.nn.Linear) -> Linear:
    """A product that is a tenth too small, as with a kernel whose sums do not fit."""
    exact = floating(*layers)
    return lambda inputs: 0.9 * exact(inputs)


@needs_int8
class TestCheck:
    def test_a_precision_that_is_close_is_not_complained_of(self) -> None:
        assert check(tiny_model(), "int8") is None
        assert check(tiny_model(), "fp32") is None

    def test_wrong_products_are_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "int8", saturating)

        said = check(tiny_model(), "int8")

        assert said is not None
        assert "int8 differs from fp32 by 1" in said

    def test_int8_is_refused_without_a_kernel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "available", lambda: False)

        with pytest.raises(PrecisionError, match="CAPTIOND_PRECISION=int8 is for CPUs"):
            check(tiny_model(), "int8")

    def test_int8_is_refused_on_a_gpu(self) -> None:
        on_gpu: Any = SimpleNamespace(device=torch.device("cuda"))

        with pytest.raises(PrecisionError, match="CAPTIOND_PRECISION=int8 is for CPUs"):
            check(on_gpu, "int8")
