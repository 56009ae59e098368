"""The journal of an unfinished run. With it, the next run continues after a kill and captions no image twice.

Captions are written to the journal, and synced to the disk, before they are written to their output. A run that finds
a journal writes its captions to the output again, which has no effect on those already written, and captions only the
images that are not in the journal. A finished run deletes the journal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from common import strict_json
from common.files import append, complete_lines


@dataclass(frozen=True)
class Caption:
    """An image's caption, as it is written: with the template filled in.

    `confidence` and `unsure` are those of `common.jobs.Output`, and `translated` is the text of its translation, which
    has no template. For a sidecar, `content` is what its file is to
    contain, and `before` the digest of what it contained, None for no file.
    """

    image: str
    caption: str
    score: float | None
    confidence: float | None = None
    unsure: bool | None = None
    translated: str | None = None
    content: str | None = None
    before: str | None = None


class Journal:
    """Captions of an unfinished run, in a file of JSON lines. A last line that was cut off is removed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = complete_lines(path).splitlines() if path.exists() else []
        self.captions = [Caption(**json.loads(line)) for line in lines]

    def add(self, captions: Sequence[Caption]) -> None:
        """Write captions and sync them to the disk."""
        append(self._path, b"".join(strict_json.dumps(asdict(each)).encode() + b"\n" for each in captions))

    def delete(self) -> None:
        """Delete the journal of a finished run."""
        self._path.unlink(missing_ok=True)
