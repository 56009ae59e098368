"""`auto` loads the best available student and logs why others were skipped. A named model is loaded or refused."""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from captioning import weights
from captioning.download import DownloadError
from captioning.errors import StudentError
from captioning.weights import DEPLOYED
from common.settings import Settings
from tests.support.models import tiny_model, tiny_tokenizer

DAMAGED = b"PK\x03\x04 damaged"


def save_student(path: Path, seed: int) -> Path:
    """Save the weights of a small student; the seed determines them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tiny_model(seed).state_dict(), path)
    return path


def version(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the service."""
    folder = tmp_path / "working"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's root."""
    folder = tmp_path / "root"
    folder.mkdir()
    monkeypatch.setattr(weights, "PROJECT_ROOT", folder)
    return folder


@pytest.fixture
def settings(tmp_path: Path, working_folder: Path, root: Path) -> Settings:
    tiny_tokenizer().save_pretrained(tmp_path / "processor")
    return Settings(
        data=tmp_path / "data",
        model="auto",
        model_url="http://example.invalid/student",
        processor=str(tmp_path / "processor"),
        text_heads=2,
        vision_heads=4,
    )


@pytest.fixture
def failing_download(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """Make the download fail, and return the requested URLs and paths."""
    requested: list[tuple[str, Path]] = []

    def fetch(url: str, path: Path) -> Path:
        requested.append((url, path))
        raise DownloadError("its quota is used up")

    monkeypatch.setattr(weights, "fetch", fetch)
    return requested


@pytest.fixture
def succeeding_download(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Path], object]], None]:
    """Return a function that makes the download succeed with the file that a callback writes."""

    def succeed(write: Callable[[Path], object]) -> None:
        def fetch(url: str, path: Path) -> Path:
            path.parent.mkdir(parents=True)
            write(path)
            return path

        monkeypatch.setattr(weights, "fetch", fetch)

    return succeed


class TestAuto:
    def test_the_best_candidate_is_loaded_and_the_download_precedes_only_the_demo(
        self, settings: Settings, working_folder: Path, root: Path, failing_download: list[tuple[str, Path]]
    ) -> None:
        candidates = [
            save_student(working_folder / DEPLOYED, 0),
            save_student(root / DEPLOYED, 1),
            save_student(working_folder / "checkpoints" / "student_epoch3.pt", 2),
        ]
        loaded = []
        for path in candidates:
            loaded.append((weights.load(settings).version, version(path)))
            path.unlink()
        requested_before = list(failing_download)
        last = weights.load(settings)

        assert [actual for actual, _ in loaded] == [expected for _, expected in loaded]
        assert requested_before == []
        assert failing_download == [(settings.model_url, settings.data / "models" / DEPLOYED)]
        assert last.demo

    def test_the_newest_checkpoint_is_loaded_not_the_one_with_the_highest_number(
        self, settings: Settings, working_folder: Path, failing_download: list[tuple[str, Path]]
    ) -> None:
        older = save_student(working_folder / "checkpoints" / "student_epoch9.pt", 0)
        newer = save_student(working_folder / "checkpoints" / "student_epoch10.pt", 1)
        save_student(working_folder / "checkpoints" / "teacher_epoch11.pt", 2)
        os.utime(older, (1_000, 1_000))
        os.utime(newer, (2_000, 2_000))

        assert weights.load(settings).version == version(newer)
        os.utime(older, (3_000, 3_000))
        assert weights.load(settings).version == version(older)

    @pytest.mark.parametrize(
        ("content", "reason"), [({"model": math.nan}, "not finite numbers"), ({"steps": 0}, "untrained")]
    )
    def test_an_unusable_checkpoint_is_logged_and_the_one_before_it_is_loaded(
        self,
        settings: Settings,
        working_folder: Path,
        content: dict[str, float],
        reason: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        good = save_student(working_folder / "checkpoints" / "student_epoch1.pt", 0)
        bad = save_student(working_folder / "checkpoints" / "student_epoch2.pt", 1)
        state = torch.load(bad, weights_only=True)
        if "model" in content:
            state["text_decoder.cls.predictions.bias"][0] = content["model"]
        torch.save({"steps": 5, **content, "model": state}, bad)
        os.utime(good, (1_000, 1_000))

        student = weights.load(settings)

        assert student.version == version(good)
        assert f"Not using {bad.relative_to(working_folder)}." in caplog.text
        assert reason in caplog.text

    def test_a_downloaded_file_is_loaded(
        self, settings: Settings, succeeding_download: Callable[[Callable[[Path], object]], None]
    ) -> None:
        succeeding_download(lambda path: save_student(path, 0))

        student = weights.load(settings)

        assert student.version == version(settings.data / "models" / DEPLOYED)
        assert not student.demo

    def test_an_unreadable_file_is_logged_and_the_next_is_loaded(
        self, settings: Settings, working_folder: Path, root: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (working_folder / DEPLOYED).write_bytes(DAMAGED)
        placed = save_student(root / DEPLOYED, 0)

        with caplog.at_level(logging.WARNING):
            student = weights.load(settings)

        assert student.version == version(placed)
        assert f"Not using {working_folder / DEPLOYED}." in caplog.text
        assert "cannot be read as PyTorch weights" in caplog.text

    def test_the_same_folder_is_not_tried_twice(
        self,
        settings: Settings,
        working_folder: Path,
        failing_download: list[tuple[str, Path]],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(weights, "PROJECT_ROOT", Path.cwd())
        (working_folder / DEPLOYED).write_bytes(DAMAGED)

        weights.load(settings)

        assert caplog.text.count("Not using") == 1

    def test_the_demo_is_loaded_if_the_download_is_unreadable(
        self,
        settings: Settings,
        succeeding_download: Callable[[Callable[[Path], object]], None],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        succeeding_download(lambda path: path.write_bytes(DAMAGED))

        assert weights.load(settings).demo
        assert f"Not using {settings.data / 'models' / DEPLOYED}." in caplog.text

    @pytest.mark.usefixtures("failing_download")
    def test_without_any_file_the_demo_is_loaded_and_the_log_says_how_to_get_the_student(
        self, settings: Settings, root: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        student = weights.load(settings)

        assert (student.name, student.demo) == ("demo", True)
        assert "its quota is used up" in caplog.text
        assert f"place it as {root / DEPLOYED}" in caplog.text
        assert "bundled demo model" in caplog.text


class TestNamedModel:
    def test_a_named_file_precedes_those_of_auto(
        self, settings: Settings, working_folder: Path, tmp_path: Path
    ) -> None:
        save_student(working_folder / DEPLOYED, 0)
        named = save_student(tmp_path / "mine.pt", 1)

        student = weights.load(settings.model_copy(update={"model": str(named)}))

        assert (student.name, student.version) == ("mine", version(named))

    def test_a_file_is_loaded_with_the_settings_head_counts_and_tokenizer(
        self, settings: Settings, tmp_path: Path
    ) -> None:
        named = save_student(tmp_path / "mine.pt", 0)

        student = weights.load(settings.model_copy(update={"model": str(named)}))

        config = student.model.config
        assert (config.text_config.num_attention_heads, config.vision_config.num_attention_heads) == (2, 4)
        assert student.tokenizer.get_vocab() == tiny_tokenizer().get_vocab()

    def test_the_demo_can_be_named(
        self, settings: Settings, working_folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        save_student(working_folder / DEPLOYED, 0)

        assert weights.load(settings.model_copy(update={"model": "demo"})).demo
        assert "bundled demo model" in caplog.text

    @pytest.mark.parametrize("content", [None, DAMAGED])
    def test_a_named_model_that_cannot_be_loaded_is_an_error(
        self, settings: Settings, working_folder: Path, tmp_path: Path, content: bytes | None
    ) -> None:
        save_student(working_folder / DEPLOYED, 0)
        if content is not None:
            (tmp_path / "mine.pt").write_bytes(content)

        with pytest.raises(StudentError, match=r"mine\.pt"):
            weights.load(settings.model_copy(update={"model": str(tmp_path / "mine.pt")}))
