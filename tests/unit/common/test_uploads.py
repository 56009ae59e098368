"""Uploads are there whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from common import problems
from common.jobs import new_id
from common.problems import Problem
from common.uploads import FOLDERS, UploadStore


@pytest.fixture
def store(tmp_path: Path) -> UploadStore:
    return UploadStore(tmp_path.as_uri())


def test_what_was_saved_is_loaded(store: UploadStore) -> None:
    store.save("id-1", b"picture")

    assert store.load("id-1") == b"picture"


def test_a_store_that_is_not_on_disk_works_the_same() -> None:
    store = UploadStore("memory://uploads")
    store.save("id-1", b"picture")

    assert store.load("id-1") == b"picture"
    store.delete("id-1")
    with pytest.raises(Problem):
        store.load("id-1")


def test_a_deleted_picture_is_lost_and_deleting_it_again_is_no_error(store: UploadStore) -> None:
    store.save("id-1", b"picture")
    store.delete("id-1")
    store.delete("id-1")

    with pytest.raises(Problem) as lost:
        store.load("id-1")
    assert lost.value.kind is problems.UPLOAD_LOST


@pytest.mark.parametrize("url", ["file", "memory://kept"])
def test_every_file_is_told_of_with_the_id_in_its_name(tmp_path: Path, url: str) -> None:
    store = UploadStore(tmp_path.as_uri() if url == "file" else url)
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
    folder = tmp_path / job_id[-2:]
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


def test_another_error_of_the_disk_is_not_hidden(store: UploadStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "fsync", broken)

    with pytest.raises(OSError, match="input/output"):
        store.save("id-1", b"picture")
