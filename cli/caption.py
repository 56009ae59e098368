"""`captiond caption FILE…`: the worker's captioner in this process, without Redis."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from captioning.captioner import load_captioner
from captioning.stream import caption_stream
from captioning.student.errors import StudentError
from common import problems, strict_json
from common.problems import Problem
from common.settings import Settings


def caption(settings: Settings, files: list[Path], *, as_json: bool) -> int:
    """Print a caption for each file. Return 1 when a file could not be captioned, else 0."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    try:
        captioner = load_captioner(settings)
    except StudentError as error:
        print(error, file=sys.stderr)
        return 1
    failed = False
    for file, result in caption_stream(captioner, files, _bytes, settings.max_batch):
        if isinstance(result, Problem):
            failed = True
            print(f"{file}: {result.detail}", file=sys.stderr)
        elif as_json:
            print(strict_json.dumps({"file": str(file), **result.model_dump(mode="json")}), flush=True)
        else:
            print(f"{file}\t{result.caption}", flush=True)
    return int(failed)


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise problems.NOT_FOUND(f"The file cannot be read: {error.strerror}.") from error
