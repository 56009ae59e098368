"""Reads Redis' append-only file, which has every write, including those that were overwritten later."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from common.jobs import Status

_TERMINAL = {json.dumps(status.value).encode() for status in Status if status.terminal}


def results_written(folder: Path) -> Counter[str]:
    """Number of times that a terminal status was written to each job's record, by job id.

    `folder` contains Redis' append-only file. Raises AssertionError if that file was rewritten.
    """
    written: Counter[str] = Counter()
    for path in _logs(folder):
        for name, *arguments in _commands(path.read_bytes()):
            if name.upper() != b"HSET" or not arguments[0].startswith(b"job:"):
                continue
            fields = dict(zip(arguments[1::2], arguments[2::2], strict=True))
            if fields.get(b"status") in _TERMINAL:
                written[arguments[0].decode().removeprefix("job:")] += 1
    return written


def _logs(folder: Path) -> list[Path]:
    """The log files: one in Redis 6; in Redis 7 those of a folder, whose base file is of an empty database.

    A replica makes a new base file when it is connected to its primary.
    """
    log_folder = folder / "appendonlydir"
    if not log_folder.is_dir():
        return [folder / "appendonly.aof"]
    bases = [path.name for path in log_folder.glob("*.base.*")]
    assert bases == ["appendonly.aof.1.base.rdb"], "The file was rewritten."
    return sorted(log_folder.glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[2]))


def _commands(log: bytes) -> Iterator[list[bytes]]:
    """The commands of a log in RESP, such as `*2\\r\\n$3\\r\\nGET\\r\\n$1\\r\\na\\r\\n`.

    A truncated last command, which a kill can leave, is ignored as Redis ignores it.
    """
    offset = 0

    def read_number() -> int:
        nonlocal offset
        end = log.index(b"\r\n", offset)
        number, offset = int(log[offset + 1 : end]), end + 2
        return number

    while offset < len(log):
        command = []
        try:
            for _ in range(read_number()):
                length = read_number()
                command.append(log[offset : offset + length])
                offset += length + 2
        except ValueError:
            return
        if offset > len(log):
            return
        yield command
