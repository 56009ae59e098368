"""`captiond caption FILE…`: the worker's captioner in this process, without Redis."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from captioning import weights
from captioning.captioner import Captioner, StudentCaptioner, limit_threads
from captioning.student.errors import StudentError
from common import problems, strict_json
from common.jobs import Output
from common.problems import Problem
from common.settings import Settings


def caption(settings: Settings, files: list[Path], *, as_json: bool) -> int:
    """Print a caption for each file; 1 when one of them could not be captioned."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    limit_threads()
    try:
        captioner = StudentCaptioner(weights.load(settings), settings)
    except StudentError as error:
        print(error, file=sys.stderr)
        return 1
    failed = False
    for file, result in captioned(captioner, files, settings):
        if isinstance(result, Problem):
            failed = True
            print(f"{file}: {result.detail}", file=sys.stderr)
        elif as_json:
            print(strict_json.dumps({"file": str(file), **result.model_dump(mode="json")}), flush=True)
        else:
            print(f"{file}\t{result.caption}", flush=True)
    return int(failed)


def captioned(captioner: Captioner, files: list[Path], settings: Settings) -> Iterator[tuple[Path, Output | Problem]]:
    """Each file with its caption or its problem, in order, `max_batch` in one call of the model."""
    for first in range(0, len(files), settings.max_batch):
        batch = files[first : first + settings.max_batch]
        results: dict[Path, Output | Problem] = {}
        prepared = {}
        for file in batch:
            try:
                prepared[file] = captioner.prepare(_bytes(file))
            except Problem as problem:
                results[file] = problem
        if prepared:
            results |= zip(prepared, captioner.caption(list(prepared.values())), strict=True)
        yield from ((file, results[file]) for file in batch)


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise problems.NOT_FOUND(f"The file cannot be read: {error.strerror}.") from error
