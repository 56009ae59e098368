"""Uploads are stored atomically, and errors of the store become problems."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from common import problems
from common.jobs import new_id
from common.problems import Problem
from common.uploads import CHUNK_BYTES, FOLDERS, UploadStore, UploadsUnavailable


@pytest.fixture
def store(tmp_path: Path) -> UploadStore:
    store = UploadStore((tmp_path / "uploads").as_uri())
    store.create()
    return store


def test_a_saved_image_is_loaded(store: UploadStore) -> None:
    store.save("id-1", b"picture")

    assert store.load("id-1") == b"picture"


def test_a_remote_store_saves_and_loads() -> None:
    store = UploadStore("memory://uploads")
    store.save("id-1", b"picture")

    assert store.load("id-1") == b"picture"


@pytest.mark.parametrize("url", ["file", "memory://bucket/pictures"])
def test_a_check_leaves_nothing(tmp_path: Path, url: str) -> None:
    store = UploadStore((tmp_path / "uploads").as_uri() if url == "file" else url)
    store.create()
    store.save(new_id(), b"picture")
    before = store._files.find(store._root)

    store.check()

    assert store._files.find(store._root) == before


@pytest.mark.parametrize("url", ["file", "memory://nowhere/pictures"])
def test_a_check_of_a_missing_store_fails(tmp_path: Path, url: str) -> None:
    store = UploadStore((tmp_path / "uploads").as_uri() if url == "file" else url)

    with pytest.raises(UploadsUnavailable):
        store.check()


def test_a_check_of_a_full_disk_fails_as_an_upload_would(store: UploadStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)

    with pytest.raises(Problem) as full:
        store.check()
    assert full.value.kind is problems.STORAGE_FULL


def test_a_deleted_image_is_lost_and_can_be_deleted_again(store: UploadStore) -> None:
    store.save("id-1", b"picture")
    store.delete("id-1")
    store.delete("id-1")

    with pytest.raises(Problem) as lost:
        store.load("id-1")
    assert lost.value.kind is problems.UPLOAD_LOST


@pytest.mark.parametrize("url", ["file", "memory://kept"])
def test_files_are_listed_with_the_job_id_in_their_name(tmp_path: Path, url: str) -> None:
    store = UploadStore((tmp_path / "uploads").as_uri() if url == "file" else url)
    store.create()
    job_id = new_id()
    store.save(job_id, b"picture")
    folder = int(job_id[-2:], 16)

    ((found, path),) = store.list_files(folder)
    assert found == job_id
    assert store.list_files((folder + 1) % FOLDERS) == []
    store.delete_file(path)
    store.delete_file(path)
    assert store.list_files(folder) == []


def test_temporary_files_are_listed_and_foreign_files_are_not(
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

    ((found, path),) = store.list_files(int(job_id[-2:], 16))
    assert found == job_id
    assert Path(path).name == f"{job_id}.saving"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_problem_and_leaves_no_file(
    store: UploadStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def full(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(Problem) as refused:
        store.save("id-1", b"picture")
    assert refused.value.kind is problems.STORAGE_FULL
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_deleted_image_is_lost_in_a_remote_store() -> None:
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
    def test_every_error_except_a_missing_file_is_temporary(
        self, store: UploadStore, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise error

        store.save("id-1", b"picture")
        for method in ("cat_file", "rm_file", "ls"):
            monkeypatch.setattr(LocalFileSystem, method, fail)

        for call in (lambda: store.load("id-1"), lambda: store.delete("id-1"), lambda: store.list_files(0)):
            with pytest.raises(UploadsUnavailable):
                call()

    def test_an_unwritable_disk_is_a_problem(self, store: UploadStore, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(_: int) -> None:
            raise OSError(errno.EIO, "input/output error")

        monkeypatch.setattr(os, "fsync", broken)

        with pytest.raises(UploadsUnavailable):
            store.save("id-1", b"picture")

    def test_an_unmounted_share_is_unavailable_and_not_written_to(self, store: UploadStore, tmp_path: Path) -> None:
        store.save("id-1", b"picture")
        (tmp_path / "uploads").rename(tmp_path / "elsewhere")

        with pytest.raises(UploadsUnavailable):
            store.load("id-1")
        with pytest.raises(UploadsUnavailable):
            store.save("id-2", b"picture")
        assert not (tmp_path / "uploads").exists()

        (tmp_path / "elsewhere").rename(tmp_path / "uploads")
        assert store.load("id-1") == b"picture"

    def test_an_object_store_without_the_bucket_is_unavailable(self) -> None:
        with pytest.raises(UploadsUnavailable):
            UploadStore("memory://no-such-bucket/uploads").load("id-1")

    def test_truncated_content_is_an_error(self, store: UploadStore, tmp_path: Path) -> None:
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

        assert caplog.text.count("does not answer (FileNotFoundError") == 2


class TestArchives:
    @pytest.fixture(params=["file", "memory://archives"])
    def either_store(self, request: pytest.FixtureRequest, store: UploadStore) -> UploadStore:
        return store if request.param == "file" else UploadStore(request.param)

    def test_a_stream_is_stored_in_pieces_and_read_at_any_position(
        self, either_store: UploadStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("common.uploads.CHUNK_BYTES", 3)

        size = either_store.save_stream(batch_id := new_id(), io.BytesIO(b"an archive"))

        with either_store.open(batch_id) as file:
            assert (size, file.size(), file.seek(3), file.read(4), file.tell()) == (10, 10, 3, b"arch", 7)

    def test_a_stream_is_never_read_as_a_whole(self, store: UploadStore) -> None:
        sizes: list[int] = []

        class Source(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                sizes.append(size or -1)
                return super().read(size)

        store.save_stream(new_id(), Source(bytes(3 * CHUNK_BYTES)))

        assert sizes == [CHUNK_BYTES] * 4

    def test_a_missing_archive_is_lost_and_one_behind_a_missing_folder_is_not(
        self, store: UploadStore, tmp_path: Path
    ) -> None:
        kinds = []
        store.save(new_id()[:-2] + "00", b"picture")
        for archive in ("-00", "-01"):
            with pytest.raises(Problem) as refused, store.open(archive):
                pass
            kinds.append(refused.value.kind)

        assert kinds == [problems.UPLOAD_LOST, problems.UPLOADS_UNAVAILABLE]

    def test_a_full_disk_leaves_no_part_of_an_archive(
        self, store: UploadStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("common.files.os.fsync", full)
        with pytest.raises(Problem) as refused:
            store.save_stream(new_id(), io.BytesIO(b"an archive"))

        assert refused.value.kind is problems.STORAGE_FULL
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    def test_an_error_while_reading_is_an_unavailable_store(self, store: UploadStore) -> None:
        store.save(batch_id := new_id(), b"an archive")
        with store.open(batch_id) as file:
            file._file.close()

            with pytest.raises(UploadsUnavailable):
                file.read(1)
