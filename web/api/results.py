"""`/v1/batches/{id}/results`: the captions of a batch as a file, in one of several formats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flask import Blueprint, Response, jsonify, request

from common import problems
from common.exports import FORMATS, Export, Format, Names
from common.jobs import Batch
from common.manifest_records import Manifest
from common.problems import shown_name
from web.api.paging import query_int
from web.language import current_language
from web.services import Services, get_services

#: Bytes that are sent together, so that a row does not cost a packet.
CHUNK_BYTES = 64 * 1024
#: Files of results of a manifest on one page, and the largest number of one.
DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, MAX_CURSOR = 100, 1000, 10**8

blueprint = Blueprint("results", __name__, url_prefix="/v1/batches")


@blueprint.get("/<batch_id>/results")
def show(batch_id: str) -> Response:
    """The batch's results in the format `format`; 304 if they are those of `If-None-Match`.

    For a manifest, where its files of results are.
    """
    services = get_services()
    batch = services.batches.get(batch_id)
    if batch.manifest:
        return _shards(services, batch.id, batch.manifest)
    name = request.args.get("format", "jsonl")
    if name not in FORMATS:
        raise problems.BAD_REQUEST(
            "There is no format {name}. Use one of {known}.", name=shown_name(name), known=", ".join(FORMATS)
        )
    format, names = FORMATS[name], _requested_names(name, FORMATS[name])
    language = current_language()
    tag = _tag(services, batch, f"{name}-{names}-{language}")
    if tag and request.if_none_match.contains_weak(tag):
        response = Response(status=304)
    else:
        response = _download(format, Export(batch, services.batches.jobs(batch_id), names, language))
    response.headers["Cache-Control"] = "no-cache"
    if tag:
        response.set_etag(tag, weak=True)
    return response


def _shards(services: Services, batch_id: str, manifest: Manifest) -> Response:
    """One page of the files of results of a manifest, with the folder in which they are."""
    limit = query_int("limit", DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    first = query_int("cursor", 0, MAX_CURSOR, minimum=0)
    shards = services.components.chunks.shards(batch_id, manifest.format, first, limit)
    language = current_language()
    return jsonify(
        {
            "output": manifest.output,
            "format": manifest.format,
            "shards": [shard.body(language) for shard in shards],
            "next": str(first + limit) if first + limit < manifest.chunks.total else None,
        }
    )


def _requested_names(name: str, format: Format) -> Names:
    """The query parameter `names`, by default that of the format; raises `bad-request`."""
    text = request.args.get("names")
    if text is None:
        return format.names or Names.REPLACE
    if format.names is None or text not in set(Names):
        raise problems.BAD_REQUEST(
            "`names` is one of {names}, and only for the formats {formats}.",
            names=", ".join(Names),
            formats=", ".join(other for other in FORMATS if FORMATS[other].names),
        )
    return Names(text)


def _tag(services: Services, batch: Batch, variant: str) -> str | None:
    """The ETag of a batch's results in one variant; None while jobs are open, as these change without being counted.

    It is read before the jobs. A change after that makes the results newer than their ETag, so that the next request
    with it gets them again.
    """
    counts = batch.request_counts
    if counts.queued or counts.processing:
        return None
    return f"{services.batches.version(batch.id)}-{variant}"


def _download(format: Format, export: Export) -> Response:
    """A file that is written while it is sent."""
    response = Response(_chunks(format.write(export)), mimetype=format.media_type)
    filename = format.filename.format(id=export.batch.id)
    response.headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    # Every file is written anew, so that a part of it would cost as much as the whole.
    response.headers["Accept-Ranges"] = "none"
    return response


def _chunks(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Join parts to chunks of at least `CHUNK_BYTES`, except for the last one."""
    chunk = bytearray()
    for part in parts:
        chunk += part
        if len(chunk) >= CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)
