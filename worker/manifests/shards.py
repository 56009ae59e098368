"""Files of results: a row for each picture of a chunk, the same bytes whenever and by whomever they are written."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from common.exports.tables import QUALITY_FIELDS, json_line
from common.jobs import Output, Status
from common.manifest_records import ResultFormat
from common.options import CaptionOptions
from common.problems import Problem
from common.records import Failure
from worker.manifests.rows import Row
from worker.manifests.tables import pyarrow

#: Decimals of a score. The last digits of a sum of floats depend on the other images of a model call.
SCORE_DECIMALS = 3

ResultRow = dict[str, Any]


def result_row(row: Row, result: Output | Problem, options: CaptionOptions | None, model: str) -> ResultRow:
    """The result of a picture, with the members that exports have, where these make sense without a job.

    `model` is the name of the model that captioned it.
    """
    output = None if isinstance(result, Problem) else result.with_template(options.template if options else None)
    error = Failure.of(result) if isinstance(result, Problem) else None
    values = output.model_dump(mode="json", include={*QUALITY_FIELDS, "caption", "translated"}) if output else {}
    score = values.get("score")
    return {
        "custom_id": row.custom_id or row.name,
        "file_name": row.name,
        "status": (Status.SUCCEEDED if output else Status.FAILED).value,
        "caption": values.get("caption"),
        **{name: values.get(name) for name in QUALITY_FIELDS},
        "score": None if score is None else round(score, SCORE_DECIMALS),
        "translated": values.get("translated"),
        "model": model if output else None,
        "error": error.body() if error else None,
    }


def shard(rows: Sequence[ResultRow], format: ResultFormat) -> bytes:
    """A file of results. Raises `bad-manifest` for Parquet without pyarrow."""
    return _parquet(rows) if format is ResultFormat.PARQUET else "".join(map(json_line, rows)).encode()


def _parquet(rows: Sequence[ResultRow]) -> bytes:
    arrow = pyarrow()
    text, number = arrow.string(), arrow.float64()
    translated = arrow.struct([("language", text), ("caption", text)])
    error = arrow.struct([("type", text), ("title", text), ("detail", text)])
    schema = arrow.schema(
        [
            ("custom_id", text),
            ("file_name", text),
            ("status", text),
            ("caption", text),
            ("score", number),
            ("confidence", number),
            ("unsure", arrow.bool_()),
            ("translated", translated),
            ("model", text),
            ("error", error),
        ]
    )
    buffer = io.BytesIO()
    arrow.parquet.write_table(arrow.Table.from_pylist(list(rows), schema=schema), buffer)
    return buffer.getvalue()
