"""`python -m common.images.decoder_process`: decodes images for its parent process, one at a time, within limits of
memory and processor time. See `common.images.sandbox`.

A request is a line of JSON, `{"task", "arguments", "bytes"}`, followed by the file's bytes. A response is a line of
JSON, `{"info", "bytes"}` or `{"problem", "message", "bytes"}`, followed by the result's bytes.
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
from common.images import decoding, raw
from common.problems import Problem

#: Memory limit of this process in bytes: the file, its pixels, and about 10 MB for the process itself.
MEMORY_LIMIT = 300_000_000
#: Processor time limit of one image in seconds. SIGPROF ends the process when it is exceeded.
CPU_TIME_LIMIT = 1.5
#: The same for HEIF, whose decoder takes about 70 ns per pixel: 1.7 s for a phone's 24 megapixels.
HEIF_CPU_TIME_LIMIT = 4.0

TASKS: dict[str, Callable[..., tuple[dict[str, Any], bytes]]] = {
    "check": lambda *arguments: (asdict(decoding.check(*arguments)), b""),
    "preprocess": lambda *arguments: ({}, decoding.preprocess(*arguments).tobytes()),
    "thumbnail": lambda *arguments: ({}, decoding.thumbnail(*arguments)),
    "preview": lambda *arguments: ({}, raw.preview(*arguments)),
}


def serve(requests: BinaryIO, responses: BinaryIO) -> None:
    """Handle requests until the parent closes the pipe."""
    while line := requests.readline():
        request = json.loads(line)
        data = requests.read(request["bytes"])
        limit = HEIF_CPU_TIME_LIMIT if decoding.is_heif(data) else CPU_TIME_LIMIT
        signal.setitimer(signal.ITIMER_PROF, limit)
        response, result = _handle(request, data)
        signal.setitimer(signal.ITIMER_PROF, 0)
        del data
        responses.write(strict_json.dumps({**response, "bytes": len(result)}).encode() + b"\n" + result)
        responses.flush()


def _handle(request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        info, result = TASKS[request["task"]](data, *request["arguments"])
    except Problem as problem:
        return {"problem": problem.kind.slug, "message": problem.message.model_dump()}, b""
    return {"info": info}, result


if __name__ == "__main__":
    # Ctrl-C reaches the whole process group. This process ends when its parent closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))
    serve(sys.stdin.buffer, sys.stdout.buffer)
