"""What all outputs have in common, and the output that is one file for all images: JSON lines, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from cli.batch import BatchError
from cli.batch.journal import Caption
from cli.batch.sources import Source
from common import strict_json
from common.exports.tables import csv_lines, json_line
from common.files import append, atomic_write, complete_lines
from common.problems import Problem
from common.translation import _

#: How existing captions are treated.
Existing = Literal["skip", "overwrite", "append", "prepend"]

FIELDS = ("image", "caption", "score", "confidence", "unsure", "translated")
#: The fields that files of all versions have.
FIRST_FIELDS = FIELDS[:3]


class Output(Protocol):
    """Receives the captions of a run. Writing the same caption again has no effect."""

    def check(self, source: Source) -> None:
        """Raise `BatchError` for an image whose caption has no place of its own."""

    def has(self, source: Source) -> bool:
        """Whether the image has a caption."""

    def plan(self, source: Source, caption: Caption) -> Caption:
        """The caption with the data that `write` needs, for the journal."""

    def write(self, captions: Sequence[Caption]) -> dict[str, Problem]:
        """Write captions, except those already written. Return the problems, by image, of those that could not be."""

    def flush(self) -> None:
        """Write what is not yet in the file."""

    def close(self) -> None:
        """Flush, and free what the output holds."""


class TableFile:
    """One file with a row for each image: JSON lines (`.jsonl`), `.csv`, or `.json`, by the name's suffix.

    Rows are appended to JSON lines and CSV; a JSON array is written as a whole when the run ends. Raises `BatchError`
    when the file that is there cannot be read as what it should be.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self._path = path
        self._format = path.suffix.lower()
        if self._format not in (".jsonl", ".csv", ".json"):
            raise BatchError(_("--out {path} must end in .jsonl, .csv or .json.", path=path))
        self._fields: tuple[str, ...] = FIELDS
        self._rows: dict[str, dict[str, object]] = {}
        if path.exists() and not overwrite:
            try:
                self._read()
            except (ValueError, KeyError, TypeError, csv.Error) as error:
                raise BatchError(
                    _(
                        "{path} is not a file of captions that this command wrote ({reason}). Name another, or give "
                        "--existing overwrite.",
                        path=path,
                        reason=str(error),
                    )
                ) from error
        #: The earlier file is replaced by the first captions, so that a run that fails before them loses nothing.
        self._replace = overwrite
        self._changed = False
        path.parent.mkdir(parents=True, exist_ok=True)

    def check(self, source: Source) -> None:
        pass

    def has(self, source: Source) -> bool:
        return source.location in self._rows

    def plan(self, source: Source, caption: Caption) -> Caption:
        return caption

    def write(self, captions: Sequence[Caption]) -> dict[str, Problem]:
        new = [caption for caption in captions if caption.image not in self._rows]
        self._rows |= {each.image: {name: getattr(each, name) for name in self._fields} for each in new}
        if not new:
            return {}
        self._changed = True
        if self._format == ".json":
            return {}
        if self._replace:
            self._path.unlink(missing_ok=True)
            self._replace = False
        header = not self._path.exists() or not self._path.stat().st_size
        text = self._text([self._rows[each.image] for each in new], header=header)
        append(self._path, text.encode("utf-8", "surrogateescape"))
        return {}

    def flush(self) -> None:
        if self._format == ".json" and self._changed:
            self._changed = False
            with atomic_write(self._path) as file:
                file.write(strict_json.dumps(list(self._rows.values()), indent=1).encode() + b"\n")

    def close(self) -> None:
        self.flush()

    def _text(self, rows: Sequence[dict[str, object]], *, header: bool) -> str:
        if self._format == ".jsonl":
            return "".join(map(json_line, rows))
        return csv_lines(rows, self._fields, header=header)

    def _read(self) -> None:
        """Read the existing rows, and remove an incomplete last line."""
        content = self._path.read_bytes() if self._format == ".json" else complete_lines(self._path)
        text = content.decode("utf-8", "surrogateescape")
        if self._format == ".json":
            rows = json.loads(text)
        elif self._format == ".jsonl":
            rows = [json.loads(line) for line in text.split("\n") if line]
        else:
            rows = list(csv.DictReader(io.StringIO(text, newline="")))
        if rows:  # appended rows must have the columns of the header
            self._fields = tuple(name for name in FIELDS if name in FIRST_FIELDS or name in rows[0])
        self._rows = {row["image"]: {name: row[name] for name in self._fields} for row in rows}
