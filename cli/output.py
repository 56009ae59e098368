"""Standard output and error of the commands, in the language of the terminal.

Every file name can be printed, and a closed pipe ends the command.
"""

from __future__ import annotations

import codecs
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from common.settings import terminal_language
from common.translation import translated

#: The exit code that a shell reports for a program ended by SIGPIPE.
SIGPIPE_EXIT_CODE = 128 + signal.SIGPIPE
#: Name under which `_encode_anyway` is registered as an error handler.
ERROR_HANDLER = "captiond.output"


def local(value: object) -> str:
    """A message, or an error with one, in the language of the terminal; anything else as its `str`."""
    return translated(value, terminal_language())


def say(value: object) -> None:
    """Print a message or an error to standard output, in the language of the terminal."""
    print(local(value))


def warn(value: object) -> None:
    """Print a message or an error to standard error, in the language of the terminal."""
    print(local(value), file=sys.stderr)


@contextmanager
def output() -> Iterator[None]:
    """Set up standard output and error for one command; exit silently when the reader of a pipe has closed it."""
    codecs.register_error(ERROR_HANDLER, _encode_anyway)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None when the descriptor is closed
            stream.reconfigure(errors=ERROR_HANDLER)
    try:
        try:
            yield
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes the buffer again at exit, which would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(SIGPIPE_EXIT_CODE)


def _encode_anyway(error: UnicodeError) -> tuple[str | bytes, int]:
    """Write undecodable bytes of a file name unchanged, and characters that the locale lacks as escapes."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)
