"""Uploads are decoded in separate processes, and every failure there becomes a `Problem`."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from common import problems
from common.images import decoding, raw
from common.images.sandbox import Sandbox
from common.problems import Kind, Problem
from tests.support import raw as raw_files
from tests.support.hostile import SIDE, bmp, saved
from tests.support.images import drawing, encoded, numbered

LIMIT = 50_000_000
#: Seconds after which a test fails.
TIMEOUT = 60.0
#: Pillow takes several seconds to decode this file, because it does so in Python.
SLOW_IMAGE = bmp(4000, 4000, 8, (b"\x01\x05" * 4000 + b"\0\0") * 4000)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox(1)
    yield sandbox
    sandbox.close()


def decoder_pid(sandbox: Sandbox) -> int:
    """Return the process id of the idle decoder."""
    process = sandbox._decoders._idle.queue[0]
    assert process is not None
    return int(process.pid)


def refusal(sandbox: Sandbox, data: bytes) -> Kind:
    with pytest.raises(Problem) as error:
        sandbox.check(data, LIMIT)
    assert len(error.value.detail) > 20
    return error.value.kind


def test_the_sandbox_gives_the_results_of_decoding(sandbox: Sandbox) -> None:
    data = encoded(drawing(size=(400, 300)))

    assert sandbox.check(data, LIMIT) == decoding.check(data, LIMIT)
    assert sandbox.thumbnail(data, LIMIT, 100) == decoding.thumbnail(data, LIMIT, 100)
    assert sandbox.preprocess(data, LIMIT, 96).tobytes() == decoding.preprocess(data, LIMIT, 96).tobytes()


def test_a_thumbnail_is_a_jpeg_that_fits(sandbox: Sandbox) -> None:
    with Image.open(io.BytesIO(sandbox.thumbnail(encoded(), LIMIT, 64))) as small:
        assert (small.format, small.size) == ("JPEG", (64, 48))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", problems.EMPTY_UPLOAD),
        (b"text", problems.UNSUPPORTED_IMAGE),
        (encoded()[:2000], problems.DAMAGED_IMAGE),
        (encoded(Image.new("1", (SIDE + 1, SIDE + 1)), "PNG"), problems.IMAGE_TOO_LARGE),
    ],
    ids=lambda value: value.slug if isinstance(value, Kind) else "",
)
def test_a_refusal_is_passed_on(sandbox: Sandbox, data: bytes, kind: Kind) -> None:
    assert refusal(sandbox, data) is kind


def test_a_process_decodes_several_images(sandbox: Sandbox) -> None:
    sandbox.check(encoded(), LIMIT)
    first = decoder_pid(sandbox)
    refusal(sandbox, b"text")
    sandbox.check(encoded(), LIMIT)

    assert decoder_pid(sandbox) == first


def test_threads_wait_for_a_free_process(sandbox: Sandbox) -> None:
    images = numbered(6)
    with ThreadPoolExecutor(6) as threads:
        actual = list(threads.map(lambda data: sandbox.preprocess(data, LIMIT, 8).tobytes(), images))

    assert actual == [decoding.preprocess(data, LIMIT, 8).tobytes() for data in images]


def test_an_image_that_takes_too_long_is_refused_and_the_next_is_decoded(sandbox: Sandbox) -> None:
    assert refusal(sandbox, SLOW_IMAGE) is problems.IMAGE_TOO_COSTLY

    assert sandbox.check(encoded(), LIMIT).format == "JPEG"


def test_a_picture_that_takes_too_much_memory_is_refusal(sandbox: Sandbox) -> None:
    one_strip = saved(Image.new("RGB", (SIDE, SIDE)), "TIFF", compression="tiff_adobe_deflate", strip_size=2**30)

    assert refusal(sandbox, one_strip) is problems.IMAGE_TOO_COSTLY


def test_the_refusal_advises_to_save_as_jpeg(sandbox: Sandbox) -> None:
    with pytest.raises(Problem, match=r"takes too long to decode\. Make the picture smaller, or save it as JPEG"):
        sandbox.check(SLOW_IMAGE, LIMIT)


def test_an_image_of_100_megapixels_is_decoded_if_the_limit_allows_it(sandbox: Sandbox) -> None:
    data = encoded(Image.new("L", (10_000, 10_000)))

    assert sandbox.check(data, 100_000_000).height == 10_000
    assert sandbox.preprocess(data, 100_000_000, 8).size == (8, 8)


def test_an_idle_decoder_that_was_killed_is_started_again(sandbox: Sandbox) -> None:
    sandbox.check(encoded(), LIMIT)
    process = sandbox._decoders._idle.queue[0]
    assert process is not None
    process.kill()
    process.wait()

    assert sandbox.check(encoded(), LIMIT).format == "JPEG"


def test_a_decoder_that_crashes_gives_a_problem_and_a_log_line(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.check(encoded(), LIMIT)
    killer = threading.Timer(0.3, os.kill, (decoder_pid(sandbox), signal.SIGSEGV))
    killer.start()

    assert refusal(sandbox, SLOW_IMAGE) is problems.DAMAGED_IMAGE
    assert f"ended with exit code -{signal.SIGSEGV.value}" in caplog.text


def test_a_closed_sandbox_can_be_used_again(sandbox: Sandbox) -> None:
    sandbox.check(encoded(), LIMIT)
    pid = decoder_pid(sandbox)
    sandbox.close()

    assert not Path(f"/proc/{pid}").exists()
    assert sandbox.check(encoded(), LIMIT).format == "JPEG"


def test_a_decoder_ends_when_its_parent_is_killed() -> None:
    code = (
        "import os; from common.images.sandbox import sandbox; from tests.support.images import encoded;"
        "sandbox().check(encoded(), 10**6); print(sandbox()._decoders._idle.queue[-1].pid, flush=True);"
        "os.kill(os.getpid(), 9)"
    )
    pid = int(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False).stdout)

    deadline = time.monotonic() + TIMEOUT
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class TestRaw:
    def test_a_raw_file_is_decoded_by_its_preview(self, sandbox: Sandbox) -> None:
        assert sandbox.check(raw_files.DNG, LIMIT) == decoding.ImageInfo("RAW", 320, 240)
        assert sandbox.thumbnail(raw_files.DNG, LIMIT, 100) == decoding.thumbnail(encoded(), LIMIT, 100)
        actual = sandbox.preprocess(raw_files.DNG, LIMIT, 96).tobytes()
        assert actual == decoding.preprocess(encoded(), LIMIT, 96).tobytes()

    def test_the_preview_is_upright(self, sandbox: Sandbox) -> None:
        assert sandbox.check(raw_files.dng(encoded(), orientation=6), LIMIT).height == 320

    def test_the_limits_are_those_of_other_images(self, sandbox: Sandbox) -> None:
        with pytest.raises(Problem) as error:
            sandbox.check(raw_files.DNG, 1000)
        assert error.value.kind is problems.IMAGE_TOO_LARGE

    def test_a_file_of_100_mb_is_read(self, sandbox: Sandbox) -> None:
        assert sandbox.check(raw_files.dng(encoded(), padding=100_000_000), LIMIT).width == 320

    def test_without_rawpy_a_raw_file_is_refused_with_what_to_install(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(raw, "is_installed", lambda: False)

        with pytest.raises(Problem, match=r"pip install -e '\.\[raw\]'") as error:
            sandbox.check(raw_files.DNG, LIMIT)
        assert error.value.kind is problems.UNSUPPORTED_IMAGE
