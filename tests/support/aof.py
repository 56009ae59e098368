"""Redis' append-only file, read: it holds every write there ever was, also those that a later one hides."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from common.jobs import Status

_TERMINAL = {json.dumps(status.value).encode() for status in Status if status.terminal}


def results_written(folder: Path) -> Counter[str]:
    """How many times each job's record got a terminal status, by job id.

    `folder` is the one in which Redis keeps its append-only file, which must never have been rewritten.
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
    """One file in Redis 6; in Redis 7 a folder of them, whose base is an image of a then empty store."""
    inside = folder / "appendonlydir"
    if not inside.is_dir():
        return [folder / "appendonly.aof"]
    assert [path.name for path in inside.glob("*.base.*")] == ["appendonly.aof.1.base.rdb"], "The file was rewritten."
    return sorted(inside.glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[2]))


def _commands(log: bytes) -> Iterator[list[bytes]]:
    """RESP: `*2\\r\\n$3\\r\\nGET\\r\\n$1\\r\\na\\r\\n`. A last command that a kill cut off is left out, as by Redis."""
    place = 0

    def number() -> int:
        nonlocal place
        end = log.index(b"\r\n", place)
        found, place = int(log[place + 1 : end]), end + 2
        return found

    while place < len(log):
        command = []
        try:
            for _ in range(number()):
                length = number()
                command.append(log[place : place + length])
                place += length + 2
        except ValueError:
            return
        if place > len(log):
            return
        yield command
