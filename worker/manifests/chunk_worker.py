"""Captions the chunks of manifests in a thread of its own, with the worker's decoders, batcher and model."""

from __future__ import annotations

import io
import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice

from captioning.captioner import ModelUnavailable
from common import problems
from common.ingest import upload_too_large
from common.jobs import ModelInfo, Output, Status
from common.ledger import ChunkClaim, Components
from common.logs import Subject
from common.manifests import ManifestSource, ResultStore, folder_of, join
from common.options import CaptionOptions
from common.problems import Problem
from common.settings import Settings
from common.translation import Message, ngettext
from common.uploads import UploadsUnavailable
from worker.batcher import Closed
from worker.leased import LeasedWorker, Stopped, Work
from worker.manifests.formats import ManifestFiles, format_of, formats
from worker.manifests.rows import Row
from worker.manifests.shards import ResultRow, result_row, shard

#: Model batches whose pictures are read, decoded or captioned at a time.
BATCHES_AHEAD = 3

log = logging.getLogger(__name__)

#: Captions the bytes of a picture with the options of its batch, the subject of the log lines. Raises its problem, or
#: `Closed` on shutdown.
CaptionImage = Callable[[bytes, CaptionOptions | None, Subject], Output | Problem]


class ChunkWorker(LeasedWorker[ChunkClaim]):
    """Writes the results of one chunk after the other.

    The results of a chunk are written together when it is done, and a chunk that is begun again writes the same bytes.
    """

    def __init__(
        self,
        settings: Settings,
        components: Components,
        files: ManifestFiles,
        source: ManifestSource,
        results: ResultStore,
        caption: CaptionImage,
        model: ModelInfo,
    ) -> None:
        super().__init__(settings, components.chunks)
        self._chunks = components.chunks
        self._files = files
        self._source = source
        self._results = results
        self._caption = caption
        self._model = model.name
        self._formats = formats(settings)
        self._window = BATCHES_AHEAD * settings.max_batch
        self._uncounted = False

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Record that the attempt of the present chunk does not count: what kills the worker now is something else."""
        self._uncounted = True
        try:
            self.extend()
            yield
        finally:
            self._uncounted = False
            self.extend()

    def _claim(self) -> ChunkClaim | None:
        return self._chunks.claim(self._model)

    def _counted_attempts(self, work: Work[ChunkClaim]) -> int | None:
        return work.claim.attempts - self._uncounted

    def _carry_out(self, work: Work[ChunkClaim]) -> None:
        claim, rows = work.claim, list[ResultRow]()
        with ThreadPoolExecutor(self._window, thread_name_prefix="chunk") as threads:
            ahead: deque[Future[ResultRow]] = deque()
            remaining = self._rows(claim)
            try:
                while True:
                    work.raise_if_stopped()
                    pictures = islice(remaining, self._window - len(ahead))
                    ahead.extend(threads.submit(self._result, work, row) for row in pictures)
                    if not ahead:
                        break
                    rows.append(ahead.popleft().result())
            finally:
                for future in ahead:
                    future.cancel()
        # A worker that has lost its claim, for example while it was suspended, writes nothing.
        self._until_redis_answers(work, self.extend)
        work.raise_if_stopped()
        self._results.write(claim.output, claim.shard, io.BytesIO(shard(rows, claim.format)))
        captioned = sum(row["status"] == Status.SUCCEEDED for row in rows)
        failed = len(rows) - captioned
        self._until_redis_answers(work, lambda: self._chunks.finish(claim, captioned=captioned, failed=failed))

    def _rows(self, claim: ChunkClaim) -> Iterator[Row]:
        file, start, end = (claim.span[name] for name in ("file", "start", "end"))
        with self._files.open(file, claim.output) as opened:
            yield from format_of(self._formats, file).rows(opened, start, end)

    def _result(self, work: Work[ChunkClaim], row: Row) -> ResultRow:
        """Caption a picture.

        Raises `Stopped`, `UploadsUnavailable` or `not-ready`, for which the chunk is begun again.
        """
        result: Output | Problem
        work.raise_if_stopped()
        try:
            result = self._caption(self._data(work.claim, row), work.claim.options, work.claim.subject)
        except Closed as error:
            raise Stopped from error
        except UploadsUnavailable:
            raise
        except ModelUnavailable as error:
            raise problems.NOT_READY(error.reason) from error
        except Problem as problem:
            result = problem
        except Exception:
            log.exception("A picture of chunk %s failed.", work.claim.id)
            result = problems.INTERNAL(
                "The picture could not be captioned. Try again; the server's log has the details."
            )
        return result_row(row, result, work.claim.options, self._model)

    def _data(self, claim: ChunkClaim, row: Row) -> bytes:
        """The bytes of a picture. Raises its problem."""
        if row.problem:
            raise row.problem
        limit = self._settings.max_upload_bytes
        if row.data is None:
            assert row.name is not None, "a row without a name has a problem"
            return self._source.read(join(folder_of(claim.url), row.name), limit)
        if len(row.data) > limit:
            raise upload_too_large(limit)
        return row.data

    def _fail(self, claim: ChunkClaim, problem: Problem) -> None:
        log.warning("The chunk %s is not captioned: %s", claim.id, problem.detail)
        self._chunks.fail(claim, problem)

    def _lost_sentence(self, attempts: int) -> Message:
        return ngettext(
            "A worker stopped responding while captioning these pictures. One of them may crash it.",
            "Workers stopped responding {count} times while captioning these pictures. One of them may crash them.",
            attempts,
        )
