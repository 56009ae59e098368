"""Parquet files as manifests. Their ranges are ranges of rows, which begin and end with row groups if these are small.

pyarrow is imported when a Parquet file is read or written.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import IO, Any

from common import problems
from common.manifests import BUFFER_BYTES
from worker.manifests.rows import CUSTOM_ID_COLUMN, NAME_COLUMNS, Row, row_of

#: The column with pictures, as Hugging Face's `datasets` writes it: their bytes, or a struct of `bytes` and `path`.
IMAGE_COLUMN = "image"
#: Rows that are read at a time, since each may have the bytes of a picture.
READ_ROWS = 16


class Parquet:
    """A table with a column `url`, `file_name` or `image`."""

    def cut(self, file: IO[bytes], start: int, count: int) -> Iterator[tuple[int, int]]:
        table = _open(file)
        metadata = table.metadata
        ends = list(accumulate(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)))
        _columns(table)
        while start < metadata.num_rows:
            # Reading from within a group decodes its rows from the beginning.
            group = bisect_right(ends, start + count) - 1
            end = ends[group] if group >= 0 and ends[group] > start else start + count
            yield start, end
            start = end

    def rows(self, file: IO[bytes], start: int, end: int) -> Iterator[Row]:
        table = _open(file)
        columns = _columns(table)
        position = 0
        for number in range(table.metadata.num_row_groups):
            count = table.metadata.row_group(number).num_rows
            if position < end and position + count > start:
                yield from self._group(table, number, columns, position, start, end)
            position += count

    def _group(self, table: Any, number: int, columns: list[str], position: int, start: int, end: int) -> Iterator[Row]:
        batches = table.iter_batches(READ_ROWS, row_groups=[number], columns=columns)
        while (batch := _next(batches)) is not None:
            first, last = max(start - position, 0), min(end - position, batch.num_rows)
            if first < last:
                for offset, values in enumerate(batch.slice(first, last - first).to_pylist(), position + first):
                    yield _row(values, offset)
            position += batch.num_rows
            if position >= end:
                return


def pyarrow() -> Any:
    """The package, or `bad-manifest` without it."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise problems.BAD_MANIFEST(
            "This service reads and writes no Parquet files, because its extra `parquet` is not installed."
        ) from error
    return pyarrow


def _open(file: IO[bytes]) -> Any:
    with _as_problem():
        return pyarrow().parquet.ParquetFile(file, pre_buffer=False, buffer_size=BUFFER_BYTES)


def _next(batches: Iterator[Any]) -> Any:
    with _as_problem():
        return next(batches, None)


@contextmanager
def _as_problem() -> Iterator[None]:
    """Convert the errors of pyarrow for a damaged file."""
    try:
        yield
    except (pyarrow().ArrowException, OSError, ValueError) as error:
        raise problems.BAD_MANIFEST("The file is no Parquet file, or it is damaged.") from error


def _columns(table: Any) -> list[str]:
    """The columns to read."""
    names = set(table.schema_arrow.names)
    if not names & {*NAME_COLUMNS, IMAGE_COLUMN}:
        raise problems.BAD_MANIFEST("The table has no column `url`, `file_name` or `image`.")
    return [name for name in (IMAGE_COLUMN, *NAME_COLUMNS, CUSTOM_ID_COLUMN) if name in names]


def _row(values: dict[str, Any], number: int) -> Row:
    image = values.get(IMAGE_COLUMN)
    path, data = (image.get("path"), image.get("bytes")) if isinstance(image, dict) else (None, image)
    named = {"file_name": path, **{name: value for name, value in values.items() if value is not None}}
    if not isinstance(data, bytes):
        return row_of(named)
    row = row_of({"file_name": f"{number}", **{name: value for name, value in named.items() if value}})
    return row if row.problem else Row(row.name, row.custom_id, data)
