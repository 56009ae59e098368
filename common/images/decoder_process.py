"""`python -m common.images.decoder_process`: decodes one image after the other for its parent process, within limits of
memory and processor time; see `common.images.sandbox`.

A request is a line of JSON, `{"task", "arguments", "bytes"}`, and the picture's file. An answer is a line of JSON
with the task's `facts`, or with the `problem` and its `detail`, and so many `bytes` after it.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, BinaryIO

from common import strict_json
from common.images import decoding
from common.problems import Problem

#: Bytes of memory that this process may take in all: the picture's file and pixels, and some 10 MB of its own.
MEMORY = 300_000_000
#: Seconds of processor time that one picture may take; the signal that ends the process then is SIGPROF.
SECONDS = 1.5

TASKS: dict[str, Callable[..., tuple[dict[str, Any], bytes]]] = {
    "check": lambda *arguments: (asdict(decoding.check(*arguments)), b""),
    "square": lambda *arguments: ({}, decoding.square(*arguments).tobytes()),
    "thumbnail": lambda *arguments: ({}, decoding.thumbnail(*arguments)),
}


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the parent is gone."""
    while line := requests.readline():
        request = json.loads(line)
        data = requests.read(request["bytes"])
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        answer, rest = _answer(request, data)
        signal.setitimer(signal.ITIMER_PROF, 0)
        del data
        answers.write(strict_json.dumps({**answer, "bytes": len(rest)}).encode() + b"\n" + rest)
        answers.flush()


def _answer(request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        facts, rest = TASKS[request["task"]](data, *request["arguments"])
    except Problem as problem:
        return {"problem": problem.kind.slug, "detail": problem.detail}, b""
    return {"facts": facts}, rest


if __name__ == "__main__":
    # Ctrl-C reaches the whole group; this process ends when its parent closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    serve(sys.stdin.buffer, sys.stdout.buffer)
