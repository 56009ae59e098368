"""Decodes uploads in processes of their own, so that no picture can hang, exhaust or crash the one that serves.

A few kilobytes can ask Pillow for gigabytes or for minutes, and its decoders are a million lines of C. Whatever a
picture does to `common.images.decoder_process`, here it is a problem with a sentence.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from functools import cache
from typing import Any

from PIL import Image

from common import problems, strict_json
from common.images.decoding import Facts, advice
from common.settings import PROJECT_ROOT

#: Fewest and most pictures that are decoded at once, in as many processes; between them, as many as processors.
FEWEST, MOST = 2, 8

#: Seconds after which a process that uses no processor time, and so meets no limit, is given up.
PATIENCE = 60.0

#: Freed pictures go back to the system at once, and do not count against the next one (glibc, mallopt(3)).
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "1048576"}

log = logging.getLogger(__name__)


class Sandbox:
    """So many decoding processes; a thread that finds all at work waits for one.

    Methods raise what those of `common.images.decoding` with the same names do, and `image-too-costly`.
    """

    def __init__(self, processes: int) -> None:
        # Last in, first out: as few processes as the load needs are ever started.
        self._idle: queue.LifoQueue[subprocess.Popen[bytes] | None] = queue.LifoQueue()
        self._count = processes
        for _ in range(processes):
            self._idle.put(None)

    def check(self, data: bytes, max_pixels: int) -> Facts:
        """What the picture is, after decoding it."""
        return Facts(**self._ask("check", data, max_pixels)[0])

    def square(self, data: bytes, max_pixels: int, side: int) -> Image.Image:
        """The picture in RGB, squashed to `side` x `side` pixels."""
        return Image.frombytes("RGB", (side, side), self._ask("square", data, max_pixels, side)[1])

    def thumbnail(self, data: bytes, max_pixels: int, side: int) -> bytes:
        """The picture as a JPEG that fits `side` x `side` pixels."""
        return self._ask("thumbnail", data, max_pixels, side)[1]

    def close(self) -> None:
        """End the processes that are idle; they start again when they are needed."""
        for _ in range(self._count):
            if process := self._idle.get():
                _end(process)
        for _ in range(self._count):
            self._idle.put(None)

    def _ask(self, task: str, data: bytes, *arguments: int) -> tuple[dict[str, Any], bytes]:
        process = self._idle.get()
        try:
            if process is not None and process.poll() is not None:
                _end(process)
                process = None
            process = process or _start()
            answer, rest = _exchange(process, {"task": task, "arguments": arguments}, data)
        except BaseException:
            if process is not None:
                process.kill()
                _end(process)
                process = None
            raise
        finally:
            self._idle.put(process)
        if "problem" in answer:
            raise problems.KINDS[answer["problem"]](answer["detail"])
        return answer["facts"], rest


@cache
def sandbox() -> Sandbox:
    """The sandbox of this process, whose memory it protects."""
    here = Sandbox(min(max(os.cpu_count() or 1, FEWEST), MOST))
    atexit.register(here.close)
    return here


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "common.images.decoder_process"]
    environment = {**os.environ, **ENVIRONMENT}
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # libtiff has a line for every odd tag: a picture could fill the log
        cwd=PROJECT_ROOT,
        env=environment,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin and process.stdout
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    process.wait()
    process.stdout.close()


def _exchange(process: subprocess.Popen[bytes], request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """The process' answer; raises the picture's problem when the process ended over it."""
    assert process.stdin and process.stdout
    watch = threading.Timer(PATIENCE, process.kill)
    watch.start()
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(strict_json.dumps({**request, "bytes": len(data)}).encode() + b"\n")
            process.stdin.write(data)
            process.stdin.flush()
        if line := process.stdout.readline():
            answer = json.loads(line)
            return answer, process.stdout.read(answer["bytes"])
    finally:
        watch.cancel()
    ended = process.wait()
    if ended == -signal.SIGPROF:
        raise problems.IMAGE_TOO_COSTLY(f"The picture takes too long to decode. {advice(data)}")
    log.error("A decoder ended with %d over a picture of %d bytes.", ended, len(data))
    raise problems.DAMAGED_IMAGE("The picture cannot be decoded: the decoder broke down over it. Save it again.")
