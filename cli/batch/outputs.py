"""Where captions are written: one file for all (JSON lines, CSV or JSON), or a file beside each image.

Each output knows which images have a caption. Writing the same caption again has no effect.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

from cli.batch import BatchError, xmp
from cli.batch.journal import Caption
from cli.batch.sources import Source
from common import strict_json
from common.files import append, atomic_write, complete_lines
from common.problems import Problem
from common.translation import _

#: How existing captions are treated.
Existing = Literal["skip", "overwrite", "append", "prepend"]

#: The suffix of XMP sidecars, behind the whole name of the image.
XMP = ".xmp"

FIELDS = ("image", "caption", "score")


class Output(Protocol):
    """Receives the captions of a run."""

    def has(self, source: Source) -> bool:
        """Whether the image has a caption."""

    def plan(self, source: Source, caption: Caption) -> Caption:
        """The caption with the data that `write` needs, for the journal."""

    def write(self, captions: Sequence[Caption]) -> None:
        """Write captions, except those already written."""

    def close(self) -> None:
        """Write what is not yet in the file."""


class TableFile:
    """One file with a row for each image: JSON lines (`.jsonl`), `.csv`, or `.json`, by the name's suffix.

    Rows are appended to JSON lines and CSV; a JSON array is written as a whole when the run ends. Raises `BatchError`
    when the file that is there cannot be read as what it should be.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self._path = path
        self._format = path.suffix.lower()
        if self._format not in (".jsonl", ".csv", ".json"):
            raise BatchError(_("--out {path} must end in .jsonl, .csv or .json.", path=str(path)))
        self._rows: dict[str, dict[str, object]] = {}
        if path.exists() and not overwrite:
            try:
                self._read()
            except (ValueError, KeyError, TypeError, csv.Error) as error:
                raise BatchError(
                    _(
                        "{path} is not a file of captions that this command wrote ({reason}). Name another, or give "
                        "--existing overwrite.",
                        path=str(path),
                        reason=str(error),
                    )
                ) from error
        #: The earlier file is replaced by the first captions, so that a run that fails before them loses nothing.
        self._replace = overwrite
        self._changed = False
        path.parent.mkdir(parents=True, exist_ok=True)

    def has(self, source: Source) -> bool:
        return source.location in self._rows

    def plan(self, source: Source, caption: Caption) -> Caption:
        return caption

    def write(self, captions: Sequence[Caption]) -> None:
        new = [caption for caption in captions if caption.image not in self._rows]
        self._rows |= {each.image: {name: getattr(each, name) for name in FIELDS} for each in new}
        if not new:
            return
        self._changed = True
        if self._format == ".json":
            return
        if self._replace:
            self._path.unlink(missing_ok=True)
            self._replace = False
        header = not self._path.exists() or not self._path.stat().st_size
        text = self._text([self._rows[each.image] for each in new], header=header)
        append(self._path, text.encode("utf-8", "surrogateescape"))

    def close(self) -> None:
        if self._format == ".json" and self._changed:
            with atomic_write(self._path) as file:
                file.write(strict_json.dumps(list(self._rows.values()), indent=1).encode() + b"\n")

    def _text(self, rows: Sequence[dict[str, object]], *, header: bool) -> str:
        if self._format == ".jsonl":
            return "".join(strict_json.dumps(row) + "\n" for row in rows)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

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
        self._rows = {row["image"]: {name: row[name] for name in FIELDS} for row in rows}


class Sidecars:
    """A file beside each image with its caption: text in `photo.txt` for `photo.jpg`, or XMP in `photo.jpg.xmp`."""

    def __init__(self, suffix: str, existing: Existing) -> None:
        self._suffix = suffix
        self._existing = existing

    def check(self, sources: Sequence[Source]) -> None:
        """Raise `BatchError` for an image that can have no sidecar, and for two that would share one."""
        owners: dict[Path, Source] = {}
        for source in sources:
            other = owners.setdefault(self.path(source.location), source)
            if other is not source:
                raise BatchError(
                    _(
                        "{one} and {other} would share the sidecar {sidecar}. Caption them in two runs, or use --out "
                        "or --xmp.",
                        one=other.location,
                        other=source.location,
                        sidecar=str(self.path(source.location)),
                    )
                )

    def path(self, image: str) -> Path:
        """The sidecar of an image; `--sidecars .xmp` has the names that digiKam, Immich and darktable look for."""
        if "://" in image:
            raise BatchError(_("There can be no sidecar beside {image}: use --out with URLs.", image=image))
        path = Path(image)
        return path.with_name(path.name + XMP) if self._suffix == XMP else path.with_suffix(self._suffix)

    def has(self, source: Source) -> bool:
        before = _read(self.path(source.location))
        if before is None or self._suffix != XMP:
            return before is not None
        try:
            return xmp.description(before) is not None
        except Problem:  # `plan` raises it again, where it is listed as the problem of its image
            return False

    def plan(self, source: Source, caption: Caption) -> Caption:
        """Raises the problem `damaged-image` when the sidecar is to be XMP and is not."""
        before = _read(self.path(source.location))

        def change(present: str | None) -> str:
            return self._joined((present or "").strip(), caption.caption)

        content = xmp.with_caption(before, change) if self._suffix == XMP else change(before) + "\n"
        return replace(caption, content=content, before=_digest(before))

    def write(self, captions: Sequence[Caption]) -> None:
        """A sidecar that somebody changed since its caption was planned is left as it is."""
        for caption in captions:
            path = self.path(caption.image)
            if caption.content is not None and caption.before == _digest(_read(path)):
                with atomic_write(path) as file:
                    file.write(caption.content.encode("utf-8", "surrogateescape"))

    def close(self) -> None:
        pass

    def _joined(self, present: str, caption: str) -> str:
        """The new caption, joined with the present one as `--existing` says."""
        if present and self._existing == "append":
            return f"{present}, {caption}"
        if present and self._existing == "prepend":
            return f"{caption}, {present}"
        return caption


def _read(path: Path) -> str | None:
    """The content of a sidecar; None if there is none."""
    return path.read_bytes().decode("utf-8", "surrogateescape") if path.exists() else None


def _digest(text: str | None) -> str | None:
    """The digest of a sidecar's content; None for none."""
    return None if text is None else hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
