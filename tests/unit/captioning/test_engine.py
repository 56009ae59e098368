"""The engine finds what transformers' own beam search finds, token for token, and holds no weight twice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies
from transformers import BlipForConditionalGeneration

from benchmarks.reference import generate
from captioning.engine import Caption, Engine, Search
from captioning.student import Student, build, small_config
from tests.support.images import drawing
from tests.support.models import tiny_hybrid, tiny_model, tiny_tokenizer

COLOURS = ("red", "seagreen", "gold", "navy", "white", "black", "orchid")
#: What scores may differ by: sums in another order.
NOISE = 1e-4


@pytest.fixture(scope="module")
def pictures(demo: Student) -> torch.Tensor:
    drawn = [drawing(colour, size) for colour in COLOURS for size in ((320, 240), (200, 400))]
    return torch.from_numpy(np.stack([demo.preprocessing.pixels(image) for image in drawn]))


def assert_same(found: list[list[Caption]], expected: list[list[Caption]]) -> None:
    """The same texts in the same order, but that two of equal score may change places."""
    for ours, theirs in zip(found, expected, strict=True):
        assert [each.score for each in ours] == pytest.approx([each.score for each in theirs], abs=NOISE)
        for one, other in zip(ours, theirs, strict=True):
            assert one.text == other.text or one.score == pytest.approx(other.score, abs=1e-6)


class TestSameAsTransformers:
    @pytest.mark.parametrize("beams", [1, 3, 5])
    def test_with_the_demo_student(self, demo: Student, pictures: torch.Tensor, beams: int) -> None:
        found = Engine(demo.model, demo.tokenizer).caption(pictures, Search(beams=beams), captions=beams)

        expected = generate(demo.model, demo.tokenizer, pictures, beams=beams, max_length=32, captions=beams)
        assert_same(found, expected)
        assert len({ranked[0].text for ranked in found}) > 1

    @settings(max_examples=40, deadline=None)
    @given(
        seed=strategies.integers(0, 10_000),
        layers=strategies.tuples(strategies.integers(1, 3), strategies.integers(1, 3)),
        heads=strategies.sampled_from([1, 2, 4]),
        beams=strategies.integers(1, 6),
        batch=strategies.integers(1, 5),
        max_length=strategies.integers(2, 14),
        ending=strategies.floats(-0.2, 0.3),
    )
    def test_with_any_shape(
        self,
        seed: int,
        layers: tuple[int, int],
        heads: int,
        beams: int,
        batch: int,
        max_length: int,
        ending: float,
    ) -> None:
        tokenizer = tiny_tokenizer()
        torch.manual_seed(seed)
        config = small_config(
            tokenizer, image_size=32, vision=(8 * heads, layers[0], heads), text=(16 * heads, layers[1], heads)
        )
        # In float64, so that rounding does not decide between two beams: then one differs and both are right.
        model = build(config).eval().double()
        model.text_decoder.cls.predictions.bias.data[tokenizer.sep_token_id] += ending  # ends sooner or later
        pixels = torch.randn(batch, 3, 32, 32, dtype=torch.float64)

        expected = generate(model, tokenizer, pixels, beams=beams, max_length=max_length, captions=beams)
        found = Engine(model, tokenizer).caption(pixels, Search(beams=beams, max_length=max_length), captions=beams)

        assert_same(found, expected)

    @pytest.mark.parametrize("beams", [1, 3])
    def test_with_a_hybrid(self, beams: int) -> None:
        model, tokenizer = tiny_hybrid(), tiny_tokenizer()
        pixels = torch.randn(3, 3, 64, 64)

        expected = generate(model, tokenizer, pixels, beams=beams, max_length=10, captions=beams)
        found = Engine(model, tokenizer).caption(pixels, Search(beams=beams, max_length=10), captions=beams)

        assert_same(found, expected)

    def test_a_hybrid_s_stem_is_rounded_no_further_than_to_bf16(self) -> None:
        model, tokenizer, pixels = tiny_hybrid(), tiny_tokenizer(), torch.randn(2, 3, 64, 64)
        states = model.vision_model(pixels).last_hidden_state

        engine = Engine(model, tokenizer, "int8")

        assert model.vision_model.embeddings.patch_embedding.stem.first.weight.dtype in (torch.float32, torch.bfloat16)
        assert torch.allclose(engine._vision_encoder.encode(pixels), states, atol=0.1)

    @pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0])
    def test_with_another_length_penalty(self, demo: Student, pictures: torch.Tensor, penalty: float) -> None:
        found = Engine(demo.model, demo.tokenizer).caption(pictures, Search(length_penalty=penalty), captions=5)

        expected = generate(
            demo.model, demo.tokenizer, pictures, beams=5, max_length=32, captions=5, length_penalty=penalty
        )
        assert_same(found, expected)

    def test_with_a_shortest_length(self, demo: Student, pictures: torch.Tensor) -> None:
        found = Engine(demo.model, demo.tokenizer).caption(pictures, Search(min_length=18), captions=5)

        expected = generate(demo.model, demo.tokenizer, pictures, beams=5, max_length=32, captions=5, min_length=18)
        assert_same(found, expected)


class TestPrompt:
    def test_every_caption_begins_with_it(self, demo: Student, pictures: torch.Tensor) -> None:
        found = Engine(demo.model, demo.tokenizer).caption(pictures, Search(), prompt="two men")

        assert all(ranked[0].text.startswith("two men ") for ranked in found)

    def test_it_counts_for_the_length(self, demo: Student, pictures: torch.Tensor) -> None:
        found = Engine(demo.model, demo.tokenizer).caption(pictures, Search(max_length=5), prompt="two men")

        assert all(len(ranked[0].text.split()) <= 4 for ranked in found)


class TestEnd:
    def test_a_model_that_only_says_the_end_says_nothing(self) -> None:
        model, tokenizer = tiny_model(), tiny_tokenizer()
        model.text_decoder.cls.predictions.bias.data[tokenizer.sep_token_id] = 100.0

        ((best,),) = Engine(model, tokenizer).caption(torch.randn(1, 3, 32, 32), Search(beams=1))

        assert best.text == ""
        assert best.score == pytest.approx(0.0, abs=1e-3)

    def test_a_caption_does_not_depend_on_its_neighbours(self, demo: Student, pictures: torch.Tensor) -> None:
        engine = Engine(demo.model, demo.tokenizer)

        together = engine.caption(pictures, Search(), captions=5)

        assert_same(together, [engine.caption(picture[None], Search(), captions=5)[0] for picture in pictures])


class TestWeights:
    def bytes_of(self, model: BlipForConditionalGeneration) -> int:
        storages = {
            value.untyped_storage().data_ptr(): value.untyped_storage() for value in model.state_dict().values()
        }
        return sum(storage.nbytes() for storage in storages.values())

    def test_none_is_held_twice(self) -> None:
        model = tiny_model()
        before = self.bytes_of(model)

        Engine(model, tiny_tokenizer())

        assert self.bytes_of(model) == before

    def test_the_model_stays_what_it_was(self) -> None:
        model, other = tiny_model(), tiny_model()
        Engine(model, tiny_tokenizer())

        expected = other.state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())

    def test_training_on_is_seen(self) -> None:
        model, tokenizer = tiny_model(), tiny_tokenizer()
        engine, pixels = Engine(model, tokenizer), torch.randn(2, 3, 32, 32)
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.1)

        assert_same(engine.caption(pixels, Search()), Engine(model, tokenizer).caption(pixels, Search()))
