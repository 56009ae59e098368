from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from common.files import PRIVATE, SAVING, SHARED, whole


def write(path: Path, data: bytes, mode: int = SHARED) -> None:
    with whole(path, mode) as file:
        file.write(data)


def test_a_file_is_written_in_a_folder_that_it_makes(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b", b"all")

    assert (tmp_path / "a" / "b").read_bytes() == b"all"


def test_the_earlier_file_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write(path, b"earlier")

    with whole(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"earlier"

    assert path.read_bytes() == b"new"


def test_a_write_that_fails_leaves_the_earlier_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write(path, b"earlier")

    with pytest.raises(OSError, match="full"), whole(path) as file:
        file.write(b"half")
        raise OSError("full")

    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.with_name(path.name + SAVING).write_bytes(b"much that was never finished")

    write(path, b"all")

    assert path.read_bytes() == b"all"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("mode", "allowed"), [(PRIVATE, 0o600), (SHARED, 0o644)])
def test_others_may_read_it_only_when_it_is_shared(tmp_path: Path, mode: int, allowed: int) -> None:
    earlier = os.umask(0o022)
    try:
        write(tmp_path / "file", b"", mode)
    finally:
        os.umask(earlier)

    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == allowed


def test_the_content_is_on_the_disk_before_the_name_and_the_name_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    synced: list[tuple[str, bool]] = []

    def fsync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        synced.append((kind, path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write(path, b"all")

    assert synced == [("file", False), ("folder", True)]
