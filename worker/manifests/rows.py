"""The rows of manifests: a picture each, by its URL or its bytes, or why there is none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Protocol

from common import problems
from common.ingest import MAX_CUSTOM_ID_LENGTH
from common.manifests import MAX_URL_LENGTH
from common.problems import Problem

#: Columns with the URL or file name of a picture; the first one that a row has is taken.
NAME_COLUMNS = ("url", "file_name")
CUSTOM_ID_COLUMN = "custom_id"

_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Row:
    """A row of a manifest.

    `name` is the picture's URL or file name as the manifest has it, and `custom_id` the client's own name for it. The
    row has the bytes of the picture in `data`, or a `problem`, or neither: then `name` says where it is.
    """

    name: str | None
    custom_id: str | None = None
    data: bytes | None = None
    problem: Problem | None = None


class Format(Protocol):
    """How the rows of one file are found. Positions are numbers whose meaning only the format knows, from 0 on.

    Methods raise `bad-manifest` for a file that cannot be read as a whole.
    """

    def cut(self, file: IO[bytes], start: int, count: int) -> Iterator[tuple[int, int]]:
        """The ranges of about `count` rows each from position `start` on; each ends where the next one begins."""

    def rows(self, file: IO[bytes], start: int, end: int) -> Iterator[Row]:
        """The rows of one range."""


def row_of(values: dict[str, Any]) -> Row:
    """The row of a record that names its picture in one of `NAME_COLUMNS`."""
    name = next((values[column] for column in NAME_COLUMNS if values.get(column) is not None), None)
    custom_id = values.get(CUSTOM_ID_COLUMN)
    if not (isinstance(name, str) and _is_text(name, MAX_URL_LENGTH)):
        return Row(
            None,
            problem=problems.BAD_MANIFEST_ROW(
                "The row has no `url` or `file_name` with a text of 1 to {limit} characters.", limit=MAX_URL_LENGTH
            ),
        )
    if custom_id is not None and not _is_text(custom_id := str(custom_id), MAX_CUSTOM_ID_LENGTH):
        return Row(
            name,
            problem=problems.BAD_MANIFEST_ROW(
                "The `custom_id` of the row has more than {limit} characters, or none.", limit=MAX_CUSTOM_ID_LENGTH
            ),
        )
    return Row(name, custom_id)


def _is_text(value: str, limit: int) -> bool:
    """Whether the text has 1 to `limit` characters, and all of them are characters of Unicode."""
    return 0 < len(value) <= limit and not _SURROGATES.search(value)
