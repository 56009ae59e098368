"""`captiond caption FILE…`: the worker's captioner in this process, without Redis."""

from __future__ import annotations

import logging
import sys

from captioning.captioner import load_captioner
from captioning.errors import StudentError
from captioning.stream import caption_stream
from cli.batch.sources import Source
from cli.output import local, warn
from common import strict_json
from common.problems import Problem
from common.settings import Settings

#: The file name that stands for standard input.
STDIN = "-"


def caption(settings: Settings, files: list[str], *, as_json: bool, count: int = 1) -> int:
    """Print the `count` best captions of each file, URL or `-`. Return 1 when one could not be captioned, else 0."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    try:
        captioner = load_captioner(settings)
    except StudentError as error:
        warn(error)
        return 1
    failed = False
    for file, result in caption_stream(captioner, files, _read, settings.max_batch):
        if isinstance(result, Problem):
            failed = True
            warn(f"{file}: {local(result)}")
        elif as_json:
            print(strict_json.dumps({"file": file, **result.model_dump(mode="json")}), flush=True)
        else:
            for text in [result.caption, *(each.caption for each in result.alternatives)][:count]:
                print(f"{file}\t{text}", flush=True)
    return int(failed)


def _read(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == STDIN else Source(file).read()
