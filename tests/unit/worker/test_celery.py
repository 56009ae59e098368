"""The process of `celery -A worker worker`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from common.settings import PROJECT_ROOT, Settings

#: What Celery does before it loads the model: its signal, and a warning such as that for the superuser.
CODE = """
import warnings
from types import SimpleNamespace
from celery import signals
import worker.celery
instance = SimpleNamespace(quiet=False)
signals.celeryd_init.send(sender="host", instance=instance)
warnings.warn("a warning")
print(instance.quiet)
"""


@pytest.mark.parametrize("log", ["text", "json"])
def test_with_a_json_log_celery_prints_no_banner_and_its_warnings_are_json(log: str) -> None:
    environment = Settings(log="json" if log == "json" else "text").environment()

    process = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )

    assert process.stdout.strip() == str(log == "json")
    lines = [line for line in process.stderr.splitlines() if line.startswith("{")]
    assert ["a warning" in json.loads(line)["message"] for line in lines] == ([True] if log == "json" else [])
