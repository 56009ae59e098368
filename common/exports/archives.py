"""Formats that are a ZIP file of sidecars, written to a stream: a text file or XMP for each image."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

from common import xmp
from common.exports.export import Export
from common.exports.names import SidecarNames, image_path

#: Type and permissions of an unpacked file: a regular file that all may read.
FILE_MODE = 0o100644


def text_sidecars(export: Export) -> Iterator[bytes]:
    """A text file for each image, with its caption in UTF-8 on one line."""
    return _archive(export, ".txt", lambda caption: caption + "\n")


def xmp_sidecars(export: Export) -> Iterator[bytes]:
    """An XMP file for each image, as `captiond batch --xmp` writes it."""
    return _archive(export, ".xmp", lambda caption: xmp.with_caption(None, lambda _: caption))


def _archive(export: Export, suffix: str, content: Callable[[str], str]) -> Iterator[bytes]:
    """A ZIP file. What stays in memory is its directory, about a kilobyte for each image."""
    stream = _Stream()
    names = SidecarNames(suffix, export.names)
    with zipfile.ZipFile(stream, "w") as archive:
        for _, job, caption in export.captioned():
            time = job.edited.at if job.edited else job.completed_at or job.created_at
            date_time = (time.year, time.month, time.day, time.hour, time.minute, time.second)
            entry = zipfile.ZipInfo(names.give(image_path(job)), date_time)
            # Programs that unpack a stream need the end of each entry marked, as deflate does.
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = FILE_MODE << 16
            archive.writestr(entry, content(caption))
            yield stream.take()
    yield stream.take()


class _Stream(io.RawIOBase):
    """Collects what is written to it. It cannot seek, so that zipfile changes nothing that it has written."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def take(self) -> bytes:
        """Everything written since the last call."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data
