"""What the commands print: any file name can be written, and whoever reads it may leave early, as `head` does."""

from __future__ import annotations

import codecs
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: The exit code of a program that SIGPIPE ended, as a shell reports it.
READER_LEFT = 128 + signal.SIGPIPE
#: Name of the error handler of `_written_anyway`.
HANDLER = "captiond.output"


@contextmanager
def output() -> Iterator[None]:
    """Standard output and error for one command; a pipe that nobody reads any more ends the command quietly."""
    codecs.register_error(HANDLER, _written_anyway)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # it is None where the descriptor is closed
            stream.reconfigure(errors=HANDLER)
    try:
        try:
            yield
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered is written again when Python ends, and would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(READER_LEFT)


def _written_anyway(error: UnicodeError) -> tuple[str | bytes, int]:
    """The bytes of a file name that is not text as they are, and other characters that the locale lacks as escapes."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)
