"""The training loop from end to end, on drawn images."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path

import pytest
import torch

from tests.support.coco import write_coco
from tests.support.models import tiny_tokenizer
from tests.support.training import Run, teacher_folder, weights
from training.config import Config
from training.distill import images_of
from training.teacher import OnlineTeacher
from training.trainer import rate


@pytest.fixture
def run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Run:
    caplog.set_level(logging.INFO)
    return Run(tmp_path)


class TestEpochs:
    def test_each_epoch_writes_a_checkpoint_metrics_and_samples(
        self, run: Run, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = run.go(epochs=2)

        assert sorted(path.name for path in folder.glob("*.pt")) == ["student_epoch1.pt", "student_epoch2.pt"]
        entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert [entry["epoch"] for entry in entries] == [1, 2]
        assert entries[0]["measured"] == (
            f"2 images of 20% of coco:{run.folder / 'captions.json'}:{run.folder / 'images'}, beams 1, "
            "longest caption 8 tokens, tokenizer ptb-like"
        )
        assert entries[0].keys() >= {"bleu_1", "bleu_4", "rouge_l", "meteor_nltk", "cider", "cross_entropy", "kl"}
        samples = [record.message for record in caplog.records if record.message.startswith(("1: ", "2: "))]
        assert len(samples) == 4  # two validation images, two epochs

    def test_the_loss_falls(self, run: Run) -> None:
        folder = run.go(epochs=6)

        losses = [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert losses[-1] < 0.8 * losses[0]

    def test_the_worker_loads_a_checkpoint(self, run: Run) -> None:
        from captioning.student import load_student

        folder = run.go(epochs=1)

        student = load_student(folder / "student_epoch1.pt", processor="unused")
        loaded, saved = student.model.state_dict(), weights(folder / "student_epoch1.pt")
        assert all(torch.equal(loaded[name], saved[name]) for name in saved)
        assert (student.preprocessing.size, len(student.tokenizer)) == (32, len(tiny_tokenizer()))


class TestData:
    def test_captions_and_images_flags_equal_the_data_flag(self, run: Run) -> None:
        named = run.go("named", epochs=1)
        paired = run.go(
            "paired", epochs=1, data=[], captions=run.folder / "captions.json", images=run.folder / "images"
        )

        expected, found = (weights(folder / "student_epoch1.pt") for folder in (named, paired))
        assert all(torch.equal(expected[name], found[name]) for name in expected)

    def test_an_overlap_of_separate_validation_data_logs_a_warning(
        self, run: Run, caplog: pytest.LogCaptureFixture
    ) -> None:
        captions, images = write_coco(run.folder / "val", 3, first_id=109)

        folder = run.go(epochs=1, val_data=f"coco:{captions}:{images}")

        assert "1 of the 3 validation images are also training images (000000000109.jpg)" in caplog.text
        assert json.loads((folder / "metrics.jsonl").read_text())["measured"].startswith(f"3 images of coco:{captions}")

    @pytest.mark.parametrize(
        ("fraction", "found"),
        [
            (0.01, "--limit 12000 and --train-fraction 0.01 leave 0 to train on and 10 to validate on."),
            (0.99, "--limit 12000 and --train-fraction 0.99 leave 10 to train on and 0 to validate on."),
        ],
    )
    def test_a_split_with_an_empty_side_is_refused(self, run: Run, fraction: float, found: str) -> None:
        with pytest.raises(SystemExit) as refused:
            run.go(train_fraction=fraction)

        assert "There are 10 images with captions in coco:" in str(refused.value)
        assert found in str(refused.value)
        assert not (run.folder / "run").exists()

    def test_validation_data_without_captions_is_refused(self, run: Run) -> None:
        captions, images = write_coco(run.folder / "val", 3, captions=0)

        with pytest.raises(SystemExit, match=f"{captions} has 3 images and 0 captions"):
            run.go(val_data=f"coco:{captions}:{images}")

    def test_unreadable_validation_images_end_the_run(self, run: Run) -> None:
        captions, images = write_coco(run.folder / "val", 3, first_id=500)
        for path in images.iterdir():
            path.write_bytes(b"torn")

        with pytest.raises(SystemExit, match="None of the 3 validation images can be read"):
            run.go(epochs=1, val_data=f"coco:{captions}:{images}")

    def test_a_run_with_unreadable_images_resumes_exactly(self, run: Run) -> None:
        for number in (102, 105, 107):
            (run.folder / "images" / f"{number:012d}.jpg").write_bytes(b"torn")

        whole = run.go("whole", epochs=2, augment=True)
        run.go("parts", epochs=1, augment=True)
        parts = run.go("parts", epochs=2, augment=True, num_workers=2)

        expected, found = (weights(folder / "student_epoch2.pt") for folder in (whole, parts))
        assert all(torch.equal(expected[name], found[name]) for name in expected)


class TestRepeat:
    def sources(self, folder: Path) -> tuple[str, str]:
        first = write_coco(folder / "first", 3, first_id=200)
        second = write_coco(folder / "second", 2, first_id=100)
        return (f"coco:{first[0]}:{first[1]}", f"coco:{second[0]}:{second[1]}")

    def test_an_epoch_shows_the_images_of_a_data_set_as_often_as_asked(self, tmp_path: Path) -> None:
        sources = self.sources(tmp_path)

        train, val = images_of(Config(data=sources, val_data=sources, repeat=(1, 3), limit=0))

        assert len(train) == 3 + 3 * 2
        assert sorted(Counter(image.id for image in train).values()) == [1, 1, 1, 3, 3]
        assert len(val) == 5

    def test_repeated_images_are_not_split_between_training_and_validation(self, tmp_path: Path) -> None:
        train, val = images_of(Config(data=self.sources(tmp_path), repeat=(2, 2), limit=0))

        assert not {image.id for image in train} & {image.id for image in val}
        assert len(train) == 2 * (5 - len(val))


class TestResume:
    def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(self, run: Run) -> None:
        options = {"augment": True, "random_captions": True, "warmup_steps": 5, "clip": 1}
        whole = run.go("whole", epochs=3, **options)
        run.go("parts", epochs=1, **options)
        parts = run.go("parts", epochs=3, **options)

        expected, found = weights(whole / "student_epoch3.pt"), weights(parts / "student_epoch3.pt")
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected)

    def test_a_resumed_run_trains_only_the_missing_epochs(self, run: Run, caplog: pytest.LogCaptureFixture) -> None:
        folder = run.go(epochs=2)
        before = (folder / "student_epoch2.pt").stat().st_mtime_ns

        run.go(epochs=3)

        assert "of epoch 2 in" in caplog.text
        assert (folder / "student_epoch2.pt").stat().st_mtime_ns == before
        assert len((folder / "metrics.jsonl").read_text().splitlines()) == 3

    def test_a_complete_run_suggests_more_epochs(self, run: Run, caplog: pytest.LogCaptureFixture) -> None:
        run.go(epochs=1)
        run.go(epochs=1)

        assert "give a larger --epochs" in caplog.text

    def test_a_run_resumes_before_a_truncated_checkpoint(self, run: Run) -> None:
        folder = run.go(epochs=2)
        whole = weights(folder / "student_epoch2.pt")
        torn = folder / "student_epoch2.pt"
        torn.write_bytes(torn.read_bytes()[:5000])

        run.go(epochs=2)

        assert all(torch.equal(value, whole[name]) for name, value in weights(torn).items())

    def test_resume_never_starts_over(self, run: Run, caplog: pytest.LogCaptureFixture) -> None:
        run.go(epochs=1)
        run.go(epochs=1, resume="never")

        assert "Resuming" not in caplog.text

    def test_a_checkpoint_of_an_earlier_version_is_refused(self, run: Run) -> None:
        path = run.go(epochs=1) / "student_epoch1.pt"
        content = torch.load(path, weights_only=True)
        del content["steps"]
        torch.save(content, path)

        with pytest.raises(SystemExit, match="written by an earlier version"):
            run.go(epochs=2)

    def test_a_checkpoint_of_another_student_is_refused(self, run: Run) -> None:
        run.go(epochs=1)
        shape = run.folder / "shape.json"
        shapes = json.loads(shape.read_text())
        shapes["vision_config"]["num_hidden_layers"] = 1
        shape.write_text(json.dumps(shapes))

        with pytest.raises(SystemExit, match="run of another student"):
            run.go(epochs=2)


class TestTeacher:
    @pytest.fixture
    def teacher(self, tmp_path: Path) -> Path:
        return teacher_folder(tmp_path)

    def test_the_teacher_is_unchanged_and_the_kl_falls(self, run: Run, teacher: Path) -> None:
        before = {path.name: path.read_bytes() for path in teacher.iterdir()}

        folder = run.go(teacher=teacher, alpha=0, epochs=5)

        kl = [json.loads(line)["kl"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert kl[-1] < 0.5 * kl[0]
        assert {path.name: path.read_bytes() for path in teacher.iterdir()} == before

    def test_a_student_initialised_from_the_teacher_starts_with_low_kl(self, run: Run, teacher: Path) -> None:
        options = {"teacher": teacher, "alpha": 0, "epochs": 1, "lr": 1e-6}
        kl = [
            json.loads((run.go(init, init=init, **options) / "metrics.jsonl").read_text())["kl"]
            for init in ("teacher", "random")
        ]

        assert kl[0] < 1e-4 < kl[1]

    def test_the_teacher_is_not_run_for_a_loss_with_weight_zero(
        self, run: Run, teacher: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(OnlineTeacher, "predict", lambda self, batch: pytest.fail("asked"))

        folder = run.go(teacher=teacher, init="teacher", alpha=1, epochs=1)

        assert json.loads((folder / "metrics.jsonl").read_text())["kl"] == 0

    def test_the_beyond_recipe_runs_with_pseudo_captions(self, run: Run, teacher: Path) -> None:
        pseudo_captions = run.folder / "pseudo.jsonl"
        lines = [json.dumps({"picture": number, "caption": "a dog", "score": -1}) for number in range(100, 110)]
        pseudo_captions.write_text("\n".join([json.dumps({"teacher": "tiny"}), *lines, ""]))

        folder = run.go(recipe="beyond", teacher=teacher, alpha=0.5, pseudo_captions=pseudo_captions, epochs=1)

        config = torch.load(folder / "student_epoch1.pt", weights_only=True)["config"]
        assert (config["recipe"], config["schedule"], config["lr"]) == ("beyond", "cosine", 0.01)

    def test_teacher_parameters_require_no_gradient(self, teacher: Path) -> None:
        from training.config import Config
        from training.models import load_teacher

        loaded = load_teacher(Config(teacher=str(teacher)))

        assert loaded is not None
        assert not any(parameter.requires_grad for parameter in loaded.model.parameters())

    def test_a_teacher_with_another_image_size_is_refused(self, run: Run, teacher: Path) -> None:
        with pytest.raises(SystemExit, match="teacher's image_size is 32, the student's 64"):
            run.go(teacher=teacher, alpha=0.5, image_size=64)

    def test_a_missing_teacher_is_named(self, run: Run) -> None:
        with pytest.raises(SystemExit, match="cannot be loaded as a BLIP captioner"):
            run.go(teacher=run.folder / "nowhere", alpha=0.5)


class TestRate:
    @pytest.mark.parametrize(
        ("step", "schedule", "expected"),
        [
            (0, "constant", 0.25),
            (3, "constant", 1.0),
            (50, "constant", 1.0),
            (4, "cosine", 1.0),
            (8, "cosine", 0.5),
            (12, "cosine", 0.0),
        ],
    )
    def test_the_learning_rate_warms_up_and_follows_the_schedule(
        self, step: int, schedule: str, expected: float
    ) -> None:
        assert rate(step, 4, 12, schedule) == pytest.approx(expected)


def test_missing_data_ends_the_run_with_a_message(run: Run) -> None:
    with pytest.raises(SystemExit, match="no caption file"):
        run.go(data=f"coco:{run.folder / 'nowhere.json'}:{run.folder}")
