"""The reader of archives refuses whole archives or single files, and never reads more than its limits allow."""

from __future__ import annotations

import io
import random
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from common import problems
from common.jobs import new_id
from common.problems import Problem
from common.settings import Settings
from common.uploads import UploadStore
from tests.support.archives import zipped
from worker.archives import reader as module
from worker.archives.reader import ArchiveReader

Read = Callable[[bytes], dict[str, "bytes | Problem"]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, max_upload_bytes=3 * 2**20, max_batch_items=4, max_batch_bytes=2**20)


@pytest.fixture
def read(settings: Settings) -> Read:
    """Reads an archive; returns the bytes or the problem of each file that is not skipped."""
    uploads = UploadStore(settings.uploads_location)
    uploads.create()

    def read_all(data: bytes) -> dict[str, bytes | Problem]:
        uploads.save(batch := new_id(), data)
        files: dict[str, bytes | Problem] = {}
        with uploads.open(batch) as file:
            reader = ArchiveReader(file, settings)
            for entry in reader.entries:
                try:
                    files[entry.key] = reader.read(entry)
                except Problem as problem:
                    files[entry.key] = problem
        return files

    return read_all


def problem_of(files: dict[str, bytes | Problem], name: str) -> Problem:
    problem = files[name]
    assert isinstance(problem, Problem), problem
    return problem


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_are_read_and_those_of_systems_are_skipped(read: Read, method: int) -> None:
    pictures = {"a.jpg": b"first", "summer/b.jpg": bytes(500_000)}

    files = read(
        zipped({**pictures, "summer/": b"", "__MACOSX/a.jpg": b"", ".DS_Store": b"", "x/Thumbs.db": b""}, method)
    )

    assert files == pictures


@pytest.mark.parametrize(
    "data",
    [b"P", b"text", bytes(30), bytes(100_000), zipped({"a.jpg": b"abc"})[:-30]],
    ids=["a letter", "text", "few zeros", "many zeros", "torn"],
)
def test_a_file_that_is_no_archive_is_refused(read: Read, data: bytes) -> None:
    with pytest.raises(Problem) as refused:
        read(data)

    assert refused.value.kind is problems.BAD_ARCHIVE


def test_an_empty_archive_has_no_files(read: Read) -> None:
    assert read(zipped({})) == {}


def test_an_archive_with_too_many_files_is_refused(read: Read) -> None:
    with pytest.raises(Problem) as refused:
        read(zipped({f"{number}.jpg": b"" for number in range(5)}))

    assert refused.value.kind is problems.TOO_MANY_IMAGES


def test_a_large_directory_is_refused_before_it_is_parsed(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    data = zipped({f"{number}.jpg": b"" for number in range(100)})
    monkeypatch.setattr(module, "CHUNK_BYTES", 1000)
    monkeypatch.setattr(zipfile, "ZipInfo", None)  # one is made for each entry of the directory

    with pytest.raises(Problem) as refused:
        read(data)

    assert refused.value.kind is problems.TOO_MANY_IMAGES


def test_the_size_limit_holds_for_the_bytes_not_for_the_header(read: Read) -> None:
    data = bytearray(zipped({"a.jpg": random.Random(0).randbytes(4 * 2**20), "b.jpg": b"good"}, zipfile.ZIP_DEFLATED))
    for signature, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        struct.pack_into("<I", data, data.index(signature) + offset, 0xFFFFFFF0)  # the size that the header claims

    files = read(bytes(data))

    assert problem_of(files, "a.jpg").kind is problems.UPLOAD_TOO_LARGE
    assert files["b.jpg"] == b"good"


def test_a_file_that_is_compressed_a_thousand_times_is_refused(read: Read) -> None:
    files = read(zipped({"a.bmp": bytes(2 * 2**20)}, zipfile.ZIP_DEFLATED))

    assert problem_of(files, "a.bmp").kind is problems.BAD_ARCHIVE_ENTRY
    assert "200 times" in problem_of(files, "a.bmp").detail


def test_files_that_are_too_large_together_are_refused(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOTAL_RATIO", 1)

    files = read(zipped({"a.jpg": bytes(600_000), "b.jpg": bytes(600_000)}))

    assert isinstance(files["a.jpg"], bytes)
    assert "larger than 1 MB together" in problem_of(files, "b.jpg").detail


@pytest.mark.parametrize("name", ["../a.jpg", "/a.jpg", "C:/a.jpg", "a\\b.jpg", "n" * 1001])
def test_a_file_with_an_unsafe_or_long_name_is_refused(read: Read, name: str) -> None:
    files = read(zipped({name: b"picture", "good.jpg": b"picture"}))

    assert problem_of(files, name).kind is problems.BAD_ARCHIVE_ENTRY
    assert files["good.jpg"] == b"picture"


def test_a_name_with_the_utf_8_flag_is_read_whether_it_is_utf_8_or_not(read: Read) -> None:
    data = zipped({"Отпуск/a.jpg": b"first", "ä.jpg": b"second"})

    files = read(data.replace("ä.jpg".encode(), b"\xff\x84.jpg"))

    assert files["Отпуск/a.jpg"] == b"first"
    assert list(files.values()) == [b"first", b"second"]


def test_a_link_is_refused(read: Read) -> None:
    link = zipfile.ZipInfo("a.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(link, "/etc/passwd")

    assert "link" in problem_of(read(buffer.getvalue()), "a.jpg").detail


def test_an_encrypted_file_is_refused(read: Read) -> None:
    data = bytearray(zipped({"a.jpg": b"picture"}))
    data[data.index(b"PK\1\2") + 8] |= 1

    assert "encrypted" in problem_of(read(bytes(data)), "a.jpg").detail


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_method_without_a_limit_on_its_output_is_refused(read: Read, method: int) -> None:
    assert "Deflate" in problem_of(read(zipped({"a.jpg": b"picture"}, method)), "a.jpg").detail


def test_an_archive_in_the_archive_is_refused(read: Read) -> None:
    assert "archive itself" in problem_of(read(zipped({"a.jpg": zipped({})})), "a.jpg").detail


def test_the_second_file_of_a_name_is_refused(read: Read) -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(buffer, "w") as archive:
        for data in (b"first", b"second"):
            archive.writestr("a.jpg", data)

    files = read(buffer.getvalue())

    assert files["a.jpg"] == b"first"
    assert "this name" in problem_of(files, "a.jpg\0001").detail


def test_a_damaged_file_is_refused_without_the_others(read: Read) -> None:
    data = zipped({"a.jpg": b"picture", "b.jpg": b"other"}).replace(b"picture", b"pictare", 1)

    files = read(data)

    assert "damaged" in problem_of(files, "a.jpg").detail
    assert files["b.jpg"] == b"other"


def test_every_truncated_or_changed_archive_is_refused_or_read(read: Read) -> None:
    data = zipped({"a.jpg": b"picture" * 10, "ü.jpg": b"other"}, zipfile.ZIP_DEFLATED)
    for position in range(len(data)):
        for changed in (data[:position], data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]):
            try:
                read(changed)
            except Problem as problem:
                assert problem.kind in (problems.BAD_ARCHIVE, problems.TOO_MANY_IMAGES)
