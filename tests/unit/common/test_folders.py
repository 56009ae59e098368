"""A folder that cannot be used is told of when a process begins; temporary files go below the data folder."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from common import folders
from common.folders import FolderError, obstacle, prepare
from common.settings import Settings


@pytest.fixture(autouse=True)
def untold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in which nobody has chosen a folder for temporary files; what `prepare` sets is taken back."""
    monkeypatch.setenv("TMPDIR", "")
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.fixture
def no_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system whose own folders for temporary files cannot be written."""
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/none"])


class TestObstacle:
    def test_a_folder_may_be_made_below_one_that_can_be_written(self, tmp_path: Path) -> None:
        assert obstacle(tmp_path) is None
        assert obstacle(tmp_path / "a" / "b") is None
        assert list(tmp_path.iterdir()) == [], "nothing is made by looking"

    @pytest.mark.parametrize("below", ["", "a/b"])
    def test_a_file_in_its_place_is_named(self, tmp_path: Path, below: str) -> None:
        file = tmp_path / "file"
        file.touch()

        assert obstacle(file / below) == f"{file} is not a folder"

    @pytest.mark.parametrize(
        ("flags", "words"), [(os.ST_RDONLY, "mounted read-only"), (0, "this user may not write into")]
    )
    def test_a_folder_that_cannot_be_written_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: int, words: str
    ) -> None:
        monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write wherever the disk lets it
        monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=flags))

        why = obstacle(tmp_path / "new")

        assert why and words in why and str(tmp_path) in why


class TestPrepare:
    def test_temporary_files_go_below_the_data_folder(self, tmp_path: Path) -> None:
        prepare(Settings(data=tmp_path))

        assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(tmp_path / "tmp")
        with tempfile.NamedTemporaryFile() as file:
            assert Path(file.name).parent == tmp_path / "tmp"

    def test_a_folder_that_was_told_is_used_instead(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TMPDIR", str(tmp_path / "told"))

        prepare(Settings(data=tmp_path / "data"))

        assert tempfile.gettempdir() == str(tmp_path / "told")
        assert not (tmp_path / "data" / "tmp").exists()

    def test_one_that_was_told_and_cannot_be_used_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("TMPDIR", str(tmp_path / "file"))

        with pytest.raises(FolderError, match=r"TMPDIR.*file is not a folder\.$"):
            prepare(Settings(data=tmp_path))

    def test_what_a_killed_process_left_is_removed_and_what_is_in_use_is_not(self, tmp_path: Path) -> None:
        left, used = tmp_path / "tmp" / "left", tmp_path / "tmp" / "used"
        left.parent.mkdir()
        left.touch()
        used.touch()
        os.utime(left, (0, time.time() - folders.LEFT_BEHIND - 1))

        prepare(Settings(data=tmp_path))

        assert not left.exists() and used.exists()

    def test_a_data_folder_that_cannot_be_used_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        with pytest.raises(FolderError, match=r"file is not a folder\. Choose another one \(--data, CAPTIOND_DATA\)"):
            prepare(Settings(data=tmp_path / "file"))

    def test_it_need_not_be_usable_where_pictures_are_kept_elsewhere(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        prepare(Settings(data=tmp_path / "file", uploads_url="memory://pictures"))

        assert os.environ["TMPDIR"] == ""

    def test_without_any_folder_for_temporary_files_that_is_said(self, tmp_path: Path, no_temporary: None) -> None:
        (tmp_path / "file").touch()

        with pytest.raises(FolderError, match=r"no folder for temporary files.*Set TMPDIR"):
            prepare(Settings(data=tmp_path / "file", uploads_url="memory://pictures"))
        prepare(Settings(data=tmp_path))
        assert tempfile.gettempdir() == str(tmp_path / "tmp")
