"""Uploads are decoded in processes of their own: whatever a picture does there, here it is a problem."""

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
from common.images import decoding
from common.images.sandbox import Sandbox
from common.problems import Kind, Problem
from tests.support.hostile import SIDE, bmp, saved
from tests.support.images import drawing, encoded, numbered

LIMIT = 50_000_000
#: Seconds after which a test gives up; only a broken one needs them.
PATIENCE = 60.0
#: Takes Pillow, which decodes it in Python, several seconds.
SLOW = bmp(4000, 4000, 8, (b"\x01\x05" * 4000 + b"\0\0") * 4000)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox(1)
    yield made
    made.close()


def decoder(sandbox: Sandbox) -> int:
    """The process id of the idle decoder."""
    process = sandbox._idle.queue[0]
    assert process is not None
    return int(process.pid)


def refused(sandbox: Sandbox, data: bytes) -> Kind:
    with pytest.raises(Problem) as found:
        sandbox.check(data, LIMIT)
    assert len(found.value.detail) > 20
    return found.value.kind


def test_it_answers_as_decoding_here_would(sandbox: Sandbox) -> None:
    data = encoded(drawing(size=(400, 300)))

    assert sandbox.check(data, LIMIT) == decoding.check(data, LIMIT)
    assert sandbox.thumbnail(data, LIMIT, 100) == decoding.thumbnail(data, LIMIT, 100)
    assert sandbox.square(data, LIMIT, 96).tobytes() == decoding.square(data, LIMIT, 96).tobytes()


def test_a_thumbnail_is_a_picture(sandbox: Sandbox) -> None:
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
def test_a_refusal_comes_through(sandbox: Sandbox, data: bytes, kind: Kind) -> None:
    assert refused(sandbox, data) is kind


def test_one_process_serves_one_picture_after_the_other(sandbox: Sandbox) -> None:
    sandbox.check(encoded(), LIMIT)
    first = decoder(sandbox)
    refused(sandbox, b"text")
    sandbox.check(encoded(), LIMIT)

    assert decoder(sandbox) == first


def test_threads_wait_for_each_other(sandbox: Sandbox) -> None:
    pictures = numbered(6)
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda data: sandbox.square(data, LIMIT, 8).tobytes(), pictures))

    assert found == [decoding.square(data, LIMIT, 8).tobytes() for data in pictures]


def test_a_picture_that_takes_too_long_is_given_up_and_the_next_is_served(sandbox: Sandbox) -> None:
    assert refused(sandbox, SLOW) is problems.IMAGE_TOO_COSTLY

    assert sandbox.check(encoded(), LIMIT).format == "JPEG"


def test_a_picture_that_takes_too_much_memory_is_refused(sandbox: Sandbox) -> None:
    one_strip = saved(Image.new("RGB", (SIDE, SIDE)), "TIFF", compression="tiff_adobe_deflate", strip_size=2**30)

    assert refused(sandbox, one_strip) is problems.IMAGE_TOO_COSTLY


def test_the_advice_is_one_that_helps(sandbox: Sandbox) -> None:
    with pytest.raises(Problem, match=r"takes too long to decode\. Make the picture smaller, or save it as JPEG"):
        sandbox.check(SLOW, LIMIT)


def test_a_picture_of_100_megapixels_is_read_where_so_many_are_allowed(sandbox: Sandbox) -> None:
    data = encoded(Image.new("L", (10_000, 10_000)))

    assert sandbox.check(data, 100_000_000).height == 10_000
    assert sandbox.square(data, 100_000_000, 8).size == (8, 8)


def test_a_decoder_that_was_killed_while_it_was_idle_is_started_again(sandbox: Sandbox) -> None:
    sandbox.check(encoded(), LIMIT)
    killed = sandbox._idle.queue[0]
    assert killed is not None
    killed.kill()
    killed.wait()

    assert sandbox.check(encoded(), LIMIT).format == "JPEG"


def test_a_decoder_that_breaks_down_over_a_picture_is_a_problem_and_a_line_in_the_log(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.check(encoded(), LIMIT)
    killer = threading.Timer(0.3, os.kill, (decoder(sandbox), signal.SIGSEGV))
    killer.start()

    assert refused(sandbox, SLOW) is problems.DAMAGED_IMAGE
    assert f"ended with -{signal.SIGSEGV.value}" in caplog.text


def test_it_can_be_closed_and_used_again(sandbox: Sandbox) -> None:
    sandbox.check(encoded(), LIMIT)
    ended = decoder(sandbox)
    sandbox.close()

    assert not Path(f"/proc/{ended}").exists()
    assert sandbox.check(encoded(), LIMIT).format == "JPEG"


def test_a_decoder_ends_with_its_parent_however_that_ends() -> None:
    code = (
        "import os; from common.images.sandbox import sandbox; from tests.support.images import encoded;"
        "sandbox().check(encoded(), 10**6); print(sandbox()._idle.queue[-1].pid, flush=True); os.kill(os.getpid(), 9)"
    )
    pid = int(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False).stdout)

    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)
