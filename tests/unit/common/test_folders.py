"""An unusable folder is reported when a process starts, and temporary files are created below the data folder."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from common import folders
from common.folders import FolderError, prepare, write_obstacle
from common.settings import Settings


@pytest.fixture(autouse=True)
def no_tmpdir(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset TMPDIR, and undo what `prepare` sets."""
    monkeypatch.setenv("TMPDIR", "")
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.fixture
def no_system_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the system's folders for temporary files unusable."""
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/none"])


class TestWriteObstacle:
    def test_a_folder_below_a_writable_one_has_no_obstacle(self, tmp_path: Path) -> None:
        assert write_obstacle(tmp_path) is None
        assert write_obstacle(tmp_path / "a" / "b") is None
        assert list(tmp_path.iterdir()) == [], "the check creates nothing"

    @pytest.mark.parametrize("below", ["", "a/b"])
    def test_a_file_in_place_of_the_folder_is_named(self, tmp_path: Path, below: str) -> None:
        file = tmp_path / "file"
        file.touch()

        assert str(write_obstacle(file / below)) == f"{file} is not a folder"

    @pytest.mark.parametrize(
        ("flags", "reason"), [(os.ST_RDONLY, "mounted read-only"), (0, "this user may not write into")]
    )
    def test_an_unwritable_folder_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: int, reason: str
    ) -> None:
        monkeypatch.setattr(os, "access", lambda path, mode: False)  # for root, os.access is always true
        monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=flags))

        obstacle = write_obstacle(tmp_path / "new")

        assert reason in str(obstacle) and str(tmp_path) in str(obstacle)


class TestPrepare:
    def test_temporary_files_are_created_below_the_data_folder(self, tmp_path: Path) -> None:
        prepare(Settings(data=tmp_path))

        assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(tmp_path / "tmp")
        with tempfile.NamedTemporaryFile() as file:
            assert Path(file.name).parent == tmp_path / "tmp"

    def test_tmpdir_precedes_the_data_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TMPDIR", str(tmp_path / "chosen"))

        prepare(Settings(data=tmp_path / "data"))

        assert tempfile.gettempdir() == str(tmp_path / "chosen")
        assert not (tmp_path / "data" / "tmp").exists()

    def test_an_unusable_tmpdir_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("TMPDIR", str(tmp_path / "file"))

        with pytest.raises(FolderError, match=r"TMPDIR.*file is not a folder\.$"):
            prepare(Settings(data=tmp_path))

    def test_only_old_temporary_files_are_removed(self, tmp_path: Path) -> None:
        old, new = tmp_path / "tmp" / "old", tmp_path / "tmp" / "new"
        old.parent.mkdir()
        old.touch()
        new.touch()
        os.utime(old, (0, time.time() - folders.STALE_AGE - 1))

        prepare(Settings(data=tmp_path))

        assert not old.exists() and new.exists()

    def test_an_unusable_data_folder_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        with pytest.raises(FolderError, match=r"file is not a folder\. Choose another one \(--data, CAPTIOND_DATA\)"):
            prepare(Settings(data=tmp_path / "file"))

    def test_the_data_folder_is_not_checked_if_uploads_are_stored_elsewhere(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        prepare(Settings(data=tmp_path / "file", uploads_url="memory://pictures"))

        assert os.environ["TMPDIR"] == ""

    def test_a_missing_folder_for_temporary_files_is_an_error(self, tmp_path: Path, no_system_folder: None) -> None:
        (tmp_path / "file").touch()

        with pytest.raises(FolderError, match=r"no folder for temporary files.*Set TMPDIR"):
            prepare(Settings(data=tmp_path / "file", uploads_url="memory://pictures"))
        prepare(Settings(data=tmp_path))
        assert tempfile.gettempdir() == str(tmp_path / "tmp")
