"""Training of a hybrid's stem: published weights, freezing, and cached features."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from captioning.errors import StudentError
from captioning.student import Student, preprocessing_of, save_folder, small_config
from tests.support.coco import read_coco, write_coco
from tests.support.models import tiny_config, tiny_hybrid, tiny_hybrid_config, tiny_model, tiny_tokenizer
from tests.support.training import Run, weights
from training import stem as of_training
from training.config import Config
from training.data.dataset import Collate, ImageCaptionDataset
from training.data.novel_objects import NovelObject
from training.distributed import Ranks
from training.features import KEY_BYTES
from training.models import make_student
from training.preemption import Stop
from training.stem import cached_features, freeze, parameter_groups, patches_of, published, start_from_published
from training.synthesis import Synthesis
from training.teacher import OnlineTeacher

NAME = "efficientnet-lite2"
PATCHES = "vision_model.embeddings.patch_embedding"
CLASSIFIER = f"{PATCHES}.classifier.weight"
#: Parameter names of the last block with a stride, and of the block before it.
TRAINED, KEPT = f"{PATCHES}.stem.blocks.15.expand.weight", f"{PATCHES}.stem.blocks.14.expand.weight"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path)
    (tmp_path / "shape.json").write_text(json.dumps(tiny_hybrid_config(tiny_tokenizer()).to_dict()))
    return run


def start(run: Run, **flags: object) -> Path:
    options = {"stem": NAME, "epochs": 1, "feature_cache": run.folder / "features", "lr": 0.001, "limit": 5}
    return run.go(**{**options, **flags})  # type: ignore[arg-type]


class TestPublishedWeights:
    def test_the_student_starts_from_published_weights(self) -> None:
        student = tiny_hybrid()

        start_from_published(student, NAME)

        assert torch.equal(
            student.state_dict()[f"{PATCHES}.stem.first.bias"],
            (published(NAME)["_bn0.bias"] - published(NAME)["_bn0.running_mean"] * scale()),
        )
        assert torch.equal(student.state_dict()[f"{PATCHES}.classifier.weight"], published(NAME)["_fc.weight"])

    def test_a_missing_package_is_reported_with_its_install_command(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(of_training.PACKAGES, NAME, ("no_such_package", "Nothing"))

        with pytest.raises(StudentError, match=r"pip install -e '.\[stem\]'"):
            published(NAME)

    def test_a_student_without_a_stem_is_refused(self) -> None:
        with pytest.raises(StudentError, match="does not fit a student whose stem is None"):
            start_from_published(tiny_model(), NAME)

    def test_a_hybrid_without_published_weights_is_refused(self) -> None:
        with pytest.raises(StudentError, match="use --stem efficientnet-lite2"):
            make_student(Config(teacher="none", alpha=1.0, student="demo"), tiny_tokenizer())


def scale() -> torch.Tensor:
    weights = published(NAME)
    return weights["_bn0.weight"] / (weights["_bn0.running_var"] + 1e-3).sqrt()


class TestTraining:
    def test_a_frozen_stem_keeps_its_published_weights(self, run: Run) -> None:
        trained = weights(start(run) / "student_epoch1.pt")

        expected = tiny_hybrid()
        start_from_published(expected, NAME)
        of_stem = {key: w for key, w in expected.state_dict().items() if ".stem." in key or ".classifier." in key}
        assert all(torch.equal(trained[key], weight) for key, weight in of_stem.items())

    def test_a_stem_learning_rate_trains_only_the_last_blocks(self, run: Run) -> None:
        trained = weights(start(run, stem_lr=1e-3) / "student_epoch1.pt")

        expected = tiny_hybrid()
        start_from_published(expected, NAME)
        assert not torch.equal(trained[TRAINED], expected.state_dict()[TRAINED])
        assert torch.equal(trained[KEPT], expected.state_dict()[KEPT])
        assert torch.equal(trained[CLASSIFIER], expected.state_dict()[CLASSIFIER])

    def test_parameter_groups_are_disjoint(self) -> None:
        student = tiny_hybrid()
        freeze(student, trained=True)

        rest, of_stem = (group["params"] for group in parameter_groups(student))

        assert {id(each) for each in rest} & {id(each) for each in of_stem} == set()
        assert all(each.requires_grad for each in of_stem)
        freeze(student, trained=False)
        assert len(parameter_groups(student)) == 1

    def test_a_resumed_run_ends_with_the_same_weights(self, run: Run) -> None:
        whole = start(run, checkpoints="whole", epochs=2, stem_lr=1e-4, augment=True, views=2)
        start(run, checkpoints="parts", stem_lr=1e-4, augment=True, views=2)

        parts = start(run, checkpoints="parts", epochs=2, stem_lr=1e-4, augment=True, views=2)

        expected, found = (weights(folder / "student_epoch2.pt") for folder in (whole, parts))
        assert all(torch.equal(expected[key], found[key]) for key in expected)


class TestCachedFeatures:
    def cached_features(self, folder: Path, **options: object) -> tuple[ImageCaptionDataset, ImageCaptionDataset]:
        """A data set that gives pixels, and the same giving features."""
        student = tiny_hybrid()
        freeze(student, trained=True)
        captions, images = write_coco(folder, 3)
        (images / "000000000102.jpg").write_bytes(b"torn")
        plain, featured = (
            ImageCaptionDataset(
                read_coco(captions, images),
                tiny_tokenizer(),
                preprocessing_of(student.config),
                **options,  # type: ignore[arg-type]
            )
            for _ in range(2)
        )
        config = Config(feature_cache=folder / "features", **options)  # type: ignore[arg-type]
        featured.use_features(cached_features(student, featured, config, Ranks(), Stop()))
        self.student = student
        return plain, featured

    @pytest.mark.parametrize("options", [{}, {"augment": True, "views": 2}])
    def test_features_give_the_same_patches_as_pixels(self, tmp_path: Path, options: dict[str, object]) -> None:
        plain, featured = self.cached_features(tmp_path, **options)
        patches = patches_of(self.student)
        assert patches is not None

        for epoch in (1, 2):
            plain.set_epoch(epoch)
            featured.set_epoch(epoch)
            pixels, features = (torch.from_numpy(data[0].pixels)[None] for data in (plain, featured))
            assert features.shape == (1, 120, 4, 4)
            with torch.no_grad():
                assert torch.allclose(patches(features), patches(pixels), atol=0.02)  # float16 on disk

    def test_the_next_readable_image_replaces_an_unreadable_one(self, tmp_path: Path) -> None:
        _, featured = self.cached_features(tmp_path)

        assert np.array_equal(featured[2].pixels, featured[0].pixels)
        assert featured[2].captions == featured[0].captions

    def test_epochs_cycle_through_the_views(self, tmp_path: Path) -> None:
        _, featured = self.cached_features(tmp_path, augment=True, views=2)
        seen = []
        for epoch in range(1, 5):
            featured.set_epoch(epoch)
            seen.append(featured[0].pixels.tobytes())

        assert seen[:2] == seen[2:]
        assert seen[0] != seen[1]

    @pytest.mark.parametrize("options", [{}, {"augment": True, "views": 2}])
    def test_a_teacher_predicts_the_same_from_features_as_from_pixels(
        self, tmp_path: Path, options: dict[str, object]
    ) -> None:
        teacher, tokenizer = tiny_hybrid(), tiny_tokenizer()
        freeze(teacher, trained=False)
        data = ImageCaptionDataset(
            read_coco(*write_coco(tmp_path, 3)),
            tokenizer,
            preprocessing_of(teacher.config),
            **options,  # type: ignore[arg-type]
        )
        config = Config(feature_cache=tmp_path / "features", **options)  # type: ignore[arg-type]
        data.use_teacher_features(cached_features(teacher, data, config, Ranks(), Stop()))
        data.set_epoch(1)

        batch = Collate(tokenizer.pad_token_id)([data[0], data[2]])

        assert batch.pixels.shape == (2, 3, 64, 64)
        assert batch.for_teacher is not None
        assert batch.for_teacher.shape == (2, 352, 2, 2)
        asked = OnlineTeacher(Student(teacher, tokenizer, "teacher", "1", False), config)
        of_features, of_pixels = asked.predict(batch), asked.predict(replace(batch, for_teacher=None))
        assert isinstance(of_features.logits, torch.Tensor)
        assert isinstance(of_pixels.logits, torch.Tensor)
        assert torch.allclose(of_features.logits, of_pixels.logits, atol=0.02)  # float16 on disk

    def test_a_run_caches_the_features_of_a_hybrid_teacher(self, run: Run) -> None:
        teacher = run.folder / "teacher"
        save_folder(tiny_hybrid(seed=3), tiny_tokenizer(), teacher)
        (run.folder / "vit.json").write_text(
            json.dumps(
                small_config(
                    tiny_tokenizer(), image_size=64, vision=(32, 2, 4), text=(16, 2, 2), patch_size=32
                ).to_dict()
            )
        )

        start(
            run,
            student=run.folder / "vit.json",
            stem="none",
            teacher=teacher,
            alpha=0.5,
            image_mse=1,
            init="teacher",
            tokenizer=[],
            augment=True,
            views=2,
        )

        assert [path.stat().st_size > 0 for path in (run.folder / "features").rglob("*.features")] == [True]

    def test_the_features_of_a_repeated_image_are_computed_once(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(of_training, "CHUNK_SIZE", 1)
        start(run, augment=True, views=1, repeat=3)

        (keys,) = (run.folder / "features").rglob("*.keys")
        assert keys.stat().st_size == 4 * KEY_BYTES  # 80% of 5 images train

    def test_a_second_run_reads_all_features_from_the_cache(self, run: Run) -> None:
        start(run, augment=True, views=1)
        before = sorted((run.folder / "features").rglob("*.keys"))

        start(run, checkpoints="other", augment=True, views=1)

        assert sorted((run.folder / "features").rglob("*.keys")) == before


class TestNovelObjects:
    @pytest.fixture
    def made(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Views of the novel objects whose features were asked for. They are those of the backgrounds."""
        views: list[str] = []

        def features(
            self: Synthesis, examples: dict[str, tuple[NovelObject, torch.Tensor]]
        ) -> dict[str, NDArray[np.float16]]:
            views.extend(examples)
            return {view: background.half().numpy() for view, (_, background) in examples.items()}

        monkeypatch.setattr(Synthesis, "features", features)
        return views

    def test_a_run_makes_features_of_objects_that_its_captions_do_not_name(self, run: Run, made: list[str]) -> None:
        start(run, novel_objects=1, augment=True, views=2, epochs=2)

        assert len(set(made)) == len(made) == 31 * 2  # the images show fields, but no table
        assert any(view.startswith("view 1 of novel object owl 0 ") for view in made)
        keys = sum(path.stat().st_size for path in (run.folder / "features").rglob("*.keys"))
        assert keys / KEY_BYTES == (31 + 4) * 2  # 80% of 5 images train

    def test_a_second_run_reads_them_from_the_cache(self, run: Run, made: list[str]) -> None:
        start(run, novel_objects=1)
        before = len(made)

        start(run, checkpoints="other", novel_objects=1)

        assert len(made) == before

    def test_a_novel_object_without_its_background_is_left_out(self, run: Run, made: list[str]) -> None:
        (run.folder / "images" / "000000000100.jpg").write_bytes(b"torn")

        start(run, novel_objects=4)

        assert 0 < len(made) < 31 * 4

    def test_examples_without_features_are_replaced_by_the_next(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Synthesis, "features", lambda self, examples: {})

        assert (start(run, novel_objects=1) / "student_epoch1.pt").exists()


@pytest.mark.parametrize("flags", [{"novel_objects": 1}, {"classes_only": 0.5}])
def test_settings_that_need_a_stem_are_refused_for_a_student_without_one(run: Run, flags: dict[str, object]) -> None:
    (run.folder / "shape.json").write_text(json.dumps(tiny_config(tiny_tokenizer()).to_dict()))

    with pytest.raises(SystemExit, match="--novel-objects and --classes-only need a student with a stem"):
        start(run, stem="none", **flags)
