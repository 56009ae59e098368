"""Reads the images of a ZIP archive within limits, whatever its headers claim."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, cast

from common import problems
from common.ingest import MAX_CUSTOM_ID_LENGTH
from common.problems import Problem
from common.settings import Settings
from common.uploads import StoredFile
from worker.archives.names import decode_name, is_skipped, is_unsafe

#: Bytes of the archive's directory for each image that a batch may have. `zipfile` reads the directory as a whole.
DIRECTORY_BYTES_PER_ITEM = 800
#: Maximum size of all unpacked files, as a multiple of the largest archive, and of one file as a multiple of its
#: compressed size, unless it is small. Pictures that compress better are hardly photographs.
MAX_TOTAL_RATIO, MAX_RATIO, ALWAYS_ALLOWED_BYTES = 4, 200, 2**20
#: Bytes of each read of an entry.
CHUNK_BYTES = 256 * 1024
#: bzip2 and LZMA are left out, because `zipfile` does not limit what it decompresses from one read.
METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
#: Bits of an entry's flags.
ENCRYPTED_FLAG, UTF_8_FLAG = 0x1, 0x800
#: Beginning and length of a file's header, and of an entry of the directory, without its name and what follows.
HEADER_MAGIC, HEADER_BYTES = b"PK\x03\x04", 30
DIRECTORY_MAGIC, DIRECTORY_ENTRY_BYTES = b"PK\x01\x02", 46
#: First bytes of ZIP, RAR, 7-Zip, gzip, bzip2 and xz files.
ARCHIVE_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"Rar!", b"7z\xbc\xaf\x27\x1c", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")
#: Exceptions of `zipfile` for damaged or unusual archives.
ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError, OverflowError)


@dataclass(frozen=True)
class Entry:
    """A file of the archive. `key` is unique in the archive; `custom_id` is the file's name with its folders.

    `problem` refuses it because of its header.
    """

    key: str
    custom_id: str
    info: zipfile.ZipInfo
    problem: Problem | None


class ArchiveReader:
    """The files of an archive. Raises `bad-archive` or `too-many-images` for the archive as a whole.

    Methods raise `UploadsUnavailable`.
    """

    def __init__(self, file: StoredFile, settings: Settings) -> None:
        self._max_bytes = settings.max_upload_bytes
        self._max_total = MAX_TOTAL_RATIO * settings.max_batch_bytes
        self._total = 0
        self._file = _LimitedFile(file, max(CHUNK_BYTES, DIRECTORY_BYTES_PER_ITEM * settings.max_batch_items))
        try:
            self._zip = zipfile.ZipFile(cast("IO[bytes]", self._file))
            self._file.directory_read = True
            self.entries = list(self._read_entries())
        except _ReadTooLarge as error:
            raise _too_many(settings) from error
        except ERRORS as error:
            raise problems.BAD_ARCHIVE(
                "The file is not a ZIP archive, or its end is missing. Make the archive again and send it."
            ) from error
        if len(self.entries) > settings.max_batch_items:
            raise _too_many(settings)

    def read(self, entry: Entry) -> bytes:
        """The bytes of an entry. Raises the problem that refuses it; the other entries can still be read."""
        if entry.problem:
            raise entry.problem
        data = bytearray()
        limit = max(ALWAYS_ALLOWED_BYTES, MAX_RATIO * entry.info.compress_size)
        try:
            with self._zip.open(entry.info) as file:
                while chunk := file.read(CHUNK_BYTES):
                    data += chunk
                    self._total += len(chunk)
                    if len(data) > self._max_bytes:
                        raise problems.UPLOAD_TOO_LARGE(
                            "The file is larger than the limit of {limit} MB when unpacked.",
                            limit=round(self._max_bytes / 2**20),
                        )
                    if len(data) > limit:
                        raise problems.BAD_ARCHIVE_ENTRY(
                            "The file is more than {ratio} times as large as in the archive. Send it by itself.",
                            ratio=MAX_RATIO,
                        )
                    if self._total > self._max_total:
                        raise problems.BAD_ARCHIVE_ENTRY(
                            "The files of the archive are larger than {limit} MB together. Send the rest in another "
                            "one.",
                            limit=round(self._max_total / 2**20),
                        )
        except ERRORS as error:
            raise problems.BAD_ARCHIVE_ENTRY("The file is damaged in the archive. Send it by itself.") from error
        if data.startswith(ARCHIVE_MAGIC):
            raise problems.BAD_ARCHIVE_ENTRY("The file is an archive itself. Unpack it, and send its pictures.")
        return bytes(data)

    def _read_entries(self) -> Iterator[Entry]:
        names: set[str] = set()
        for number, info in enumerate(self._zip.infolist()):
            name = decode_name(info)
            if is_skipped(name):
                continue
            duplicate = name in names
            names.add(name)
            # `zipfile` cuts names at NUL, so the key of a duplicate is no other entry's name.
            key, custom_id = f"{name}\0{number}" if duplicate else name, name[-MAX_CUSTOM_ID_LENGTH:]
            yield Entry(key, custom_id, info, _header_problem(info, name, duplicate))


def _header_problem(info: zipfile.ZipInfo, name: str, duplicate: bool) -> Problem | None:
    """Why the entry is refused because of its header; None if it is not."""
    if is_unsafe(name):
        return problems.BAD_ARCHIVE_ENTRY("The file's name is not a path below the archive's folder.")
    if len(name) > MAX_CUSTOM_ID_LENGTH:
        return problems.BAD_ARCHIVE_ENTRY(
            "The file's name has more than {limit} characters.", limit=MAX_CUSTOM_ID_LENGTH
        )
    if stat.S_ISLNK(info.external_attr >> 16):
        return problems.BAD_ARCHIVE_ENTRY("The file is a link. Send the picture to which it leads.")
    if info.flag_bits & ENCRYPTED_FLAG:
        return problems.BAD_ARCHIVE_ENTRY("The file is encrypted. Make an archive without a password.")
    if info.compress_type not in METHODS:
        return problems.BAD_ARCHIVE_ENTRY("The file is compressed by a method other than Deflate. Make a common ZIP.")
    if duplicate:
        return problems.BAD_ARCHIVE_ENTRY("The archive has another file with this name before.")
    return None


def _too_many(settings: Settings) -> Problem:
    return problems.TOO_MANY_IMAGES(
        "The archive has more than {limit} files, the maximum for a batch. Send several archives.",
        limit=settings.max_batch_items,
    )


def _without_utf8_flags(data: bytes) -> bytes:
    """A header of a file, or the archive's directory, without the flags for UTF-8 names; other data unchanged."""
    cleared, position = bytearray(data), 0
    if len(data) == HEADER_BYTES and data.startswith(HEADER_MAGIC):
        _clear_utf8_flag(cleared, 6)
    while cleared.startswith(DIRECTORY_MAGIC, position) and position + DIRECTORY_ENTRY_BYTES <= len(cleared):
        _clear_utf8_flag(cleared, position + 8)
        position += DIRECTORY_ENTRY_BYTES + sum(struct.unpack_from("<3H", cleared, position + 28))
    return bytes(cleared)


def _clear_utf8_flag(data: bytearray, offset: int) -> None:
    (flags,) = struct.unpack_from("<H", data, offset)
    struct.pack_into("<H", data, offset, flags & ~UTF_8_FLAG)


class _ReadTooLarge(Exception):
    pass


class _LimitedFile:
    """A file for `zipfile` that refuses large reads, so that a large directory does not fill the memory.

    It also clears the flags for UTF-8 names, because `zipfile` refuses an archive with such a name that is not UTF-8:
    those of the directory until `directory_read` is set, and those of the files' headers. Raises `OSError` for a
    position before the beginning, which a damaged archive can name.
    """

    def __init__(self, file: StoredFile, max_read: int) -> None:
        self._file = file
        self._max_read = max_read
        self._size = file.size()
        self.directory_read = False
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            size = max(0, self._size - self._file.tell())
        if size > self._max_read:
            raise _ReadTooLarge
        data = self._file.read(size)
        return _without_utf8_flags(data) if size == HEADER_BYTES or not self.directory_read else data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._file.tell(), os.SEEK_END: self._size}[whence]
        if position < 0:
            raise OSError("a position before the beginning of the archive")
        return self._file.seek(position)

    def seekable(self) -> bool:
        return True
