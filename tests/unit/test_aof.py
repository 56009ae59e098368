"""The reader of Redis' append-only file finds every terminal status that was ever written."""

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
TRUNCATED = command("HSET", "job:b", "status", '"failed"')[:-3]


def test_the_single_file_of_redis_6_is_read(tmp_path: Path) -> None:
    (tmp_path / "appendonly.aof").write_bytes(LOG + TRUNCATED)

    assert results_written(tmp_path) == {"a": 2, "b": 1}


def test_the_incremental_files_of_redis_7_are_read_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "appendonlydir"
    folder.mkdir()
    (folder / "appendonly.aof.1.base.rdb").write_bytes(b"REDIS")
    (folder / "appendonly.aof.1.incr.aof").write_bytes(LOG)
    (folder / "appendonly.aof.2.incr.aof").write_bytes(LOG + TRUNCATED)

    assert results_written(tmp_path) == {"a": 4, "b": 2}


def test_a_rewritten_file_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "appendonlydir"
    folder.mkdir()
    (folder / "appendonly.aof.2.base.rdb").write_bytes(b"REDIS")

    with pytest.raises(AssertionError, match="rewritten"):
        results_written(tmp_path)
