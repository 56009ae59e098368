"""Uploads are there whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from common import problems
from common.problems import Problem
from common.uploads import UploadStore


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
