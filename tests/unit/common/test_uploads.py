"""Uploads are there whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from common import problems
from common.jobs import new_id
from common.problems import Problem
from common.uploads import FOLDERS, UploadStore, UploadsUnavailable


@pytest.fixture
def store(tmp_path: Path) -> UploadStore:
    store = UploadStore((tmp_path / "uploads").as_uri())
    store.create()
    return store


def test_what_was_saved_is_loaded(store: UploadStore) -> None:
    store.save("id-1", b"picture")

    assert store.load("id-1") == b"picture"


def test_a_store_that_is_not_on_disk_works_the_same() -> None:
    store = UploadStore("memory://uploads")
    store.save("id-1", b"picture")

    assert store.load("id-1") == b"picture"


def test_a_deleted_picture_is_lost_and_deleting_it_again_is_no_error(store: UploadStore) -> None:
    store.save("id-1", b"picture")
    store.delete("id-1")
    store.delete("id-1")

    with pytest.raises(Problem) as lost:
        store.load("id-1")
    assert lost.value.kind is problems.UPLOAD_LOST


@pytest.mark.parametrize("url", ["file", "memory://kept"])
def test_every_file_is_told_of_with_the_id_in_its_name(tmp_path: Path, url: str) -> None:
    store = UploadStore((tmp_path / "uploads").as_uri() if url == "file" else url)
    store.create()
    job_id = new_id()
    store.save(job_id, b"picture")
    folder = int(job_id[-2:], 16)

    ((found, path),) = store.files(folder)
    assert found == job_id
    assert store.files((folder + 1) % FOLDERS) == []
    store.discard(path)
    store.discard(path)
    assert store.files(folder) == []


def test_a_file_that_a_killed_process_never_finished_is_told_of_and_a_foreign_one_is_not(
    store: UploadStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    job_id = new_id()
    folder = tmp_path / "uploads" / job_id[-2:]
    monkeypatch.setattr(os, "replace", kill)
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok: None)
    with pytest.raises(Killed):
        store.save(job_id, b"pict")
    (folder / "README").write_text("foreign")

    ((found, path),) = store.files(int(job_id[-2:], 16))
    assert found == job_id
    assert Path(path).name == f"{job_id}.saving"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_and_leaves_nothing_behind(
    store: UploadStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def full(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(Problem) as refused:
        store.save("id-1", b"picture")
    assert refused.value.kind is problems.STORAGE_FULL
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_deleted_picture_is_lost_in_a_store_that_is_not_on_disk() -> None:
    store = UploadStore("memory://lost/uploads")
    store.save("id-1", b"picture")
    store.save("id-2", b"picture")
    store.delete("id-1")

    with pytest.raises(Problem) as lost:
        store.load("id-1")
    assert lost.value.kind is problems.UPLOAD_LOST


class TestAway:
    """A store that does not answer for a while has lost nothing."""

    @pytest.mark.parametrize(
        "error",
        [
            PermissionError(errno.EACCES, "Permission denied"),
            OSError(errno.EIO, "Input/output error"),
            OSError(errno.ESTALE, "Stale file handle"),
            TimeoutError("no answer"),
            RuntimeError("what a client library raises"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_every_error_but_that_it_does_not_exist_may_pass(
        self, store: UploadStore, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise error

        store.save("id-1", b"picture")
        for method in ("cat_file", "rm_file", "ls"):
            monkeypatch.setattr(LocalFileSystem, method, fail)

        for call in (lambda: store.load("id-1"), lambda: store.delete("id-1"), lambda: store.files(0)):
            with pytest.raises(UploadsUnavailable):
                call()

    def test_a_disk_that_cannot_be_written_does(self, store: UploadStore, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(_: int) -> None:
            raise OSError(errno.EIO, "input/output error")

        monkeypatch.setattr(os, "fsync", broken)

        with pytest.raises(UploadsUnavailable):
            store.save("id-1", b"picture")

    def test_a_share_that_is_not_mounted_is_away_and_not_written_to(self, store: UploadStore, tmp_path: Path) -> None:
        store.save("id-1", b"picture")
        (tmp_path / "uploads").rename(tmp_path / "elsewhere")

        with pytest.raises(UploadsUnavailable):
            store.load("id-1")
        with pytest.raises(UploadsUnavailable):
            store.save("id-2", b"picture")
        assert not (tmp_path / "uploads").exists()

        (tmp_path / "elsewhere").rename(tmp_path / "uploads")
        assert store.load("id-1") == b"picture"

    def test_an_object_store_without_the_bucket_is_another_store(self) -> None:
        with pytest.raises(UploadsUnavailable):
            UploadStore("memory://no-such-bucket/uploads").load("id-1")

    def test_half_an_answer_is_none(self, store: UploadStore, tmp_path: Path) -> None:
        store.save("id-1", b"picture")
        (path,) = (tmp_path / "uploads").rglob("id-1")
        path.write_bytes(b"pict")

        with pytest.raises(UploadsUnavailable):
            store.load("id-1", hashlib.sha256(b"picture").hexdigest())

    def test_an_outage_is_logged_once(
        self, store: UploadStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        store.save("id-1", b"picture")
        for _ in range(2):
            (tmp_path / "uploads").rename(tmp_path / "elsewhere")
            for _ in range(3):
                with pytest.raises(UploadsUnavailable):
                    store.load("id-1")
            (tmp_path / "elsewhere").rename(tmp_path / "uploads")
            store.load("id-1")

        assert caplog.text.count("The upload store does not answer (FileNotFoundError") == 2
