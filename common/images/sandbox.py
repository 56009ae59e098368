"""Decodes uploads in separate processes, so that no image can hang, crash or exhaust the memory of the service.

A file of a few kilobytes can make Pillow allocate gigabytes or compute for minutes, and its decoders are a million
lines of C. A failure of `common.images.decoder_process` becomes a `Problem` here.
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
from dataclasses import replace
from functools import cache
from typing import Any

from PIL import Image

from common import problems, strict_json
from common.images import raw
from common.images.decoding import ImageInfo, advice
from common.settings import PROJECT_ROOT
from common.translation import Message

#: Limits of the number of decoder processes, which is otherwise the number of processors.
MIN_PROCESSES, MAX_PROCESSES = 2, 8

#: Seconds before a decoder process is killed. The limit of processor time does not end a process that is blocked.
TIMEOUT = 60.0

#: Makes glibc return freed images to the system at once, so that they do not count for the next one (mallopt(3)), and
#: numpy, which rawpy imports, allocate buffers for one thread only.
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "1048576", "OPENBLAS_NUM_THREADS": "1"}

log = logging.getLogger(__name__)


class Sandbox:
    """Decoder processes, at most `processes` of either kind. A thread waits if all of them are busy.

    A camera's RAW file is decoded by its preview. Processes of their own extract previews, because rawpy and the file
    take memory that the pixels of a large image need.

    Methods raise the same problems as the functions of `common.images.decoding` and `raw.preview`, and
    `image-too-costly`.
    """

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self._decoders, self._extractors = _Pool(processes), _Pool(processes)

    def check(self, data: bytes, max_pixels: int) -> ImageInfo:
        """Decode the image, and return its format and size."""
        rendered = self._rendered(data)
        info = ImageInfo(**self._decoders.request("check", rendered, max_pixels)[0])
        return info if rendered is data else replace(info, format=raw.FORMAT)

    def preprocess(self, data: bytes, max_pixels: int, side: int) -> Image.Image:
        """Return the image in RGB, resized to `side` x `side` pixels, ignoring its aspect ratio."""
        pixels = self._decoders.request("preprocess", self._rendered(data), max_pixels, side)[1]
        return Image.frombytes("RGB", (side, side), pixels)

    def thumbnail(self, data: bytes, max_pixels: int, side: int) -> bytes:
        """Return the image as a JPEG of at most `side` x `side` pixels."""
        return self._decoders.request("thumbnail", self._rendered(data), max_pixels, side)[1]

    def close(self) -> None:
        """End the processes after their present image. They are started again when needed."""
        self._decoders.close()
        self._extractors.close()

    def _rendered(self, data: bytes) -> bytes:
        """The preview of a RAW file; any other file as it is."""
        if not raw.is_raw(data):
            return data
        if not raw.is_installed():
            raise problems.UNSUPPORTED_IMAGE(
                "The file is a camera RAW file, and captiond was installed without what reads those. Install it with "
                "{command}, or send the picture as JPEG.",
                command="pip install -e '.[raw]' -c constraints.txt",
            )
        return self._extractors.request("preview", data)[1]


class _Pool:
    """Up to `processes` decoder processes, which are started when they are needed."""

    def __init__(self, processes: int) -> None:
        # Last in, first out, so that no more processes are started than the load needs.
        self._idle: queue.LifoQueue[subprocess.Popen[bytes] | None] = queue.LifoQueue()
        self.processes = processes
        for _ in range(processes):
            self._idle.put(None)

    def request(self, task: str, data: bytes, *arguments: int) -> tuple[dict[str, Any], bytes]:
        """Return the information and the bytes that a process answers. Raises a `Problem`."""
        process = self._idle.get()
        try:
            if process is not None and process.poll() is not None:
                _end(process)
                process = None
            process = process or _start()
            response, result = _exchange(process, {"task": task, "arguments": arguments}, data)
        except BaseException:
            if process is not None:
                process.kill()
                _end(process)
                process = None
            raise
        finally:
            self._idle.put(process)
        if "problem" in response:
            raise problems.KINDS[response["problem"]](Message.model_validate(response["message"]))
        return response["info"], result

    def close(self) -> None:
        """End the processes after their present image."""
        for _ in range(self.processes):
            if process := self._idle.get():
                _end(process)
        for _ in range(self.processes):
            self._idle.put(None)


@cache
def sandbox() -> Sandbox:
    """Return the sandbox of this process."""
    instance = Sandbox(min(max(os.cpu_count() or 1, MIN_PROCESSES), MAX_PROCESSES))
    atexit.register(instance.close)
    return instance


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "common.images.decoder_process"]
    environment = {**os.environ, **ENVIRONMENT}
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # libtiff warns about every unknown tag, so an image could fill the log
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
    """Send a request and return the response. Raises a `Problem` if the process ends before it answers."""
    assert process.stdin and process.stdout
    timer = threading.Timer(TIMEOUT, process.kill)
    timer.start()
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(strict_json.dumps({**request, "bytes": len(data)}).encode() + b"\n")
            process.stdin.write(data)
            process.stdin.flush()
        if line := process.stdout.readline():
            response = json.loads(line)
            return response, process.stdout.read(response["bytes"])
    finally:
        timer.cancel()
    exit_code = process.wait()
    if exit_code == -signal.SIGPROF:
        raise problems.IMAGE_TOO_COSTLY("The picture takes too long to decode. {advice}", advice=advice(data))
    log.error("A decoder process ended with exit code %d on an image of %d bytes.", exit_code, len(data))
    raise problems.DAMAGED_IMAGE("The picture cannot be decoded: the decoder crashed. Save the picture again.")
