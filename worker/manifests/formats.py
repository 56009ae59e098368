"""The formats of manifests by their suffix, and the files of which a manifest consists."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import IO

from common import problems, strict_json
from common.images.formats import SUFFIXES
from common.manifests import ManifestSource, ResultStore, expand, suffix_of
from common.settings import Settings
from worker.archives.names import is_skipped
from worker.manifests.lines import Csv, JsonLines
from worker.manifests.rows import Format
from worker.manifests.tables import Parquet
from worker.manifests.tars import Tar

#: Name of the file beside the results that lists the pictures of a folder, one on each line.
LISTING = "listing.jsonl"
#: Suffixes of files that are the manifest if a folder has any of them.
SHARD_SUFFIXES = (".parquet", ".tar")


def formats(settings: Settings) -> Mapping[str, Format]:
    """Each format by its suffix."""
    lines = JsonLines()
    tar = Tar(settings.max_upload_bytes)
    return {".jsonl": lines, ".ndjson": lines, ".csv": Csv(), ".parquet": Parquet(), ".tar": tar}


class ManifestFiles:
    """Finds and opens the files of manifests. Methods raise `UploadsUnavailable`, `url-not-allowed`, `bad-manifest`."""

    def __init__(self, source: ManifestSource, results: ResultStore) -> None:
        self._source = source
        self._results = results

    def find(self, url: str, output: str) -> list[str]:
        """The URLs of the files in order, or `LISTING`.

        The pictures of a folder are listed in a file below `output`, so that all workers see the same ones.
        """
        if suffix_of(url) != "":
            return expand(url)
        with tempfile.TemporaryFile() as listing:
            shards = []
            for found in self._source.list(url):
                suffix = os.path.splitext(found)[1].lower()
                if suffix in SHARD_SUFFIXES:
                    shards.append(found)
                elif suffix in SUFFIXES and not shards and not is_skipped(found):
                    listing.write(f"{strict_json.dumps(found.removeprefix(url))}\n".encode())
            if shards:
                return shards
            listing.seek(0)
            self._results.write(output, LISTING, listing)
        return [LISTING]

    def open(self, file: str, output: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file that `find` returned."""
        if file == LISTING:
            return self._results.open(self._results.path(output, LISTING))
        return self._source.open(file)


def format_of(known: Mapping[str, Format], file: str) -> Format:
    """The format of a file; raises `bad-manifest`."""
    suffix = suffix_of(file)
    if not suffix:
        raise problems.BAD_MANIFEST("The suffix of {name} is not one of a manifest.", name=file.rsplit("/", 1)[-1])
    return known[suffix]
