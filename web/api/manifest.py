"""The members of a JSON body that make a batch of a manifest: `manifest`, `output` and `format`."""

from __future__ import annotations

from common import problems
from common.keyring import Scope
from common.ledger import NewManifest
from common.manifest_records import ResultFormat
from common.manifests import SUFFIXES, check_url, expand, join, suffix_of
from common.problems import Problem
from common.settings import Settings
from web.auth.access import check_scope
from web.submission import json_body

MANIFEST_MEMBERS = ("manifest", "output", "format")


def requested_manifest(settings: Settings, batch_id: str) -> NewManifest | None:
    """The manifest of the request; None if its body is no JSON object with one.

    `output` is by default a folder named by the batch. Raises `key-refused`, `manifests-off`, `bad-request`,
    `bad-manifest` or `url-not-allowed`.
    """
    body = json_body()
    if not isinstance(body, dict) or body.keys().isdisjoint(MANIFEST_MEMBERS):
        return None
    # It reads whatever lies below the roots, and may replace earlier results.
    check_scope(Scope.ADMIN)
    if not settings.manifest_roots:
        raise problems.MANIFESTS_OFF("This service reads no manifests. Its operator can set CAPTIOND_MANIFEST_ROOTS.")
    url, output, format = body.get("manifest"), body.get("output", batch_id), body.get("format", ResultFormat.JSONL)
    if not isinstance(url, str) or suffix_of(url) is None:
        raise problems.BAD_REQUEST(
            "`manifest` must be the URL of a file that ends in {suffixes}, or of a folder, which ends in a slash.",
            suffixes=", ".join(SUFFIXES),
        )
    if not isinstance(output, str) or not output:
        raise problems.BAD_REQUEST("`output` must be the name of a folder for the results.")
    if not isinstance(format, str) or format not in set(ResultFormat):
        raise problems.BAD_REQUEST("`format` must be one of {formats}.", formats=", ".join(ResultFormat))
    check_url(expand(url)[0].rstrip("/"), settings.manifest_root_urls)
    folder = join(settings.results_location, output.rstrip("/"))
    try:
        check_url(folder, [settings.results_location])
    except Problem as error:
        raise problems.URL_NOT_ALLOWED(
            "`output` must be a folder below that of the results of this service."
        ) from error
    return NewManifest(url, folder, ResultFormat(format))
