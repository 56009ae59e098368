"""Checkpoints are written atomically, and a run resumes from the newest readable one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from training import checkpoints

RUN: dict[str, Any] = {"optimizer": {}, "model": {"weight": torch.ones(1)}}


def saved(folder: Path, *epochs: int) -> list[Path]:
    return [checkpoints.save(checkpoints.path_of(folder, epoch), {**RUN, "epoch": epoch}) for epoch in epochs]


def test_a_checkpoint_is_named_after_its_epoch(tmp_path: Path) -> None:
    assert [path.name for path in saved(tmp_path, 6)] == ["student_epoch6.pt"]


def test_epochs_are_sorted_numerically(tmp_path: Path) -> None:
    saved(tmp_path, 9, 10, 2)

    newest = checkpoints.newest(tmp_path)

    assert newest is not None and newest["epoch"] == 10


def test_an_empty_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoints.newest(tmp_path / "nowhere") is None


@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_a_truncated_file_is_skipped_with_a_warning(
    tmp_path: Path, keep: float, caplog: pytest.LogCaptureFixture
) -> None:
    torn = saved(tmp_path, 1, 2)[1]
    content = torn.read_bytes()
    torn.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])

    with caplog.at_level(logging.WARNING):
        newest = checkpoints.newest(tmp_path)

    assert newest is not None and newest["epoch"] == 1
    assert "student_epoch2.pt cannot be read" in caplog.text


def test_weights_without_optimizer_state_are_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved(tmp_path, 1)
    torch.save(RUN["model"], tmp_path / "student_epoch2.pt")

    newest = checkpoints.newest(tmp_path)

    assert newest is not None and newest["epoch"] == 1
    assert "weights only" in caplog.text


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"model": {"weight": torch.tensor([1.0, torch.nan])}}, "not finite"),
        ({"trained": {"weight": torch.tensor([torch.inf])}}, "not finite"),
        ({"finished": True, "steps": 0}, "an epoch without a step"),
    ],
)
def test_unusable_checkpoints_are_skipped_with_a_warning(
    tmp_path: Path, content: dict[str, Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    saved(tmp_path, 1)
    checkpoints.save(checkpoints.path_of(tmp_path, 2), {**RUN, "epoch": 2, **content})

    newest = checkpoints.newest(tmp_path)

    assert newest is not None and newest["epoch"] == 1
    assert why in caplog.text


def test_a_failed_write_keeps_the_previous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = saved(tmp_path, 1)
    before = path.read_bytes()

    def full(content: object, file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        saved(tmp_path, 1)

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]  # what would have filled the disk is gone


def test_other_files_are_not_checkpoints(tmp_path: Path) -> None:
    saved(tmp_path, 3)
    for name in ("student_epochX.pt", "student_epoch4.pt.saving", "teacher_epoch9.pt"):
        (tmp_path / name).write_bytes(b"")

    assert [path.name for path in checkpoints.numbered(tmp_path)] == ["student_epoch3.pt"]


class TestUnfinished:
    def test_an_unfinished_epoch_is_newer_than_the_previous_epoch(self, tmp_path: Path) -> None:
        saved(tmp_path, 1, 2)
        checkpoints.save_unfinished(tmp_path, {**RUN, "epoch": 3, "pictures": 7})

        newest = checkpoints.newest(tmp_path)

        assert newest is not None and (newest["epoch"], newest["pictures"]) == (3, 7)

    def test_a_complete_epoch_replaces_its_unfinished_checkpoint(self, tmp_path: Path) -> None:
        checkpoints.save_unfinished(tmp_path, {**RUN, "epoch": 3, "pictures": 7})
        left_behind = (tmp_path / checkpoints.UNFINISHED).read_bytes()

        checkpoints.save_epoch(tmp_path, {**RUN, "epoch": 3})

        assert [path.name for path in tmp_path.iterdir()] == ["student_epoch3.pt"]
        (tmp_path / checkpoints.UNFINISHED).write_bytes(left_behind)  # as after a kill between the two
        newest = checkpoints.newest(tmp_path)
        assert newest is not None and "pictures" not in newest

    def test_a_truncated_unfinished_checkpoint_is_skipped(self, tmp_path: Path) -> None:
        saved(tmp_path, 1)
        (tmp_path / checkpoints.UNFINISHED).write_bytes(b"torn")

        newest = checkpoints.newest(tmp_path)

        assert newest is not None and newest["epoch"] == 1

    def test_an_unfinished_checkpoint_is_not_listed_as_a_student(self, tmp_path: Path) -> None:
        checkpoints.save_unfinished(tmp_path, {**RUN, "epoch": 3, "pictures": 7})

        assert checkpoints.numbered(tmp_path) == []
