"""Weights arrive whole and verified or not at all, from a server that is as bad as servers are."""

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

#: As a `.pt` begins, and long enough to be cut between two of gdown's chunks.
CONTENT = b"PK\x03\x04" + bytes(range(256)) * 8192
HALF = len(CONTENT) // 2
QUOTA = b"\n<!DOCTYPE html><html><title>Quota exceeded</title></html>"
SIZES = range(1, 2**30)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)  # gdown's pause before it tries again
    with serving(CONTENT) as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models" / "student.pt"


def leftovers(path: Path) -> list[str]:
    """The files beside the weights, but for the lock."""
    return sorted(each.name for each in path.parent.iterdir() if each.suffix != ".lock")


class TestSuccess:
    def test_the_file_and_its_checksum_are_kept_and_nothing_else(self, server: FileServer, path: Path) -> None:
        assert fetch(server.url, path, sizes=SIZES) == path

        assert path.read_bytes() == CONTENT
        record = json.loads(path.with_suffix(".json").read_text())
        assert record == {"url": server.url, "sha256": hashlib.sha256(CONTENT).hexdigest()}
        assert leftovers(path) == ["student.json", "student.pt"]

    def test_what_is_here_is_not_fetched_again(self, server: FileServer, path: Path) -> None:
        fetch(server.url, path, sizes=SIZES)
        fetch(server.url, path, sizes=SIZES)

        assert len(server.asked) == 1

    def test_a_file_placed_by_hand_is_taken_as_it_is(self, server: FileServer, path: Path) -> None:
        path.parent.mkdir()
        path.write_bytes(b"mine")

        assert fetch(server.url, path).read_bytes() == b"mine"
        assert server.asked == []

    def test_a_file_that_changed_afterwards_is_refused(self, server: FileServer, path: Path) -> None:
        fetch(server.url, path, sizes=SIZES)
        path.write_bytes(CONTENT[:-1] + b"!")

        with pytest.raises(DownloadError, match="has changed since it was downloaded"):
            fetch(server.url, path, sizes=SIZES)

    def test_the_log_says_how_far_it_is(
        self, server: FileServer, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(download, "PROGRESS_EVERY", -1.0)
        with caplog.at_level(logging.INFO):
            fetch(server.url, path, sizes=SIZES)

        assert "2 MB of 2 MB are here." in caplog.text


class TestBrokenConnection:
    def test_it_goes_on_where_it_was_cut(self, server: FileServer, path: Path) -> None:
        server.cuts = 1
        fetch(server.url, path, sizes=SIZES)

        assert path.read_bytes() == CONTENT
        first, again = server.asked
        assert first == 0 < again <= HALF

    def test_a_later_call_goes_on_where_an_earlier_one_gave_up(
        self, server: FileServer, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.cuts = 1
        with monkeypatch.context() as patched, pytest.raises(DownloadError, match="incomplete"):
            patched.setattr(download, "RETRIES", 0)
            fetch(server.url, path, sizes=SIZES)
        given_up = path.exists()
        fetch(server.url, path, sizes=SIZES, pause=0)

        assert not given_up
        assert path.read_bytes() == CONTENT
        assert 0 < server.asked[-1] <= HALF
        assert leftovers(path) == ["student.json", "student.pt"]

    def test_a_server_that_does_not_answer_is_said_in_a_sentence(self, server: FileServer, path: Path) -> None:
        server.stop()

        with pytest.raises(DownloadError, match=r"^its server cannot be reached from this machine$"):
            fetch(server.url, path, sizes=SIZES)


class TestRefused:
    @pytest.mark.parametrize(
        ("content", "sizes", "why"),
        [
            (QUOTA, SIZES, "a web page came instead of the file: its download quota is used up"),
            (b"GIF89a", SIZES, "what came is no PyTorch file"),
            (b"", SIZES, "what came is no PyTorch file"),
            (CONTENT, range(len(CONTENT)), "2,097,156 bytes, which is no student's size"),
            (CONTENT, range(len(CONTENT) + 1, 2**30), "2,097,156 bytes, which is no student's size"),
        ],
        ids=["quota", "magic", "empty", "too large", "too small"],
    )
    def test_what_is_no_student_is_named_and_not_kept(
        self, server: FileServer, path: Path, content: bytes, sizes: range, why: str
    ) -> None:
        server.content = content

        with pytest.raises(DownloadError, match=re.escape(why)):
            fetch(server.url, path, sizes=sizes)
        assert leftovers(path) == ["student.failed"]

    def test_after_a_refusal_the_whole_file_is_fetched_not_its_rest(self, server: FileServer, path: Path) -> None:
        server.content = QUOTA
        with pytest.raises(DownloadError):
            fetch(server.url, path, sizes=SIZES)
        server.content = CONTENT
        fetch(server.url, path, sizes=SIZES, pause=0)

        assert path.read_bytes() == CONTENT
        assert server.asked == [0, 0]

    def test_a_file_that_is_not_there_is_an_error(self, server: FileServer, path: Path) -> None:
        server.status = 404

        with pytest.raises(DownloadError, match="404"):
            fetch(server.url, path, sizes=SIZES)


class TestTrouble:
    def test_google_drive_s_reason_is_passed_on(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise FileURLRetrievalError(
                "Failed to retrieve file url:\n\n\tToo many users have viewed this file recently."
            )

        monkeypatch.setattr("gdown.download", refuse)

        with pytest.raises(DownloadError, match="file url: Too many users have viewed"):
            fetch("http://example.invalid/student", path)

    def test_a_part_that_cannot_be_continued_is_begun_anew(self, server: FileServer, path: Path) -> None:
        server.cuts = 4  # the first try and gdown's three repetitions
        with pytest.raises(DownloadError):
            fetch(server.url, path, sizes=SIZES)
        assert [each for each in leftovers(path) if each.endswith(".part")]
        server.ranges = False

        assert fetch(server.url, path, sizes=SIZES, pause=0).read_bytes() == CONTENT
        assert leftovers(path) == ["student.json", "student.pt"]

    def test_a_folder_that_cannot_be_written_is_said(self, server: FileServer, path: Path) -> None:
        path.parent.write_text("a file in its place")

        with pytest.raises(DownloadError, match="cannot be kept in"):
            fetch(server.url, path, sizes=SIZES)

    @pytest.mark.parametrize("record", ["[1]", "{}", "torn"])
    def test_a_record_that_makes_no_sense_proves_nothing(self, server: FileServer, path: Path, record: str) -> None:
        fetch(server.url, path, sizes=SIZES)
        path.with_suffix(".json").write_text(record)

        assert fetch(server.url, path, sizes=SIZES) == path


class TestPause:
    @pytest.fixture
    def failed(self, server: FileServer, path: Path) -> Path:
        server.content = QUOTA
        with pytest.raises(DownloadError):
            fetch(server.url, path, sizes=SIZES)
        server.content = CONTENT
        server.asked.clear()
        return path.with_suffix(".failed")

    def test_a_failure_is_not_repeated_for_an_hour_and_says_what_it_was(
        self, server: FileServer, path: Path, failed: Path
    ) -> None:
        with pytest.raises(DownloadError, match="less than 60 minutes ago: a web page came"):
            fetch(server.url, path, sizes=SIZES)
        assert server.asked == []

    def test_after_the_pause_it_is_tried_again_and_forgotten(
        self, server: FileServer, path: Path, failed: Path
    ) -> None:
        long_ago = time.time() - 3601
        os.utime(failed, (long_ago, long_ago))

        assert fetch(server.url, path, sizes=SIZES).read_bytes() == CONTENT
        assert not failed.exists()


def test_of_two_processes_one_downloads_and_the_other_waits_for_it(server: FileServer, path: Path) -> None:
    server.open.clear()
    program = (
        "import pathlib, sys; from captioning.download import fetch; print('here', flush=True);"
        "fetch(sys.argv[1], pathlib.Path(sys.argv[2]), sizes=range(1, 2**30))"
    )
    command = [sys.executable, "-c", program, server.url, str(path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, cwd=PROJECT_ROOT) for _ in range(2)]
    for process in both:
        assert process.stdout and process.stdout.readline() == b"here\n"
    eventually(lambda: server.asked)
    time.sleep(0.2)  # time for a second request, which must not come
    server.open.set()
    for process in both:
        process.communicate(timeout=TIMEOUT)

    assert [process.returncode for process in both] == [0, 0]
    assert server.asked == [0]
    assert path.read_bytes() == CONTENT
