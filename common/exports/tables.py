"""Formats with a row for each image: JSON lines, CSV, and the metadata file of Hugging Face's image folders."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from common import strict_json
from common.exports.export import Export
from common.exports.names import image_path
from common.jobs import Job

#: What the model says about its caption: score, and confidence where there is one.
QUALITY_FIELDS = ("score", "confidence", "unsure")
#: The columns of JSON lines and CSV, in order.
FIELDS = (
    "custom_id",
    "id",
    "status",
    "caption",
    "model_caption",
    "edited",
    *QUALITY_FIELDS,
    "translated",
    "model",
    "width",
    "height",
    "error",
)


def json_lines(export: Export) -> Iterator[bytes]:
    """A JSON object on each line for each job, finished or not."""
    for job in export.jobs:
        yield json_line(_row(job, export.language)).encode()


def csv_file(export: Export) -> Iterator[bytes]:
    """CSV (RFC 4180) in UTF-8 with a row for each job, finished or not.

    `translated` is the text alone, and `error` the error's detail.

    Values that a spreadsheet takes for a formula are not changed: any character that prevents it would be part of the
    value for every other program.
    """
    yield csv_lines([], FIELDS, header=True).encode()
    for job in export.jobs:
        row = _row(job, export.language)
        for name, member in (("translated", "caption"), ("error", "detail")):
            row[name] = row[name] and row[name][member]
        yield csv_lines([row], FIELDS).encode()


def image_folder(export: Export) -> Iterator[bytes]:
    """`metadata.jsonl` of Hugging Face's `imagefolder` loader: `file_name`, relative to this file, and `text`."""
    for _, job, caption in export.captioned():
        yield json_line({"file_name": image_path(job), "text": caption}).encode()


def json_line(row: Mapping[str, object]) -> str:
    """One row of JSON lines, with its line break."""
    return strict_json.dumps(row) + "\n"


def csv_lines(rows: Iterable[Mapping[str, object]], fields: Sequence[str], *, header: bool = False) -> str:
    """Rows of CSV by RFC 4180, with CRLF as line break. A missing value is empty, a truth value `true` or `false`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    if header:
        writer.writerow(fields)
    writer.writerows([_cell(row[name]) for name in fields] for row in rows)
    return text.getvalue()


def quality(job: Job) -> dict[str, Any]:
    """The `QUALITY_FIELDS` of the model's caption; each is None without one."""
    return {name: getattr(job.output, name, None) for name in QUALITY_FIELDS}


def _row(job: Job, language: str) -> dict[str, Any]:
    values = {
        "custom_id": job.custom_id,
        "id": job.id,
        "status": job.status.value,
        "caption": job.caption,
        "model_caption": job.output.caption if job.output else None,
        "edited": job.edited is not None,
        **quality(job),
        "translated": job.translation.model_dump() if job.translation else None,
        "model": job.model.name if job.model else None,
        "width": job.input.width if job.input else None,
        "height": job.input.height if job.input else None,
        "error": job.error.body(language) if job.error else None,
    }
    return {name: values[name] for name in FIELDS}


def _cell(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value
