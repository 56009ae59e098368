"""Micro-batches, several processes and interruptions do not change the resulting student."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support.training import Run, teacher_folder, weights
from training.config import parse
from training.distributed import Ranks


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_close(one: Path, other: Path) -> None:
    """Weights equal but for rounding; a key's bias has no gradient but rounding, which AdamW makes a full step of."""
    expected, found = weights(one), weights(other)
    width = expected["vision_model.encoder.layers.0.self_attn.qkv.bias"].shape[0] // 3
    for name, value in expected.items():
        if name.endswith("self.key.bias"):
            continue
        if name.endswith("qkv.bias"):
            keep = torch.cat([torch.arange(width), torch.arange(2 * width, 3 * width)])
            value, found[name] = value[keep], found[name][keep]
        assert torch.allclose(value, found[name], atol=2e-4), name


class TestMicroBatches:
    def test_a_step_in_micro_batches_equals_a_step_without(self, run: Run, tmp_path: Path) -> None:
        options = {"teacher": teacher_folder(tmp_path), "alpha": 0.5, "batch_size": 8, "epochs": 2, "clip": 1}
        options |= {"captions_per_image": 2, "image_mse": 0.5, "lr": 0.003}

        whole = run.go("whole", **options)
        parts = run.go("parts", micro_batch_size=2, **options)

        assert_close(whole / "student_epoch2.pt", parts / "student_epoch2.pt")
        for one, other in zip(metrics(whole), metrics(parts), strict=True):
            for name in ("loss", "cross_entropy", "kl", "image_mse"):
                assert one[name] == pytest.approx(other[name], abs=2e-4)


class TestProcesses:
    def test_two_ranks_train_the_same_student_as_one(self, run: Run) -> None:
        # Eight images in steps of seven: the last has one, so that one of the processes is idle.
        options = {"batch_size": 7, "epochs": 2, "lr": 0.003}
        alone = run.go("alone", **options)

        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        arguments = run.arguments("together", micro_batch_size=2, **options)
        subprocess.run([*torchrun, "-m", "training.distill", *arguments], check=True, capture_output=True, timeout=240)

        together = run.folder / "together"
        assert_close(alone / "student_epoch2.pt", together / "student_epoch2.pt")
        one, other = metrics(alone), metrics(together)
        assert [entry["epoch"] for entry in other] == [1, 2]  # one process writes
        assert one[-1]["cider"] == pytest.approx(other[-1]["cider"])  # of all captions, each once
        assert one[-1]["loss"] == pytest.approx(other[-1]["loss"], abs=2e-4)

    def test_a_single_process_is_rank_0_of_1(self) -> None:
        ranks = Ranks()

        assert ranks.first and ranks.gather("a") == ["a"]
        assert ranks.sum(torch.tensor([3])).tolist() == [3]
        assert ranks.device("cpu") == torch.device("cpu")


class TestInterrupted:
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
    def test_a_run_stopped_within_an_epoch_resumes_exactly(self, run: Run, number: signal.Signals) -> None:
        options: dict[str, object] = {"batch_size": 1, "epochs": 4, "augment": True, "random_captions": True}
        options |= {"ema": 0.9, "warmup_steps": 5, "schedule": "cosine"}
        whole = run.go("whole", **options)

        arguments = run.arguments("parts", save_every_steps=1, num_workers=1, **options)
        with subprocess.Popen(
            [sys.executable, "-m", "training.distill", *arguments], stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            said = next(line for line in process.stderr if "of epoch 2" in line)
            process.send_signal(number)
            rest = process.stderr.read()
        parts = run.folder / "parts"
        assert "unfinished.pt" in said
        assert not (parts / "student_epoch4.pt").exists()  # it was ended, and did not end by itself
        if number == signal.SIGTERM:
            assert process.returncode == 0 and "Stopp" in rest

        run.go("parts", **options)

        expected, found = (torch.load(each / "student_epoch4.pt", weights_only=True) for each in (whole, parts))
        for kind in ("model", "trained"):
            assert all(torch.equal(expected[kind][name], found[kind][name]) for name in expected[kind])
        assert expected["sums"] == found["sums"] and expected["steps"] == found["steps"]
        assert [entry["epoch"] for entry in metrics(parts)] == [1, 2, 3, 4]
        assert not (parts / "unfinished.pt").exists()

    def test_a_saved_epoch_without_metrics_is_validated_on_resume(self, run: Run) -> None:
        folder = run.go(epochs=1)
        before = metrics(folder)
        (folder / "metrics.jsonl").unlink()

        run.go(epochs=1)

        (entry,) = metrics(folder)
        assert {**entry, "seconds": None} == {**before[0], "seconds": None}


class TestAverage:
    def test_the_average_is_saved_and_lags_behind_the_student(self, run: Run) -> None:
        folder = run.go(epochs=1, ema=0.5, batch_size=8)

        saved = torch.load(folder / "student_epoch1.pt", weights_only=True)
        start = run.go("start", epochs=1, lr=0, batch_size=8)
        first = weights(start / "student_epoch1.pt")
        name = "text_decoder.cls.predictions.transform.dense.weight"
        assert torch.allclose(saved["model"][name], (first[name] + saved["trained"][name]) / 2, atol=1e-6)


class TestSmoke:
    def test_the_smoke_flag_runs_the_whole_path(self, caplog: pytest.LogCaptureFixture) -> None:
        from training import distill

        caplog.set_level("INFO")

        distill.main(["--smoke"])

        assert "Smoke test passed" in caplog.text

    def test_the_smoke_test_needs_no_data_flag(self) -> None:
        assert parse(["--smoke"]).smoke
