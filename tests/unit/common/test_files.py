"""`atomic_write` replaces a file completely or leaves it unchanged."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from common.files import DEFAULT_MODE, PRIVATE_MODE, TEMPORARY_SUFFIX, append, atomic_write, complete_lines


def write(path: Path, data: bytes, mode: int = DEFAULT_MODE) -> None:
    with atomic_write(path, mode) as file:
        file.write(data)


def test_a_missing_folder_is_created(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b", b"all")

    assert (tmp_path / "a" / "b").read_bytes() == b"all"


def test_the_earlier_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write(path, b"earlier")

    with atomic_write(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"earlier"

    assert path.read_bytes() == b"new"


def test_a_failed_write_leaves_only_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write(path, b"earlier")

    with pytest.raises(OSError, match="full"), atomic_write(path) as file:
        file.write(b"half")
        raise OSError("full")

    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_of_a_killed_process_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.with_name(path.name + TEMPORARY_SUFFIX).write_bytes(b"incomplete content of a killed process")

    write(path, b"all")

    assert path.read_bytes() == b"all"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("mode", "expected"), [(PRIVATE_MODE, 0o600), (DEFAULT_MODE, 0o644)])
def test_the_mode_decides_who_may_read_the_file(tmp_path: Path, mode: int, expected: int) -> None:
    earlier = os.umask(0o022)
    try:
        write(tmp_path / "file", b"", mode)
    finally:
        os.umask(earlier)

    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == expected


def test_the_file_is_synced_before_the_rename_and_the_folder_after_it(
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


class TestLines:
    def test_data_are_appended_to_a_new_or_an_existing_file(self, tmp_path: Path) -> None:
        for data in (b"one\n", b"two\n"):
            append(tmp_path / "lines", data)

        assert (tmp_path / "lines").read_bytes() == b"one\ntwo\n"

    @pytest.mark.parametrize(("content", "complete"), [(b"one\ntw", b"one\n"), (b"on", b""), (b"one\n", b"one\n")])
    def test_an_incomplete_last_line_is_removed(self, content: bytes, complete: bytes, tmp_path: Path) -> None:
        (tmp_path / "lines").write_bytes(content)

        assert complete_lines(tmp_path / "lines") == complete
        assert (tmp_path / "lines").read_bytes() == complete
