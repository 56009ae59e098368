"""The shapes a run can name, and logits that depend on the picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.support.models import tiny_config, tiny_model, tiny_tokenizer
from training.config import Config
from training.data import Batch
from training.models import logits, make_student, make_tokenizer, student_config

ALONE = {"teacher": "none", "alpha": 1.0}


def config(**changes: object) -> Config:
    return Config(**{**ALONE, **changes})  # type: ignore[arg-type]


class TestShapes:
    def test_seed_is_the_mission_s_student(self) -> None:
        shapes = student_config(config(), tiny_tokenizer())

        assert (shapes.vision_config.num_hidden_layers, shapes.text_config.num_hidden_layers) == (6, 6)
        assert (shapes.vision_config.image_size, shapes.text_config.vocab_size) == (384, 30524)

    def test_demo_has_the_tokenizer_s_vocabulary(self) -> None:
        tokenizer = tiny_tokenizer()

        assert student_config(config(student="demo"), tokenizer).text_config.vocab_size == len(tokenizer)

    def test_a_file_gives_any_other_shape(self, tmp_path: Path) -> None:
        path = tmp_path / "shape.json"
        path.write_text(json.dumps(tiny_config(tiny_tokenizer()).to_dict()))

        shapes = student_config(config(student=str(path)), tiny_tokenizer())

        assert (shapes.vision_config.hidden_size, shapes.text_config.hidden_size) == (32, 16)

    @pytest.mark.parametrize("student", ["seed", "demo"])
    def test_the_picture_s_side_can_be_chosen(self, student: str) -> None:
        shapes = student_config(config(student=student, image_size=64), tiny_tokenizer())

        assert shapes.vision_config.image_size == 64

    def test_the_seed_decides_the_weights(self, tmp_path: Path) -> None:
        path = tmp_path / "shape.json"
        path.write_text(json.dumps(tiny_config(tiny_tokenizer()).to_dict()))
        first, again, other = (
            make_student(config(student=str(path), seed=seed), tiny_tokenizer()).state_dict() for seed in (1, 1, 2)
        )

        assert all(torch.equal(first[name], again[name]) for name in first)
        assert not all(torch.equal(first[name], other[name]) for name in first)

    def test_a_small_student_learns_its_words_from_the_captions(self) -> None:
        tokenizer = make_tokenizer(config(student="demo"), lambda: ["a zebra stands", "a zebra runs"])

        assert "zebra" in tokenizer.get_vocab()


class TestLogits:
    def test_they_move_with_the_picture(self) -> None:
        model = tiny_model()
        tokens = torch.tensor([[5, 8, 9, 10, 3]])

        dark, light = (
            logits(model, Batch(torch.full((1, 3, 32, 32), level), tokens, torch.tensor([0]))) for level in (-1.0, 1.0)
        )

        assert dark.shape == (1, 4, model.config.text_config.vocab_size)
        assert (dark - light).abs().max() > 1e-4

    def test_a_caption_s_logits_do_not_depend_on_its_neighbours(self) -> None:
        model = tiny_model()
        pixels = torch.randn(2, 3, 32, 32)
        both = Batch(pixels, torch.tensor([[5, 8, 9, 3, 0], [5, 9, 9, 10, 3]]), torch.tensor([0, 1]))
        alone = Batch(pixels[:1], torch.tensor([[5, 8, 9, 3]]), torch.tensor([0]))

        assert torch.allclose(logits(model, both)[0, :3], logits(model, alone)[0], atol=1e-5)

    def test_each_caption_sees_its_owner_s_picture(self) -> None:
        model = tiny_model()
        pixels = torch.randn(2, 3, 32, 32)
        tokens = torch.tensor([[5, 8, 9, 3]] * 3)

        shared = logits(model, Batch(pixels, tokens, torch.tensor([1, 0, 1])))
        apart = logits(model, Batch(pixels[[1, 0, 1]], tokens, torch.arange(3)))

        assert torch.allclose(shared, apart, atol=1e-6)
