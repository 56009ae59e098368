"""Cuts the manifests of batches into chunks in a thread of its own, so that the first ones are captioned meanwhile."""

from __future__ import annotations

import logging
from itertools import dropwhile

from common import problems
from common.ledger import Components, ManifestClaim
from common.problems import Problem
from common.settings import Settings
from common.translation import Message, ngettext
from worker.leased import LeasedWorker, Stopped, Work
from worker.manifests.formats import LISTING, ManifestFiles, format_of, formats

#: Pictures of a chunk.
CHUNK_SIZE = 1000

log = logging.getLogger(__name__)


class Cutter(LeasedWorker[ManifestClaim]):
    """Records a chunk for each range of a manifest.

    Each chunk is recorded with the position after it, so another worker continues there, and all workers cut a manifest
    in the same way.
    """

    def __init__(self, settings: Settings, components: Components, files: ManifestFiles) -> None:
        super().__init__(settings, components.manifests)
        self._manifests = components.manifests
        self._files = files
        self._formats = formats(settings)

    def _carry_out(self, work: Work[ManifestClaim]) -> None:
        claim, number = work.claim, work.claim.chunks
        position = claim.position or {}
        listed = position.get("file") == LISTING  # a folder is listed only once
        files = [LISTING] if listed else self._files.find(claim.url, claim.output)
        if position and position["file"] not in files:
            raise problems.BAD_MANIFEST("The files of the manifest have changed while it was read.")
        start = position.get("start", 0)
        for file in dropwhile(lambda file: position and file != position["file"], files):
            with self._files.open(file, claim.output) as opened:
                for first, end in format_of(self._formats, file).cut(opened, start, CHUNK_SIZE):
                    span = {"file": file, "start": first, "end": end}
                    if not self._manifests.add_chunk(claim, number, span, {"file": file, "start": end}):
                        work.lost = True
                    work.raise_if_stopped()
                    self._note_progress(work)
                    number += 1
            start = 0
        if not self._manifests.finish(claim):
            raise Stopped

    def _fail(self, claim: ManifestClaim, problem: Problem) -> None:
        log.info("The manifest of batch %s is not cut to its end: %s", claim.id, problem.detail)
        self._manifests.finish(claim, problem)

    def _lost_sentence(self, attempts: int) -> Message:
        return ngettext(
            "A worker stopped responding while reading the manifest.",
            "Workers stopped responding {count} times while reading the manifest.",
            attempts,
        )
