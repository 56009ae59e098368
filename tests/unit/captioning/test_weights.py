"""`auto` takes the best student there is and says why not a better one; a named one is that one or none."""

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
from captioning.student.errors import StudentError
from captioning.weights import DEPLOYED
from common.settings import Settings
from tests.support.models import tiny_model, tiny_tokenizer

TORN = b"PK\x03\x04 torn"


def put(path: Path, seed: int) -> Path:
    """A small student's weights; another seed gives another student."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tiny_model(seed).state_dict(), path)
    return path


def version(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder the service is started from."""
    folder = tmp_path / "here"
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
def settings(tmp_path: Path, here: Path, root: Path) -> Settings:
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
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """What was asked of the download; there is nothing to be had."""
    asked: list[tuple[str, Path]] = []

    def fetch(url: str, path: Path) -> Path:
        asked.append((url, path))
        raise DownloadError("its quota is used up")

    monkeypatch.setattr(weights, "fetch", fetch)
    return asked


@pytest.fixture
def arriving(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Path], object]], None]:
    """Makes the download succeed with what the given call writes."""

    def arrive(write: Callable[[Path], object]) -> None:
        def fetch(url: str, path: Path) -> Path:
            path.parent.mkdir(parents=True)
            write(path)
            return path

        monkeypatch.setattr(weights, "fetch", fetch)

    return arrive


class TestAuto:
    def test_the_best_there_is_is_taken_and_the_download_is_last_but_one(
        self, settings: Settings, here: Path, root: Path, asked: list[tuple[str, Path]]
    ) -> None:
        in_order = [
            put(here / DEPLOYED, 0),
            put(root / DEPLOYED, 1),
            put(here / "checkpoints" / "student_epoch3.pt", 2),
        ]
        taken = []
        for path in in_order:
            taken.append((weights.load(settings).version, version(path)))
            path.unlink()
        asked_before = list(asked)
        last = weights.load(settings)

        assert [found for found, _ in taken] == [expected for _, expected in taken]
        assert asked_before == []
        assert asked == [(settings.model_url, settings.data / "models" / DEPLOYED)]
        assert last.demo

    def test_of_the_checkpoints_the_newest_counts_not_the_highest_number(
        self, settings: Settings, here: Path, asked: list[tuple[str, Path]]
    ) -> None:
        older = put(here / "checkpoints" / "student_epoch9.pt", 0)
        newer = put(here / "checkpoints" / "student_epoch10.pt", 1)
        put(here / "checkpoints" / "teacher_epoch11.pt", 2)
        os.utime(older, (1_000, 1_000))
        os.utime(newer, (2_000, 2_000))

        assert weights.load(settings).version == version(newer)
        os.utime(older, (3_000, 3_000))
        assert weights.load(settings).version == version(older)

    @pytest.mark.parametrize(
        ("spoil", "why"), [({"model": math.nan}, "not finite numbers"), ({"steps": 0}, "has learnt nothing yet")]
    )
    def test_a_checkpoint_that_is_not_fit_to_serve_is_said_and_the_one_before_it_is_taken(
        self, settings: Settings, here: Path, spoil: dict[str, float], why: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        good = put(here / "checkpoints" / "student_epoch1.pt", 0)
        bad = put(here / "checkpoints" / "student_epoch2.pt", 1)
        state = torch.load(bad, weights_only=True)
        if "model" in spoil:
            state["text_decoder.cls.predictions.bias"][0] = spoil["model"]
        torch.save({"steps": 5, **spoil, "model": state}, bad)
        os.utime(good, (1_000, 1_000))

        student = weights.load(settings)

        assert student.version == version(good)
        assert f"Not using {bad.relative_to(here)}." in caplog.text
        assert why in caplog.text

    def test_what_was_downloaded_is_used(
        self, settings: Settings, arriving: Callable[[Callable[[Path], object]], None]
    ) -> None:
        arriving(lambda path: put(path, 0))

        student = weights.load(settings)

        assert student.version == version(settings.data / "models" / DEPLOYED)
        assert not student.demo

    def test_an_unreadable_file_is_said_and_the_next_is_taken(
        self, settings: Settings, here: Path, root: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (here / DEPLOYED).write_bytes(TORN)
        placed = put(root / DEPLOYED, 0)

        with caplog.at_level(logging.WARNING):
            student = weights.load(settings)

        assert student.version == version(placed)
        assert f"Not using {here / DEPLOYED}." in caplog.text
        assert "cannot be read as PyTorch weights" in caplog.text

    def test_the_same_folder_is_not_tried_twice(
        self,
        settings: Settings,
        here: Path,
        asked: list[tuple[str, Path]],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(weights, "PROJECT_ROOT", Path.cwd())
        (here / DEPLOYED).write_bytes(TORN)

        weights.load(settings)

        assert caplog.text.count("Not using") == 1

    def test_a_download_that_does_not_load_leaves_the_demo(
        self,
        settings: Settings,
        arriving: Callable[[Callable[[Path], object]], None],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        arriving(lambda path: path.write_bytes(TORN))

        assert weights.load(settings).demo
        assert f"Not using {settings.data / 'models' / DEPLOYED}." in caplog.text

    @pytest.mark.usefixtures("asked")
    def test_without_any_file_the_demo_captions_and_the_log_says_why_and_what_to_do(
        self, settings: Settings, root: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        student = weights.load(settings)

        assert (student.name, student.demo) == ("demo", True)
        assert "its quota is used up" in caplog.text
        assert f"place it as {root / DEPLOYED}" in caplog.text
        assert "demo model captions" in caplog.text


class TestNamed:
    def test_a_named_file_is_taken_before_all_that_auto_would_find(
        self, settings: Settings, here: Path, tmp_path: Path
    ) -> None:
        put(here / DEPLOYED, 0)
        named = put(tmp_path / "mine.pt", 1)

        student = weights.load(settings.model_copy(update={"model": str(named)}))

        assert (student.name, student.version) == ("mine", version(named))

    def test_a_file_is_read_with_the_head_counts_and_the_tokenizer_of_the_settings(
        self, settings: Settings, tmp_path: Path
    ) -> None:
        named = put(tmp_path / "mine.pt", 0)

        student = weights.load(settings.model_copy(update={"model": str(named)}))

        config = student.model.config
        assert (config.text_config.num_attention_heads, config.vision_config.num_attention_heads) == (2, 4)
        assert student.tokenizer.get_vocab() == tiny_tokenizer().get_vocab()

    def test_the_demo_can_be_named(self, settings: Settings, here: Path, caplog: pytest.LogCaptureFixture) -> None:
        put(here / DEPLOYED, 0)

        assert weights.load(settings.model_copy(update={"model": "demo"})).demo
        assert "demo model captions" in caplog.text

    @pytest.mark.parametrize("content", [None, TORN])
    def test_one_that_cannot_be_loaded_is_an_error_and_nothing_takes_its_place(
        self, settings: Settings, here: Path, tmp_path: Path, content: bytes | None
    ) -> None:
        put(here / DEPLOYED, 0)
        if content is not None:
            (tmp_path / "mine.pt").write_bytes(content)

        with pytest.raises(StudentError, match=r"mine\.pt"):
            weights.load(settings.model_copy(update={"model": str(tmp_path / "mine.pt")}))
