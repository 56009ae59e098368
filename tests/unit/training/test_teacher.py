"""The cached teacher predicts the same as the online teacher, from disk, also after a crash."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from captioning.errors import StudentError
from captioning.preprocessing import Preprocessing
from captioning.student import Student, load_student
from tests.support.coco import write_coco
from tests.support.training import Run, teacher_folder, weights
from training.config import Config
from training.data import formats
from training.data.dataset import Batch, Collate, ImageCaptionDataset
from training.data.images import CaptionedImage
from training.losses import TopK, distillation_loss
from training.teacher import OnlineTeacher, Teacher, make_teacher
from training.teacher_cache import TOP_K, TeacherCache, cache_key

OF = {"teacher": "sha256:1"}


def rows(cache: TeacherCache, tokens: int, seed: int = 0) -> NDArray[np.void]:
    generator = torch.Generator().manual_seed(seed)
    return cache.rows(torch.randn(tokens, 200, generator=generator), 1.0)


def values(found: TopK) -> list[float]:
    return [round(value, 4) for value in found.log_probabilities.flatten().tolist()]


class TestTeacherCache:
    def test_logits_that_are_not_finite_are_refused(self, tmp_path: Path) -> None:
        logits = torch.zeros(2, 200)
        logits[1, 3] = torch.nan

        with pytest.raises(StudentError, match="The teacher's logits are not finite"):
            TeacherCache(tmp_path, {}, 200).rows(logits, 1.0)

    def test_written_tokens_are_read_by_the_next_process(self, tmp_path: Path) -> None:
        cache = TeacherCache(tmp_path, OF, 200)
        for number in range(3):
            cache.add(cache_key("1/a.jpg", [number]), rows(cache, 2 + number, number))
        before = values(cache.get([cache_key("1/a.jpg", [2]), cache_key("1/a.jpg", [0])], torch.device("cpu")))
        cache.write()

        again = TeacherCache(tmp_path, OF, 200)

        found = again.get([cache_key("1/a.jpg", [2]), cache_key("1/a.jpg", [0])], torch.device("cpu"))
        assert found.ids.shape == (4 + 2, TOP_K)
        assert values(found) == before
        assert values(cache.get([cache_key("1/a.jpg", [2]), cache_key("1/a.jpg", [0])], torch.device("cpu"))) == before

    def test_files_of_several_processes_are_merged(self, tmp_path: Path) -> None:
        for number in range(2):
            cache = TeacherCache(tmp_path, OF, 200)
            for caption in range(2):
                cache.add(cache_key("1/a.jpg", [number, caption]), rows(cache, 2))
                cache.write()

        assert len(TeacherCache(tmp_path, OF, 200)) == 4

    @pytest.mark.parametrize(("suffix", "cut"), [(".words", 1), (".captions", 3), (".captions", 20)])
    def test_a_truncated_file_loses_only_its_end(self, tmp_path: Path, suffix: str, cut: int) -> None:
        cache = TeacherCache(tmp_path, OF, 200)
        for number in range(3):
            cache.add(cache_key("1/a.jpg", [number]), rows(cache, 2, number))
        cache.write()
        (path,) = tmp_path.glob(f"*/*{suffix}")
        path.write_bytes(path.read_bytes()[:-cut])

        again = TeacherCache(tmp_path, OF, 200)

        assert [cache_key("1/a.jpg", [number]) in again for number in range(3)] == [True, True, False]
        expected = values(cache.get([cache_key("1/a.jpg", [1])], torch.device("cpu")))
        assert values(again.get([cache_key("1/a.jpg", [1])], torch.device("cpu"))) == expected

    def test_each_teacher_has_its_own_cache(self, tmp_path: Path) -> None:
        cache = TeacherCache(tmp_path, OF, 200)
        cache.add(cache_key("1/a.jpg", [1]), rows(cache, 2))
        cache.write()

        assert len(TeacherCache(tmp_path, {"teacher": "sha256:2"}, 200)) == 0

    def test_ids_of_a_large_vocabulary_are_stored_exactly(self, tmp_path: Path) -> None:
        cache = TeacherCache(tmp_path, OF, 70_000)
        logits = torch.zeros(1, 70_000)
        logits[0, 69_999] = 9.0

        cache.add(b"k" * 16, cache.rows(logits, 1.0))

        assert cache.get([b"k" * 16], torch.device("cpu")).ids[0, 0].item() == 69_999

    def test_probabilities_add_up_to_one(self, tmp_path: Path) -> None:
        cache = TeacherCache(tmp_path, OF, 200)
        cache.add(b"k" * 16, rows(cache, 5))

        found = cache.get([b"k" * 16], torch.device("cpu"))

        total = found.log_probabilities.exp().sum(-1) + found.rest.exp()
        assert total.tolist() == pytest.approx([1.0] * 5, abs=1e-6)


@pytest.fixture
def student(tmp_path: Path) -> Student:
    return load_student(teacher_folder(tmp_path), processor="unused")


@pytest.fixture
def images(tmp_path: Path) -> list[CaptionedImage]:
    captions, image_folder = write_coco(tmp_path, 6)
    return formats.read([f"coco:{captions}:{image_folder}"])


def batch_of(
    images: list[CaptionedImage], student: Student, *, augment: bool = False
) -> tuple[Batch, ImageCaptionDataset]:
    data = ImageCaptionDataset(images, student.tokenizer, Preprocessing(32), captions_per_image=2, augment=augment)
    return Collate(0)([data[index] for index in (3, 1, 4)]), data


@pytest.fixture
def make(tmp_path: Path, student: Student, images: list[CaptionedImage]) -> Callable[..., Teacher]:
    def made(plain: Callable[[int], NDArray[np.float32]], **changes: object) -> Teacher:
        given = {"teacher_cache": tmp_path / "cache", **changes}
        config = Config(teacher_logits="cache", **given)  # type: ignore[arg-type]
        return make_teacher(student, config, images, plain)

    return made


class TestCachedTeacher:
    def test_the_loss_equals_the_online_loss_with_the_rest_merged(
        self, make: Callable[..., Teacher], student: Student, images: list[CaptionedImage]
    ) -> None:
        batch, data = batch_of(images, student)
        online = OnlineTeacher(student, Config()).predict(batch).logits
        cached = make(data.plain).predict(batch).logits

        assert isinstance(online, torch.Tensor) and isinstance(cached, TopK)
        logits, targets = torch.randn_like(online), torch.zeros(len(online), dtype=torch.long)
        teachers, students = online.softmax(-1), logits.softmax(-1)
        teachers, students = (
            torch.cat([each.gather(1, cached.ids), 1 - each.gather(1, cached.ids).sum(1, keepdim=True)], dim=1)
            for each in (teachers, students)
        )
        by_hand = (teachers * (teachers / students).log()).sum().item()
        assert distillation_loss(logits, cached, targets).kl.item() == pytest.approx(by_hand, rel=1e-3)
        assert by_hand <= distillation_loss(logits, online, targets).kl.item()

    def test_the_model_runs_once_per_caption(
        self,
        make: Callable[..., Teacher],
        student: Student,
        images: list[CaptionedImage],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        batch, data = batch_of(images, student)
        first = make(data.plain)
        before = first.predict(batch).logits
        first.flush()
        monkeypatch.setattr(OnlineTeacher, "predict", lambda self, batch: pytest.fail("ran again"))

        for teacher in (first, make(data.plain)):
            found = teacher.predict(batch).logits
            assert isinstance(found, TopK) and isinstance(before, TopK)
            assert torch.equal(found.ids, before.ids) and torch.equal(found.rest, before.rest)

    def test_flush_logs_the_cached_probability_mass(
        self,
        make: Callable[..., Teacher],
        student: Student,
        images: list[CaptionedImage],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        batch, data = batch_of(images, student)
        online = OnlineTeacher(student, Config()).predict(batch).logits
        assert isinstance(online, torch.Tensor)
        teacher = make(data.plain, temperature=2.0)

        with caplog.at_level(logging.INFO, "training"):
            teacher.predict(batch)
            teacher.flush()
            teacher.flush()

        held = (online / 2).softmax(-1).topk(TOP_K).values.sum(-1).mean().item()
        (message,) = caplog.messages
        assert f"for {len(online)} tokens; the top {TOP_K} words of each hold {100 * held:.0f}% of" in message

    def test_the_model_runs_only_on_missing_captions(
        self, make: Callable[..., Teacher], student: Student, images: list[CaptionedImage], tmp_path: Path
    ) -> None:
        batch, data = batch_of(images, student)
        part = Collate(0)([data[1]])
        teacher = make(data.plain)
        teacher.predict(part)

        found = teacher.predict(batch).logits

        expected = make(data.plain, teacher_cache=tmp_path / "other").predict(batch)
        assert isinstance(found, TopK) and isinstance(expected.logits, TopK)
        assert torch.equal(found.ids[:, :8], expected.logits.ids[:, :8])

    def test_an_augmented_image_has_the_predictions_of_the_plain_image(
        self, make: Callable[..., Teacher], student: Student, images: list[CaptionedImage]
    ) -> None:
        plain, _ = batch_of(images, student)
        augmented, data = batch_of(images, student, augment=True)
        assert not torch.equal(plain.pixels, augmented.pixels)

        found = make(data.plain, augment=True).predict(augmented).logits

        expected = OnlineTeacher(student, Config()).predict(plain).logits
        assert isinstance(found, TopK) and isinstance(expected, torch.Tensor)
        assert torch.equal(found.ids[:, :8], expected.topk(8).indices)

    @pytest.mark.parametrize("change", [{"temperature": 2.0}, {"teacher_precision": "bf16"}])
    def test_settings_that_change_predictions_use_another_cache(
        self,
        make: Callable[..., Teacher],
        student: Student,
        images: list[CaptionedImage],
        tmp_path: Path,
        change: object,
    ) -> None:
        batch, data = batch_of(images, student)
        for changes in ({}, change):
            teacher = make(data.plain, **changes)  # type: ignore[arg-type]
            teacher.predict(batch)
            teacher.flush()

        assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_run_with_a_cached_teacher_learns_like_one_online(tmp_path: Path) -> None:
    run = Run(tmp_path)
    options = {"teacher": teacher_folder(tmp_path), "alpha": 0.5, "epochs": 2, "lr": 0.003}

    online = run.go("online", **options)
    cached = run.go("cached", teacher_logits="cache", teacher_cache=tmp_path / "cache", **options)

    name = "text_decoder.cls.predictions.transform.dense.weight"
    one, other = (weights(each / "student_epoch2.pt")[name] for each in (online, cached))
    assert torch.allclose(one, other, atol=0.01)
