"""The witness of the chaos runs sees what it should: every terminal status that was ever written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.aof import results_written


def command(*words: str) -> bytes:
    return f"*{len(words)}\r\n".encode() + b"".join(f"${len(word.encode())}\r\n{word}\r\n".encode() for word in words)


LOG = b"".join(
    [
        command("SELECT", "0"),
        command("HSET", "job:a", "id", '"a"', "status", '"queued"'),
        command("MULTI"),
        command("HSET", "job:a", "status", '"succeeded"', "output", '"é\r\n*2"'),
        command("ZREM", "jobs:processing", "a"),
        command("EXEC"),
        command("HSET", "job:b", "status", '"failed"'),
        command("HSET", "job:a", "status", '"succeeded"'),
        command("HSET", "batch:c", "status", '"succeeded"'),
    ]
)
CUT_OFF = command("HSET", "job:b", "status", '"failed"')[:-3]


def test_redis_6_keeps_one_file(tmp_path: Path) -> None:
    (tmp_path / "appendonly.aof").write_bytes(LOG + CUT_OFF)

    assert results_written(tmp_path) == {"a": 2, "b": 1}


def test_redis_7_keeps_a_folder_whose_files_follow_each_other(tmp_path: Path) -> None:
    folder = tmp_path / "appendonlydir"
    folder.mkdir()
    (folder / "appendonly.aof.1.base.rdb").write_bytes(b"REDIS")
    (folder / "appendonly.aof.1.incr.aof").write_bytes(LOG)
    (folder / "appendonly.aof.2.incr.aof").write_bytes(LOG + CUT_OFF)

    assert results_written(tmp_path) == {"a": 4, "b": 2}


def test_a_file_that_was_rewritten_is_no_witness(tmp_path: Path) -> None:
    folder = tmp_path / "appendonlydir"
    folder.mkdir()
    (folder / "appendonly.aof.2.base.rdb").write_bytes(b"REDIS")

    with pytest.raises(AssertionError, match="rewritten"):
        results_written(tmp_path)
