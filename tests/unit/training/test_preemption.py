"""A signal makes a run save after its step and end, whichever of its processes receive it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.training import Run
from training import preemption, validation
from training.captioning import caption_images
from training.data.images import ImageId
from training.preemption import blocked, ignore_all_but_parent, on_signals

#: Seconds after which a process is given up; only a broken one needs them.
PATIENCE = 60
#: A run that ends only on a signal.
ENDLESS: dict[str, Any] = {"batch_size": 1, "epochs": 1000, "save_every_steps": 1, "num_workers": 2}
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def training(arguments: list[str], launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """A run in a process group of its own, as a shell or a scheduler starts it, when it has done its first step."""
    command = [sys.executable, *launcher, "-m", "training.distill", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    assert any("unfinished.pt" in line for line in process.stderr)
    return process


def rest_of(process: subprocess.Popen[str]) -> str:
    """What a process says until it has ended."""
    return process.communicate(timeout=PATIENCE)[1]


class TestProcessGroup:
    @pytest.mark.parametrize("number", preemption.SIGNALS, ids=lambda number: number.name)
    def test_a_signal_to_all_processes_saves_and_exits_with_0(self, run: Run, number: signal.Signals) -> None:
        process = training(run.arguments(**ENDLESS))

        os.killpg(process.pid, number)

        output = rest_of(process)
        assert "; saved." in output
        assert "DataLoader worker" not in output
        assert process.returncode == 0

    def test_ranks_signalled_before_torchrun_save(self, run: Run) -> None:
        process = training(run.arguments(**ENDLESS), TORCHRUN)
        ranks = psutil.Process(process.pid).children()

        for rank in ranks:
            os.killpg(rank.pid, signal.SIGTERM)
        time.sleep(0.03)
        process.send_signal(signal.SIGTERM)  # which torchrun passes on: a second signal for its ranks

        output = rest_of(process)
        assert len(ranks) == 2
        assert "; saved." in output
        assert "DataLoader worker" not in output


class TestOnSignals:
    def test_signals_within_the_grace_period_are_ignored(self) -> None:
        with on_signals() as stop:
            stop.training = True
            for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
                signal.raise_signal(number)

        assert stop.asked

    def test_a_signal_after_the_grace_period_kills(self) -> None:
        code = (
            "import signal\n"
            "from training import preemption\n"
            "preemption.GRACE_PERIOD = -1\n"
            "with preemption.on_signals() as stop:\n"
            "    stop.training = True\n"
            "    signal.raise_signal(signal.SIGTERM)\n"
            "    assert stop.asked\n"
            "    signal.raise_signal(signal.SIGTERM)\n"
        )

        process = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=PATIENCE)

        assert process.returncode == -signal.SIGTERM

    def test_a_signal_before_training_exits_with_0(self) -> None:
        with pytest.raises(SystemExit) as ended, on_signals():
            signal.raise_signal(signal.SIGINT)

        assert ended.value.code == 0

    def test_the_previous_handlers_are_restored(self) -> None:
        before = [signal.getsignal(number) for number in preemption.SIGNALS]

        with on_signals():
            pass

        assert [signal.getsignal(number) for number in preemption.SIGNALS] == before


class TestLoaderProcess:
    def test_a_loader_process_ends_only_on_a_signal_of_its_parent(self) -> None:
        context = multiprocessing.get_context("fork")
        ready = context.Event()
        with blocked():
            process = context.Process(target=waiting, args=(ready,), daemon=True)
            process.start()
        assert ready.wait(PATIENCE)

        for number in preemption.SIGNALS:
            subprocess.run(["/bin/kill", f"-{number}", str(process.pid)], check=True)
        process.join(0.2)
        assert process.is_alive()
        process.terminate()
        process.join(PATIENCE)

        assert process.exitcode == 0


def waiting(ready: Any) -> None:
    """A loader's process that nobody asks for anything."""
    ignore_all_but_parent(0)
    ready.set()
    time.sleep(PATIENCE)


class TestValidation:
    def test_a_run_stopped_during_validation_validates_first_on_resume(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")

        def signalled(*arguments: Any, **options: Any) -> dict[ImageId, str]:
            signal.raise_signal(signal.SIGTERM)
            return caption_images(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(validation, "caption_images", signalled)
            folder = run.go(epochs=2)
        left = sorted(path.name for path in folder.iterdir())

        run.go(epochs=1)

        assert left == ["student_epoch1.pt"]
        assert "Stopped during the validation of epoch 1; the epoch is saved" in caplog.text
        assert len((folder / "metrics.jsonl").read_text().splitlines()) == 1
