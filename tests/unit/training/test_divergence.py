"""A loss or weights that are not finite end the run, and the last good checkpoint is kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.training import Run, weights
from training.trainer import Trainer

#: The weights are huge after one step, and NaN after the next.
DIVERGING: dict[str, Any] = {"lr": 1e30, "batch_size": 1}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


class TestLoss:
    def test_a_diverged_run_ends_with_advice_and_keeps_its_checkpoints(self, run: Run) -> None:
        folder = run.go(epochs=1)
        before = {path.name: path.read_bytes() for path in folder.iterdir()}

        for _ in range(2):
            with pytest.raises(SystemExit, match=r"The loss is not finite .*Give a lower --lr"):
                run.go(epochs=2, save_every_steps=4, **DIVERGING)

        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    def test_divergence_is_detected_within_an_epoch(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        done: list[int] = []
        step = Trainer.step

        def counted(self: Trainer, state: Any, *arguments: Any) -> None:
            step(self, state, *arguments)
            done.append(state.steps)

        monkeypatch.setattr(Trainer, "step", counted)
        monkeypatch.setattr("training.trainer.READ_EVERY", 3)

        with pytest.raises(SystemExit, match=r"not finite .* after 3 steps, in epoch 1"):
            run.go(epochs=1, **DIVERGING)

        assert done == [1, 2, 3]

    def test_all_ranks_end_on_divergence(self, run: Run) -> None:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        arguments = run.arguments(epochs=1, **(DIVERGING | {"batch_size": 2}))

        ended = subprocess.run(
            [*torchrun, "-m", "training.distill", *arguments], capture_output=True, text=True, timeout=120
        )

        assert ended.returncode != 0
        assert "The loss is not finite" in ended.stderr
        assert list((run.folder / "run").glob("*")) == []


class TestWeights:
    def test_weights_that_are_not_finite_are_not_saved(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        step = Trainer.step

        def spoiled(self: Trainer, state: Any, *arguments: Any) -> None:
            step(self, state, *arguments)
            next(state.student.parameters()).data.view(-1)[0] = torch.nan

        monkeypatch.setattr(Trainer, "step", spoiled)

        with pytest.raises(SystemExit, match="The student's weights are not finite"):
            run.go(epochs=1, batch_size=8)

        assert not (run.folder / "run" / "student_epoch1.pt").exists()

    def test_a_checkpoint_with_nan_weights_is_skipped(self, run: Run, caplog: pytest.LogCaptureFixture) -> None:
        folder = run.go(epochs=2)
        whole = weights(folder / "student_epoch2.pt")
        content = torch.load(folder / "student_epoch2.pt", weights_only=True)
        next(iter(content["model"].values())).view(-1)[0] = torch.nan
        torch.save(content, folder / "student_epoch2.pt")

        run.go(epochs=2)

        found = weights(folder / "student_epoch2.pt")
        assert "student_epoch2.pt holds weights that are not finite" in caplog.text
        assert all(torch.equal(value, whole[name]) for name, value in found.items())
