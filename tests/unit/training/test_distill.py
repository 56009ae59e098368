"""The training loop from end to end, on pictures that are drawn."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.coco import write_coco
from tests.support.models import tiny_config, tiny_model, tiny_tokenizer
from training import distill
from training.distill import rate


class Run:
    """A run in a folder of its own; `epochs` and other flags are given each time."""

    def __init__(self, folder: Path) -> None:
        captions, images = write_coco(folder, 10)
        (folder / "shape.json").write_text(json.dumps(tiny_config(tiny_tokenizer()).to_dict()))
        tiny_tokenizer().save_pretrained(folder / "tokenizer")
        self.folder = folder
        self._flags: dict[str, Any] = {
            "data": f"coco:{captions}:{images}",
            "student": folder / "shape.json",
            "tokenizer": folder / "tokenizer",
            "teacher": "none",
            "alpha": 1,
            "batch-size": 4,
            "lr": 0.01,
            "num-workers": 0,
            "device": "cpu",
            "beams": 1,
            "max-length": 8,
        }

    def go(self, checkpoints: str = "run", **flags: Any) -> Path:
        """Train; the folder of the checkpoints."""
        folder = self.folder / checkpoints
        given = self._flags | {name.replace("_", "-"): value for name, value in flags.items()}
        arguments = [
            word
            for name, value in given.items()
            for word in ([f"--{name}"] if value is True else [f"--{name}", str(value)] if value != [] else [])
        ]
        distill.main([*arguments, "--checkpoints", str(folder)])
        return folder


@pytest.fixture
def run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Run:
    caplog.set_level(logging.INFO)
    return Run(tmp_path)


def weights(path: Path) -> dict[str, torch.Tensor]:
    content: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["model"]
    return content


class TestEpochs:
    def test_each_leaves_a_checkpoint_its_metrics_and_samples(self, run: Run, caplog: pytest.LogCaptureFixture) -> None:
        folder = run.go(epochs=2)

        assert sorted(path.name for path in folder.glob("*.pt")) == ["student_epoch1.pt", "student_epoch2.pt"]
        entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert [entry["epoch"] for entry in entries] == [1, 2]
        assert entries[0]["measured"] == (
            f"2 pictures of 20% of coco:{run.folder / 'captions.json'}:{run.folder / 'images'}, beams 1, "
            "longest caption 8 tokens, tokenizer ptb-like"
        )
        assert entries[0].keys() >= {"bleu_1", "bleu_4", "rouge_l", "meteor_nltk", "cider", "cross_entropy", "kl"}
        samples = [record.message for record in caplog.records if record.message.startswith(("1: ", "2: "))]
        assert len(samples) == 4  # two validation pictures, two epochs

    def test_the_loss_falls(self, run: Run) -> None:
        folder = run.go(epochs=6)

        losses = [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert losses[-1] < 0.8 * losses[0]

    def test_a_checkpoint_is_a_model_that_the_worker_loads(self, run: Run) -> None:
        from common.student import load_student

        folder = run.go(epochs=1)

        student = load_student(folder / "student_epoch1.pt", processor="unused")
        loaded, saved = student.model.state_dict(), weights(folder / "student_epoch1.pt")
        assert all(torch.equal(loaded[name], saved[name]) for name in saved)
        assert (student.image_size, len(student.tokenizer)) == (32, len(tiny_tokenizer()))


class TestData:
    def test_captions_and_images_name_the_same_set_as_data_does(self, run: Run) -> None:
        named = run.go("named", epochs=1)
        paired = run.go(
            "paired", epochs=1, data=[], captions=run.folder / "captions.json", images=run.folder / "images"
        )

        expected, found = (weights(folder / "student_epoch1.pt") for folder in (named, paired))
        assert all(torch.equal(expected[name], found[name]) for name in expected)

    def test_validation_pictures_of_their_own_are_compared_with_the_training_s(
        self, run: Run, caplog: pytest.LogCaptureFixture
    ) -> None:
        captions, images = write_coco(run.folder / "val", 3, first_id=109)

        folder = run.go(epochs=1, val_data=f"coco:{captions}:{images}")

        assert "1 of the 3 pictures that are scored are trained on as well (000000000109.jpg)" in caplog.text
        assert json.loads((folder / "metrics.jsonl").read_text())["measured"].startswith(
            f"3 pictures of coco:{captions}"
        )

    def test_a_torn_picture_costs_itself_only_and_a_resume_stays_exact(self, run: Run) -> None:
        for number in (102, 105, 107):
            (run.folder / "images" / f"{number:012d}.jpg").write_bytes(b"torn")

        whole = run.go("whole", epochs=2, augment=True)
        run.go("parts", epochs=1, augment=True)
        parts = run.go("parts", epochs=2, augment=True, num_workers=2)

        expected, found = (weights(folder / "student_epoch2.pt") for folder in (whole, parts))
        assert all(torch.equal(expected[name], found[name]) for name in expected)


class TestResume:
    def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(self, run: Run) -> None:
        options = {"augment": True, "random_captions": True, "warmup_steps": 5, "clip": 1}
        whole = run.go("whole", epochs=3, **options)
        run.go("parts", epochs=1, **options)
        parts = run.go("parts", epochs=3, **options)

        expected, found = weights(whole / "student_epoch3.pt"), weights(parts / "student_epoch3.pt")
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected)

    def test_only_the_missing_epochs_are_run_and_it_says_so(self, run: Run, caplog: pytest.LogCaptureFixture) -> None:
        folder = run.go(epochs=2)
        before = (folder / "student_epoch2.pt").stat().st_mtime_ns

        run.go(epochs=3)

        assert "Resuming after epoch 2" in caplog.text
        assert (folder / "student_epoch2.pt").stat().st_mtime_ns == before
        assert len((folder / "metrics.jsonl").read_text().splitlines()) == 3

    def test_a_finished_run_says_how_to_go_on(self, run: Run, caplog: pytest.LogCaptureFixture) -> None:
        run.go(epochs=1)
        run.go(epochs=1)

        assert "give a larger --epochs" in caplog.text

    def test_it_goes_on_before_a_torn_checkpoint(self, run: Run) -> None:
        folder = run.go(epochs=2)
        whole = weights(folder / "student_epoch2.pt")
        torn = folder / "student_epoch2.pt"
        torn.write_bytes(torn.read_bytes()[:5000])

        run.go(epochs=2)

        assert all(torch.equal(value, whole[name]) for name, value in weights(torn).items())

    def test_never_starts_over(self, run: Run, caplog: pytest.LogCaptureFixture) -> None:
        run.go(epochs=1)
        run.go(epochs=1, resume="never")

        assert "Resuming" not in caplog.text

    def test_a_folder_of_another_student_is_refused(self, run: Run) -> None:
        run.go(epochs=1)
        shape = run.folder / "shape.json"
        shapes = json.loads(shape.read_text())
        shapes["vision_config"]["num_hidden_layers"] = 1
        shape.write_text(json.dumps(shapes))

        with pytest.raises(SystemExit, match="of another student"):
            run.go(epochs=2)


class TestTeacher:
    @pytest.fixture
    def teacher(self, tmp_path: Path) -> Path:
        folder = tmp_path / "teacher"
        model = tiny_model(seed=7)
        model.save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
        return folder

    def test_it_stays_as_it_is_while_the_student_comes_closer(self, run: Run, teacher: Path) -> None:
        before = {path.name: path.read_bytes() for path in teacher.iterdir()}

        folder = run.go(teacher=teacher, alpha=0, epochs=5)

        kl = [json.loads(line)["kl"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert kl[-1] < 0.5 * kl[0]
        assert {path.name: path.read_bytes() for path in teacher.iterdir()} == before

    def test_its_parameters_ask_for_no_gradient(self, teacher: Path) -> None:
        from training.config import Config
        from training.models import load_teacher

        loaded = load_teacher(Config(teacher=str(teacher)))

        assert loaded is not None
        assert not any(parameter.requires_grad for parameter in loaded[0].parameters())

    def test_one_that_sees_other_pictures_is_refused(self, run: Run, teacher: Path) -> None:
        with pytest.raises(SystemExit, match="teacher's image_size is 32, the student's 64"):
            run.go(teacher=teacher, alpha=0.5, image_size=64)

    def test_one_that_is_nowhere_is_said(self, run: Run) -> None:
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
    def test_it_warms_up_and_then_follows_the_schedule(self, step: int, schedule: str, expected: float) -> None:
        assert rate(step, 4, 12, schedule) == pytest.approx(expected)


def test_data_that_is_not_there_ends_the_run_in_a_sentence(run: Run) -> None:
    with pytest.raises(SystemExit, match="no caption file"):
        run.go(data=f"coco:{run.folder / 'nowhere.json'}:{run.folder}")
