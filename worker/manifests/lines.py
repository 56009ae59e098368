"""Manifests of text: JSON lines, and CSV. Their ranges are ranges of bytes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from typing import IO, Any

from common import problems
from common.translation import _
from worker.manifests.rows import NAME_COLUMNS, Row, row_of

#: Bytes of a row.
MAX_ROW_BYTES = 2**20

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
NOT_JSON = _("The line is no JSON object or text.")
NOT_CSV = _("The row has other columns than the header, or is no CSV in UTF-8.")


class JsonLines:
    """An object with `url` or `file_name`, or only its value, on each line. Empty lines are skipped."""

    def cut(self, file: IO[bytes], start: int, count: int) -> Iterator[tuple[int, int]]:
        return _cut(file, start, count, file.readline)

    def rows(self, file: IO[bytes], start: int, end: int) -> Iterator[Row]:
        return (self._row(line) for line in _records(file, start, end, file.readline))

    def _row(self, line: bytes) -> Row:
        try:
            value: Any = json.loads(line.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, str):
            value = {"file_name": value}
        return row_of(value) if isinstance(value, dict) else Row(None, problem=problems.BAD_MANIFEST_ROW(NOT_JSON))


class Csv:
    """RFC 4180 in UTF-8, with a header that has a column `url` or `file_name`. Empty rows are skipped.

    A row ends at a line break outside quotation marks, so a range can begin after any row.
    """

    def cut(self, file: IO[bytes], start: int, count: int) -> Iterator[tuple[int, int]]:
        self._header(file)
        return _cut(file, max(start, file.tell()), count, lambda size: _quoted_record(file, size))

    def rows(self, file: IO[bytes], start: int, end: int) -> Iterator[Row]:
        header = self._header(file)
        for record in _records(file, start, end, lambda size: _quoted_record(file, size)):
            values = _parse(record)
            if values is None or len(values) != len(header):
                yield Row(None, problem=problems.BAD_MANIFEST_ROW(NOT_CSV))
            else:
                yield row_of({name: value for name, value in zip(header, values, strict=True) if value})

    def _header(self, file: IO[bytes]) -> list[str]:
        """The names of the columns; moves behind them."""
        file.seek(0)
        record = _quoted_record(file, MAX_ROW_BYTES)
        header = _parse(record.removeprefix(BYTE_ORDER_MARK)) or []
        if not set(header) & set(NAME_COLUMNS):
            raise problems.BAD_MANIFEST("The first row of the CSV file names no column `url` or `file_name`.")
        return header


def _cut(file: IO[bytes], start: int, count: int, next_record: Callable[[int], bytes]) -> Iterator[tuple[int, int]]:
    """The ranges of `count` records that are not empty each."""
    file.seek(start)
    found = 0
    while record := _limited(next_record):
        found += bool(record.strip())
        if found == count:
            yield start, (end := file.tell())
            start, found = end, 0
    if found:
        yield start, file.tell()


def _records(file: IO[bytes], start: int, end: int, next_record: Callable[[int], bytes]) -> Iterator[bytes]:
    """The records of a range that are not empty."""
    file.seek(start)
    while file.tell() < end and (record := _limited(next_record)):
        if record.strip():
            yield record


def _limited(next_record: Callable[[int], bytes]) -> bytes:
    record = next_record(MAX_ROW_BYTES + 1)
    if len(record) > MAX_ROW_BYTES:
        raise problems.BAD_MANIFEST("A row has more than {limit} bytes.", limit=MAX_ROW_BYTES)
    return record


def _quoted_record(file: IO[bytes], limit: int) -> bytes:
    """The lines up to a line break outside quotation marks; at most `limit` bytes."""
    record, quotes = bytearray(), 0
    while line := file.readline(limit - len(record)):
        record += line
        quotes += line.count(b'"')
        # A quotation mark in quotes is doubled, so their number is even wherever a row may end.
        if quotes % 2 == 0 or len(record) == limit:
            break
    return bytes(record)


def _parse(record: bytes) -> list[str] | None:
    """The values of a row; None if it is no CSV."""
    try:
        return next(csv.reader([record.decode()], strict=True), None)
    except (csv.Error, UnicodeDecodeError):
        return None
