"""Initialisation of a student from its teacher's weights."""

from __future__ import annotations

import pytest
import torch
from transformers import BlipForConditionalGeneration

from captioning.student import build, small_config
from tests.support.models import tiny_hybrid, tiny_tokenizer
from training.init_from_teacher import evenly_spaced, start_from


def model(vision: tuple[int, int, int], text: tuple[int, int, int], seed: int = 0) -> BlipForConditionalGeneration:
    torch.manual_seed(seed)
    return build(small_config(tiny_tokenizer(), image_size=32, vision=vision, text=text))


@pytest.fixture
def teacher() -> BlipForConditionalGeneration:
    return model((32, 4, 4), (24, 3, 2), seed=7)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(student, teacher) for student, teacher in pairs)


def best(table: torch.Tensor, width: int) -> torch.Tensor:
    """How alike the rows are in the closest table of rank `width`."""
    left, sizes, right = torch.linalg.svd(table.double(), full_matrices=False)
    closest = (left[:, :width] * sizes[:width]) @ right[:width]
    alike: torch.Tensor = (closest @ closest.T).float()
    return alike


def table(model: BlipForConditionalGeneration) -> torch.Tensor:
    """All that a vision tower adds up before its first layer, a row of its width for each."""
    of = model.vision_model.embeddings
    patches = of.patch_embedding
    rows = [of.class_embedding[0], of.position_embedding[0], patches.weight.flatten(1).T, patches.bias[None]]
    return torch.cat(rows)


@pytest.mark.parametrize(
    ("teacher_layers", "student_layers", "expected"),
    [(12, 6, [0, 2, 4, 6, 8, 11]), (12, 3, [0, 5, 11]), (12, 1, [11]), (2, 2, [0, 1])],
)
def test_layers_are_evenly_spaced_and_include_the_last(
    teacher_layers: int, student_layers: int, expected: list[int]
) -> None:
    assert evenly_spaced(teacher_layers, student_layers) == expected


class TestSameWidth:
    def test_all_weights_but_the_omitted_layers_are_copied(self, teacher: BlipForConditionalGeneration) -> None:
        student = model((32, 2, 4), (24, 2, 2))

        start_from(teacher, student)

        for number, of in enumerate((0, 3)):
            assert same(student.vision_model.encoder.layers[number], teacher.vision_model.encoder.layers[of])
        for number, of in enumerate((0, 2)):
            assert same(student.text_decoder.bert.encoder.layer[number], teacher.text_decoder.bert.encoder.layer[of])
        assert same(student.vision_model.embeddings, teacher.vision_model.embeddings)
        assert same(student.vision_model.post_layernorm, teacher.vision_model.post_layernorm)
        assert same(student.text_decoder.bert.embeddings, teacher.text_decoder.bert.embeddings)
        assert same(student.text_decoder.cls, teacher.text_decoder.cls)

    def test_a_student_of_equal_shape_equals_the_teacher(self, teacher: BlipForConditionalGeneration) -> None:
        student = model((32, 4, 4), (24, 3, 2))

        start_from(teacher, student)

        assert same(student, teacher)


class TestOtherWidth:
    def test_projected_word_embeddings_keep_their_similarities(self, teacher: BlipForConditionalGeneration) -> None:
        student = model((32, 4, 4), (16, 3, 2))
        words = teacher.text_decoder.bert.embeddings.word_embeddings.weight
        positions = teacher.text_decoder.bert.embeddings.position_embeddings.weight

        start_from(teacher, student)

        found = student.text_decoder.bert.embeddings
        narrow = torch.cat([found.word_embeddings.weight, found.position_embeddings.weight])
        assert torch.allclose(narrow @ narrow.T, best(torch.cat([words, positions]), 16), atol=1e-5)

    def test_the_tower_of_equal_width_is_copied(self, teacher: BlipForConditionalGeneration) -> None:
        student = model((32, 4, 4), (16, 3, 2))
        untouched = {name: value.clone() for name, value in student.text_decoder.bert.encoder.state_dict().items()}

        start_from(teacher, student)

        assert same(student.vision_model, teacher.vision_model)
        found = student.text_decoder.bert.encoder.state_dict()
        assert all(torch.equal(found[name], untouched[name]) for name in untouched)

    def test_projected_patch_embeddings_keep_their_similarities(self, teacher: BlipForConditionalGeneration) -> None:
        student = model((16, 4, 4), (24, 3, 2))

        start_from(teacher, student)

        wide, narrow = (table(each) for each in (teacher, student))
        assert torch.allclose(narrow @ narrow.T, best(wide, 16), atol=1e-4)

    def test_a_wider_student_keeps_the_whole_embedding(self, teacher: BlipForConditionalGeneration) -> None:
        student = model((32, 4, 4), (32, 3, 2))
        words = teacher.text_decoder.bert.embeddings.word_embeddings.weight

        start_from(teacher, student)

        found = student.text_decoder.bert.embeddings.word_embeddings.weight
        assert torch.allclose(found @ found.T, words @ words.T, atol=1e-6)


class TestHybridTeacher:
    def student(self, layers: int) -> BlipForConditionalGeneration:
        torch.manual_seed(1)
        return build(
            small_config(tiny_tokenizer(), image_size=64, vision=(32, layers, 4), text=(16, 2, 2), patch_size=32)
        )

    def test_a_student_without_a_stem_copies_the_rest_of_a_hybrid(self) -> None:
        teacher, student = tiny_hybrid(seed=7), self.student(3)
        patches = student.vision_model.embeddings.patch_embedding.weight.clone()

        start_from(teacher, student)

        assert torch.equal(student.vision_model.embeddings.patch_embedding.weight, patches)
        of, to = teacher.vision_model, student.vision_model
        assert torch.equal(to.embeddings.position_embedding, of.embeddings.position_embedding)
        assert same(to.post_layernorm, of.post_layernorm)
        assert same(student.text_decoder, teacher.text_decoder)

    def test_a_deeper_student_ends_with_the_teacher_s_layers(self) -> None:
        teacher, student = tiny_hybrid(seed=7), self.student(3)
        first = {name: weight.clone() for name, weight in student.vision_model.encoder.layers[0].state_dict().items()}

        start_from(teacher, student)

        layers = student.vision_model.encoder.layers
        assert same(layers[2], teacher.vision_model.encoder.layers[0])
        assert all(torch.equal(weight, first[name]) for name, weight in layers[0].state_dict().items())
