"""The operation of `/v1/batches/{batch_id}/results`."""

from __future__ import annotations

from common import problems
from common.exports import FORMATS, Names
from web.api.openapi import components
from web.api.openapi.components import BATCH_ID, header, operation, parameter, response
from web.api.openapi.schemas import STRING, ref
from web.api.results import DEFAULT_PAGE_SIZE, MAX_CURSOR, MAX_PAGE_SIZE

HEADERS = {
    "Content-Disposition": header("The name of the file. Absent for a manifest.", STRING, required=False),
    "ETag": header("Version of the results, for `If-None-Match`. Absent while jobs are open.", STRING, required=False),
}

FILE = response(
    "The file in the requested format. `jsonl` has a `Result` on each line, `hf` an `ImageFolderRow`; `coco` is "
    "`CocoCaptions`, `labelstudio` an array of `LabelStudioTask`. For a manifest, one page of `Shards`.",
    headers=HEADERS,
)
FILE["content"] = {
    "application/jsonl": {"schema": {"anyOf": [ref("Result"), ref("ImageFolderRow")]}},
    "text/csv": {"schema": STRING},
    "application/json": {
        "schema": {"anyOf": [ref("CocoCaptions"), {"type": "array", "items": ref("LabelStudioTask")}, ref("Shards")]}
    },
    "application/zip": {"schema": {**STRING, "format": "binary"}},
}

PATHS = {
    "/v1/batches/{batch_id}/results": {
        "get": operation(
            "getBatchResults",
            "Get the captions of a batch as a file, in the order of submission. `jsonl` and `csv` also have the "
            "pictures without a caption. For a manifest, list its files of results instead, which are in its store.",
            {
                200: FILE,
                304: response("The results have not changed.", headers=components.ETAG),
            },
            *components.COMMON_PROBLEMS,
            *components.BATCH_PROBLEMS,
            problems.BAD_REQUEST,
            parameters=[
                BATCH_ID,
                parameter("query", "format", "The format.", {**STRING, "enum": [*FORMATS], "default": "jsonl"}),
                parameter(
                    "query",
                    "names",
                    "How `txt.zip` and `xmp.zip` name the sidecar of `a/b.jpg`: `replace` for `a/b.txt`, the default "
                    "of `txt.zip`, or `append` for `a/b.jpg.txt`, that of `xmp.zip`.",
                    {**STRING, "enum": [*Names]},
                ),
                components.limit("files of results of a manifest", MAX_PAGE_SIZE, DEFAULT_PAGE_SIZE),
                parameter(
                    "query",
                    "cursor",
                    "For a manifest, the `next` value of the previous page.",
                    {"type": "integer", "minimum": 0, "maximum": MAX_CURSOR, "default": 0},
                ),
                components.IF_NONE_MATCH,
            ],
        )
    },
}
