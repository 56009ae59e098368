"""Configurations and initial weights of teacher and student."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from captioning.errors import StudentError
from captioning.student import build, preprocessing_of, small_config
from tests.support.models import tiny_config, tiny_hybrid, tiny_hybrid_config, tiny_model, tiny_tokenizer
from training.config import Config
from training.models import make_student, make_tokenizer, student_config

ALONE = {"teacher": "none", "alpha": 1.0}


def config(**changes: object) -> Config:
    return Config(**{**ALONE, **changes})  # type: ignore[arg-type]


class TestStudent:
    def test_seed_is_the_deployed_student_s_configuration(self) -> None:
        shapes = student_config(config(), tiny_tokenizer())

        assert (shapes.vision_config.num_hidden_layers, shapes.text_config.num_hidden_layers) == (6, 6)
        assert (shapes.vision_config.image_size, shapes.text_config.vocab_size) == (384, 30524)

    def test_demo_has_the_tokenizer_s_vocabulary(self) -> None:
        tokenizer = tiny_tokenizer()

        assert student_config(config(student="demo"), tokenizer).text_config.vocab_size == len(tokenizer)

    def test_a_json_file_gives_the_configuration(self, tmp_path: Path) -> None:
        path = tmp_path / "shape.json"
        path.write_text(json.dumps(tiny_config(tiny_tokenizer()).to_dict()))

        shapes = student_config(config(student=str(path)), tiny_tokenizer())

        assert (shapes.vision_config.hidden_size, shapes.text_config.hidden_size) == (32, 16)

    @pytest.mark.parametrize("student", ["seed", "demo"])
    def test_image_size_sets_the_side(self, student: str) -> None:
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

    def test_a_small_student_trains_its_tokenizer_on_the_captions(self) -> None:
        tokenizer = make_tokenizer(config(student="demo"), lambda: ["a zebra stands", "a zebra runs"])

        assert "zebra" in tokenizer.get_vocab()

    def test_flags_modify_the_configuration(self) -> None:
        chosen = config(
            student_vision_layers=12,
            student_text_layers=3,
            student_text_hidden=768,
            student_text_heads=12,
            student_text_ffn=3072,
        )

        shapes = student_config(chosen, tiny_tokenizer())

        assert shapes.vision_config.num_hidden_layers == 12
        text = shapes.text_config
        assert (text.num_hidden_layers, text.hidden_size, text.num_attention_heads) == (3, 768, 12)
        assert text.intermediate_size == 3072

    def test_heads_that_do_not_divide_the_width_are_refused(self) -> None:
        with pytest.raises(StudentError, match="width 512 cannot have 7"):
            student_config(config(student_text_heads=7), tiny_tokenizer())

    def test_a_missing_file_is_named(self) -> None:
        with pytest.raises(StudentError, match="neither a name nor a readable BlipConfig"):
            student_config(config(student="nobody"), tiny_tokenizer())


class TestHybrid:
    def test_demo_has_a_stem_and_vit_equals_it_without_one(self) -> None:
        hybrid, plain = (
            student_config(config(student=name), tiny_tokenizer()).vision_config for name in ("demo", "vit")
        )

        assert hybrid.stem == "efficientnet-lite2"
        assert not hasattr(plain, "stem")
        assert (hybrid.image_size, hybrid.patch_size) == (plain.image_size, plain.patch_size) == (256, 32)

    def test_a_plain_student_takes_the_normalisation_of_its_hybrid_teacher(self, tmp_path: Path) -> None:
        tokenizer, teacher = tiny_tokenizer(), tiny_hybrid()
        shapes = tiny_config(tokenizer).to_dict()
        shapes["vision_config"] |= {"image_size": 64}
        path = tmp_path / "shape.json"
        path.write_text(json.dumps(shapes))

        student = make_student(Config(student=str(path)), tokenizer, teacher)

        assert preprocessing_of(student.config) == preprocessing_of(teacher.config)

    def test_a_student_with_another_normalisation_is_refused(self, tmp_path: Path) -> None:
        tokenizer = tiny_tokenizer()
        teacher = build(small_config(tokenizer, image_size=64, vision=(32, 1, 4), text=(16, 2, 2)))
        path = tmp_path / "shape.json"
        path.write_text(json.dumps(tiny_hybrid_config(tokenizer).to_dict()))

        with pytest.raises(StudentError, match="normalise images differently"):
            make_student(Config(student=str(path), stem="efficientnet-lite2"), tokenizer, teacher)

    def test_dropout_applies_to_the_text_decoder(self) -> None:
        shapes = student_config(config(student="demo", dropout=0.3), tiny_tokenizer())

        assert shapes.text_config.hidden_dropout_prob == 0.3


def test_image_states_of_different_width_are_refused(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    shapes = tiny_config(tokenizer).to_dict()
    shapes["vision_config"] |= {"hidden_size": 16}
    path = tmp_path / "shape.json"
    path.write_text(json.dumps(shapes))

    with pytest.raises(StudentError, match="width 32, the student's 16"):
        make_student(Config(student=str(path), image_mse=1.0), tokenizer, tiny_model())


class TestWeightsOfAFile:
    def test_the_student_starts_from_the_file_s_weights(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CAPTIOND_TEXT_HEADS", "2")
        monkeypatch.setenv("CAPTIOND_VISION_HEADS", "4")
        model = tiny_model(seed=3)
        torch.save(model.state_dict(), tmp_path / "student.pt")

        student = make_student(config(student=str(tmp_path / "student.pt")), tiny_tokenizer())

        found, expected = student.state_dict(), model.state_dict()
        assert all(torch.equal(found[name], expected[name]) for name in expected)

    def test_a_file_with_a_tokenizer_keeps_it(self, tmp_path: Path) -> None:
        tokenizer = tiny_tokenizer()
        path = tmp_path / "student.pt"
        content = {"model": tiny_model().state_dict(), "model_config": tiny_config(tokenizer).to_dict()}
        torch.save({**content, "tokenizer": tokenizer.backend_tokenizer.to_str()}, path)

        found = make_tokenizer(config(student=str(path)), lambda: [])

        assert found.get_vocab() == tokenizer.get_vocab()
