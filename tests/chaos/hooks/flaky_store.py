"""A store of uploads that is away while the file named by TROUBLE says how: `raises`, `times out` or `answers half`.

`python -m tests.chaos.hooks.flaky_store` is the web server with it, `celery -A tests.chaos.hooks.flaky_store worker`
the worker. The rest of the time `flaky://FOLDER` is a local folder.
"""

from __future__ import annotations

import os
import runpy
import time
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from tests.chaos.hooks import app_when_asked


class FlakyFileSystem(LocalFileSystem):  # type: ignore[misc]
    protocol = "flaky"

    def __init__(self, **options: Any) -> None:
        super().__init__(auto_mkdir=True, **options)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        stripped: str = super()._strip_protocol(path.removeprefix("flaky://"))
        return stripped

    def cat_file(self, path: str, **options: Any) -> bytes:
        half = _trouble() == "answers half"
        data: bytes = super().cat_file(path, **options)
        return data[: len(data) // 2] if half else data

    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        _trouble()
        super().pipe_file(path, value, **options)


def _trouble() -> str:
    """What the store suffers from; raises if that is an error."""
    trouble = Path(os.environ["TROUBLE"]).read_text(encoding="utf-8")
    if trouble == "raises":
        raise RuntimeError("EndpointConnectionError, as a client library raises it")
    if trouble == "times out":
        time.sleep(0.5)
        raise TimeoutError
    return trouble


fsspec.register_implementation("flaky", FlakyFileSystem)

__getattr__ = app_when_asked  # only the worker has use for it


if __name__ == "__main__":
    runpy.run_module("web", run_name="__main__")
