"""A download is complete and verified, or fails with a reason, whatever the server does."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gdown.exceptions import FileURLRetrievalError

from captioning import download
from captioning.download import DownloadError, fetch
from common.settings import PROJECT_ROOT
from tests.unit.captioning.file_server import FileServer, serving
from tests.unit.worker.fakes import TIMEOUT, eventually

#: Begins like a `.pt`, and is long enough to be cut between two of gdown's chunks.
CONTENT = b"PK\x03\x04" + bytes(range(256)) * 8192
HALF = len(CONTENT) // 2
QUOTA = b"\n<!DOCTYPE html><html><title>Quota exceeded</title></html>"
VALID_SIZES = range(1, 2**30)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)  # gdown's delay before a retry
    with serving(CONTENT) as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models" / "student.pt"


def files_beside(path: Path) -> list[str]:
    """Return the names of the files in the weights' folder, except the lock."""
    return sorted(each.name for each in path.parent.iterdir() if each.suffix != ".lock")


class TestSuccess:
    def test_only_the_file_and_its_metadata_are_kept(self, server: FileServer, path: Path) -> None:
        assert fetch(server.url, path, valid_sizes=VALID_SIZES) == path

        assert path.read_bytes() == CONTENT
        record = json.loads(path.with_suffix(".json").read_text())
        assert record == {"url": server.url, "sha256": hashlib.sha256(CONTENT).hexdigest()}
        assert files_beside(path) == ["student.json", "student.pt"]

    def test_a_downloaded_file_is_not_downloaded_again(self, server: FileServer, path: Path) -> None:
        fetch(server.url, path, valid_sizes=VALID_SIZES)
        fetch(server.url, path, valid_sizes=VALID_SIZES)

        assert len(server.range_starts) == 1

    def test_a_file_placed_by_hand_is_used_unverified(self, server: FileServer, path: Path) -> None:
        path.parent.mkdir()
        path.write_bytes(b"mine")

        assert fetch(server.url, path).read_bytes() == b"mine"
        assert server.range_starts == []

    def test_a_file_changed_after_the_download_is_refused(self, server: FileServer, path: Path) -> None:
        fetch(server.url, path, valid_sizes=VALID_SIZES)
        path.write_bytes(CONTENT[:-1] + b"!")

        with pytest.raises(DownloadError, match="has changed since it was downloaded"):
            fetch(server.url, path, valid_sizes=VALID_SIZES)

    def test_progress_is_logged(
        self, server: FileServer, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(download, "PROGRESS_INTERVAL", -1.0)
        with caplog.at_level(logging.INFO):
            fetch(server.url, path, valid_sizes=VALID_SIZES)

        assert "Downloaded 2 MB of 2 MB." in caplog.text


class TestBrokenConnection:
    def test_a_cut_download_is_resumed(self, server: FileServer, path: Path) -> None:
        server.cuts = 1
        fetch(server.url, path, valid_sizes=VALID_SIZES)

        assert path.read_bytes() == CONTENT
        first, second = server.range_starts
        assert first == 0 < second <= HALF

    def test_a_later_call_resumes_an_earlier_failed_download(
        self, server: FileServer, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.cuts = 1
        with monkeypatch.context() as patched, pytest.raises(DownloadError, match="incomplete"):
            patched.setattr(download, "RETRIES", 0)
            fetch(server.url, path, valid_sizes=VALID_SIZES)
        existed_after_failure = path.exists()
        fetch(server.url, path, valid_sizes=VALID_SIZES, retry_delay=0)

        assert not existed_after_failure
        assert path.read_bytes() == CONTENT
        assert 0 < server.range_starts[-1] <= HALF
        assert files_beside(path) == ["student.json", "student.pt"]

    def test_an_unreachable_server_is_reported(self, server: FileServer, path: Path) -> None:
        server.stop()

        with pytest.raises(DownloadError, match=r"^its server cannot be reached from this machine$"):
            fetch(server.url, path, valid_sizes=VALID_SIZES)


class TestRefused:
    @pytest.mark.parametrize(
        ("content", "valid_sizes", "reason"),
        [
            (QUOTA, VALID_SIZES, "the server sent a web page: the file's download quota is used up"),
            (b"GIF89a", VALID_SIZES, "the downloaded file is not a PyTorch file"),
            (b"", VALID_SIZES, "the downloaded file is not a PyTorch file"),
            (CONTENT, range(len(CONTENT)), "2,097,156 bytes, which is not the size of a student"),
            (CONTENT, range(len(CONTENT) + 1, 2**30), "2,097,156 bytes, which is not the size of a student"),
        ],
        ids=["quota", "magic", "empty", "too large", "too small"],
    )
    def test_an_invalid_file_is_described_and_removed(
        self, server: FileServer, path: Path, content: bytes, valid_sizes: range, reason: str
    ) -> None:
        server.content = content

        with pytest.raises(DownloadError, match=re.escape(reason)):
            fetch(server.url, path, valid_sizes=valid_sizes)
        assert files_beside(path) == ["student.failed"]

    def test_a_download_after_an_invalid_file_starts_at_the_beginning(self, server: FileServer, path: Path) -> None:
        server.content = QUOTA
        with pytest.raises(DownloadError):
            fetch(server.url, path, valid_sizes=VALID_SIZES)
        server.content = CONTENT
        fetch(server.url, path, valid_sizes=VALID_SIZES, retry_delay=0)

        assert path.read_bytes() == CONTENT
        assert server.range_starts == [0, 0]

    def test_a_missing_file_is_an_error(self, server: FileServer, path: Path) -> None:
        server.status = 404

        with pytest.raises(DownloadError, match="404"):
            fetch(server.url, path, valid_sizes=VALID_SIZES)


class TestErrors:
    def test_google_drive_s_reason_is_passed_on(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise FileURLRetrievalError(
                "Failed to retrieve file url:\n\n\tToo many users have viewed this file recently."
            )

        monkeypatch.setattr("gdown.download", refuse)

        with pytest.raises(DownloadError, match="file url: Too many users have viewed"):
            fetch("http://example.invalid/student", path)

    def test_a_partial_file_that_cannot_be_resumed_is_downloaded_again(self, server: FileServer, path: Path) -> None:
        server.cuts = 4  # the first attempt and gdown's three retries
        with pytest.raises(DownloadError):
            fetch(server.url, path, valid_sizes=VALID_SIZES)
        assert [each for each in files_beside(path) if each.endswith(".part")]
        server.ranges = False

        assert fetch(server.url, path, valid_sizes=VALID_SIZES, retry_delay=0).read_bytes() == CONTENT
        assert files_beside(path) == ["student.json", "student.pt"]

    def test_an_unwritable_folder_is_reported(self, server: FileServer, path: Path) -> None:
        path.parent.write_text("a file in its place")

        with pytest.raises(DownloadError, match="cannot be saved in"):
            fetch(server.url, path, valid_sizes=VALID_SIZES)

    @pytest.mark.parametrize("metadata", ["[1]", "{}", "torn"])
    def test_invalid_metadata_is_ignored(self, server: FileServer, path: Path, metadata: str) -> None:
        fetch(server.url, path, valid_sizes=VALID_SIZES)
        path.with_suffix(".json").write_text(metadata)

        assert fetch(server.url, path, valid_sizes=VALID_SIZES) == path


class TestRetryDelay:
    @pytest.fixture
    def failed(self, server: FileServer, path: Path) -> Path:
        server.content = QUOTA
        with pytest.raises(DownloadError):
            fetch(server.url, path, valid_sizes=VALID_SIZES)
        server.content = CONTENT
        server.range_starts.clear()
        return path.with_suffix(".failed")

    def test_a_failed_download_is_not_retried_for_an_hour(self, server: FileServer, path: Path, failed: Path) -> None:
        with pytest.raises(DownloadError, match="less than 60 minutes ago: the server sent a web page"):
            fetch(server.url, path, valid_sizes=VALID_SIZES)
        assert server.range_starts == []

    def test_a_failed_download_is_retried_after_the_delay(self, server: FileServer, path: Path, failed: Path) -> None:
        long_ago = time.time() - 3601
        os.utime(failed, (long_ago, long_ago))

        assert fetch(server.url, path, valid_sizes=VALID_SIZES).read_bytes() == CONTENT
        assert not failed.exists()


def test_only_one_of_two_processes_downloads(server: FileServer, path: Path) -> None:
    server.open.clear()
    program = (
        "import pathlib, sys; from captioning.download import fetch; print('here', flush=True);"
        "fetch(sys.argv[1], pathlib.Path(sys.argv[2]), valid_sizes=range(1, 2**30))"
    )
    command = [sys.executable, "-c", program, server.url, str(path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, cwd=PROJECT_ROOT) for _ in range(2)]
    for process in both:
        assert process.stdout and process.stdout.readline() == b"here\n"
    eventually(lambda: server.range_starts)
    time.sleep(0.2)  # a second request would arrive within this time
    server.open.set()
    for process in both:
        process.communicate(timeout=TIMEOUT)

    assert [process.returncode for process in both] == [0, 0]
    assert server.range_starts == [0]
    assert path.read_bytes() == CONTENT
