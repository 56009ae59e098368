"""Formats in which the captions of a batch are exported. Each is written page by page, as its jobs are read.

`FORMATS` lists them. JSON lines and CSV have a row for every job; the other formats leave out the jobs that have no
caption.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from common.exports import archives, documents, tables
from common.exports.export import Export, Names

__all__ = ["FORMATS", "Export", "Format", "Names"]


@dataclass(frozen=True)
class Format:
    """A format of exports.

    `filename` is the name of the file, where `{id}` stands for the batch's id. `write` yields its bytes. `names` is
    the default for how sidecars are named, None for a format without sidecars.
    """

    filename: str
    media_type: str
    write: Callable[[Export], Iterator[bytes]]
    names: Names | None = None


#: All formats by the name that the API gives them.
FORMATS: dict[str, Format] = {
    "jsonl": Format("captions-{id}.jsonl", "application/jsonl", tables.json_lines),
    "csv": Format("captions-{id}.csv", "text/csv", tables.csv_file),
    "coco": Format("captions-{id}.coco.json", "application/json", documents.coco),
    "txt.zip": Format("captions-{id}.txt.zip", "application/zip", archives.text_sidecars, Names.REPLACE),
    # The loader of Hugging Face's datasets looks for this name.
    "hf": Format("metadata.jsonl", "application/jsonl", tables.image_folder),
    "xmp.zip": Format("captions-{id}.xmp.zip", "application/zip", archives.xmp_sidecars, Names.APPEND),
    "labelstudio": Format("captions-{id}.labelstudio.json", "application/json", documents.label_studio),
}
