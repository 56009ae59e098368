"""An upload store with the fault in the file named by TROUBLE: `raises`, `times out` or `answers half`.

`python -m tests.chaos.hooks.flaky_store` starts the web server with this store,
`celery -A tests.chaos.hooks.flaky_store worker` the worker. While the file is empty, `flaky://FOLDER` is a local
folder.
"""

from __future__ import annotations

import os
import runpy
import time
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from tests.chaos.hooks import load_celery_app


class FlakyFileSystem(LocalFileSystem):  # type: ignore[misc]
    protocol = "flaky"

    def __init__(self, **options: Any) -> None:
        super().__init__(auto_mkdir=True, **options)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        # The first folder stands for the bucket, whose name has no slash before it.
        stripped: str = super()._strip_protocol("/" + path.removeprefix("flaky://").lstrip("/"))
        return stripped

    def cat_file(self, path: str, **options: Any) -> bytes:
        half = _fault() == "answers half"
        data: bytes = super().cat_file(path, **options)
        return data[: len(data) // 2] if half else data

    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        _fault()
        super().pipe_file(path, value, **options)


def _fault() -> str:
    """The current fault; raises if it is an error."""
    fault = Path(os.environ["TROUBLE"]).read_text(encoding="utf-8")
    if fault == "raises":
        raise RuntimeError("EndpointConnectionError")
    if fault == "times out":
        time.sleep(0.5)
        raise TimeoutError
    return fault


fsspec.register_implementation("flaky", FlakyFileSystem)

__getattr__ = load_celery_app


if __name__ == "__main__":
    runpy.run_module("web", run_name="__main__")
