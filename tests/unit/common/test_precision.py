"""Rounded arithmetic stays close to float32, and what one picture gives does not depend on its neighbours."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from common.engine import Engine, Precision, Search, choose
from common.engine import precision as module
from common.engine.attention import fused, in_bf16
from common.engine.int8 import CANDIDATES, available, int8, vocabulary
from common.student import Student
from tests.support.models import tiny_model
from tests.support.pictures import drawing
from tests.unit.common.test_engine import COLOURS

needs_int8 = pytest.mark.skipif(not available(), reason="this build of torch has no int8 kernels")


@pytest.fixture(scope="module")
def pictures(demo: Student) -> torch.Tensor:
    return torch.stack([torch.from_numpy(demo.preprocessing.pixels(drawing(colour))) for colour in COLOURS])


@needs_int8
class TestInt8:
    @pytest.mark.parametrize("shape", [(40, 96), (3, 7, 96)])
    def test_a_product_is_within_a_hundredth(self, shape: tuple[int, ...]) -> None:
        torch.manual_seed(0)
        layers = [torch.nn.Linear(96, 64), torch.nn.Linear(96, 32)]
        inputs = torch.randn(shape) * torch.rand(*shape[:-1], 1) * 10  # rows of very different size

        with torch.inference_mode():
            found = int8(*layers)(inputs)
            expected = torch.cat([layer(inputs) for layer in layers], dim=-1)

        assert found.shape == expected.shape
        assert (found - expected).norm() < 0.01 * expected.norm()

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
        ("speeds", "chosen", "words"),
        [
            ({"fp32": 1.0, "int8": 6.0, "bf16": 3.0}, "int8", "6.0 times as fast"),
            ({"fp32": 1.0, "int8": 1.6, "bf16": 3.0}, "bf16", "3.0 times as fast"),
            ({"fp32": 1.0, "int8": 1.4, "bf16": 0.2}, "fp32", "nothing else is 1.5 times"),
        ],
    )
    def test_a_cpu_gets_what_pays(
        self, monkeypatch: pytest.MonkeyPatch, speeds: dict[Precision, float], chosen: Precision, words: str
    ) -> None:
        monkeypatch.setattr(module, "measure", lambda tower: speeds)

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

    def test_it_is_measured_here(self) -> None:
        speeds = module.measure(tiny_model().vision_model)

        assert speeds["fp32"] == 1.0
        assert all(speed > 0 for speed in speeds.values())
