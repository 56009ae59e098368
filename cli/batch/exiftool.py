"""Texts in the metadata of image files, read and written by exiftool: one process for all files of a run.

The process starts once (`-stay_open`), because starting Perl takes longer than the work. It sees each file by a
symbolic link of a fixed name in a folder of its own, so that no file name is ever a part of a command. It writes the
changed file to its standard output, and this module replaces the original.
"""

from __future__ import annotations

import html
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cli.batch import BatchError
from cli.children import DIE_WITH_PARENT
from common import problems
from common.files import atomic_write
from common.translation import Message, _
from common.xmp import ALT_TEXT, DESCRIPTION, Property

#: Names of the properties in exiftool.
TAGS = {DESCRIPTION: "XMP-dc:Description", ALT_TEXT: "XMP-iptcCore:AltTextAccessibility"}
#: Name of the link to the image, in the process's folder.
LINK = "image"
#: Bytes that are read from the process at once.
READ_SIZE = 1 << 20


class ExifTool:
    """A running exiftool. Raises `BatchError` if it is not installed. For one thread."""

    def __init__(self) -> None:
        program = shutil.which("exiftool")
        if program is None:
            raise BatchError(
                _(
                    "--embed needs the program exiftool, which is not installed (Debian: apt install "
                    "libimage-exiftool-perl; macOS: brew install exiftool). --xmp writes the same beside the images."
                )
            )
        self._program = program
        self._folder = tempfile.TemporaryDirectory(prefix="captiond-")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._errors_size = 0
        self._commands = 0
        self._process = self._start()

    def read(self, path: Path, prop: Property) -> str | None:
        """The property's text in the language `x-default`; None for none, or for a file without metadata.

        Raises the problem `damaged-image` if the process ends while it reads the file.
        """
        text, _error = self._run(path, "-b", f"-{TAGS[prop]}")
        return text.decode("utf-8", "replace") or None

    def write(self, path: Path, properties: Sequence[Property], text: str) -> None:
        """Set properties, in the language `x-default`; pixels, other metadata, times, mode and owner stay.

        The file is replaced atomically; of a symbolic link, the file that it names. Raises the problem
        `unsupported-image` if exiftool cannot write into it, or if another program changes it meanwhile.
        """
        path = path.resolve()
        before = path.stat()
        value = html.escape(text).replace("\n", "&#10;").replace("\r", "&#13;")
        changes = [f"-{TAGS[prop]}-x-default={value}" for prop in properties]
        # -E: the values are HTML, so that each is one line.
        content, error = self._run(path, "-E", *changes, "-o", "-")
        if not before.st_size:
            error = _("it is empty")  # exiftool would write XMP alone
        if error is not None:
            raise problems.UNSUPPORTED_IMAGE("exiftool cannot write into this file: {reason}.", reason=error)
        with atomic_write(path) as file:
            file.write(content)
            file.flush()  # before the times are set
            shutil.copystat(path, file.name)
            with suppress(PermissionError):  # only root may give files away
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            now = path.stat()
            if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise problems.UNSUPPORTED_IMAGE("The file was changed while its caption was written, and is kept.")

    def close(self) -> None:
        """End the process."""
        self._stop()
        self._errors.close()
        self._folder.cleanup()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            # -config with an empty name: the user's configuration could change what the tags mean.
            [self._program, "-config", "", "-stay_open", "True", "-@", "-"],
            cwd=self._folder.name,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            # Ctrl-C reaches the whole process group. `close` ends this process.
            start_new_session=True,
            preexec_fn=DIE_WITH_PARENT,
        )

    def _stop(self) -> None:
        assert self._process.stdin and self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.write(b"-stay_open\nFalse\n")
            self._process.stdin.flush()
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def _run(self, path: Path, *arguments: str) -> tuple[bytes, Message | str | None]:
        """Run a command on a file. Returns its output, and what went wrong: after that, the output is not complete.

        Raises the problem `damaged-image` if the process ends, and starts another.
        """
        link = Path(self._folder.name) / LINK
        link.unlink(missing_ok=True)
        link.symlink_to(path.absolute())
        self._commands += 1
        # After the errors comes the exit status.
        lines = [*arguments, LINK, "-echo4", "${status}", f"-execute{self._commands}"]
        assert self._process.stdin and self._process.stdout
        end, output = f"{{ready{self._commands}}}\n".encode(), bytearray()
        try:
            self._process.stdin.write("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
            self._process.stdin.flush()
            while not output.endswith(end):
                data = os.read(self._process.stdout.fileno(), READ_SIZE)
                if not data:
                    raise BrokenPipeError
                output += data
        except BrokenPipeError as error:
            self._stop()
            self._process = self._start()
            raise problems.DAMAGED_IMAGE("exiftool ended while it had this file.") from error
        size = os.fstat(self._errors.fileno()).st_size
        said = os.pread(self._errors.fileno(), size - self._errors_size, self._errors_size).decode(errors="replace")
        self._errors_size = size
        *sentences, status = said.splitlines()
        # An exiftool that is too old for a tag warns, and leaves it out.
        failures = [line for line in sentences if line.startswith("Error") or " is not defined" in line]
        failure: Message | str | None = None
        if failures:
            failure = failures[0].split(": ", 1)[-1].removesuffix(f" - {LINK}")
        elif status != "0":
            failure = _("it gives no reason")
        return bytes(output[: -len(end)]), failure
