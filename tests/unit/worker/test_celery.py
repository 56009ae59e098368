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


#: Loads the model, with a library that catches every exception while the worker is asked to stop.
STOPPED_CODE = """
import os
import signal
from unittest.mock import MagicMock
from celery import signals
import captioning.captioner
import worker.celery
import worker.runtime

def load(settings):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except:
        print("caught")
    return MagicMock()

captioning.captioner.load_captioner = load
worker.celery.connect = worker.celery.Components = worker.runtime.WorkerRuntime = MagicMock()
signals.worker_init.send(sender="host")
print("started")
"""


def test_a_worker_that_is_stopped_while_it_loads_does_not_start_even_if_a_library_catches_the_exit() -> None:
    process = subprocess.run(
        [sys.executable, "-c", STOPPED_CODE],
        env=Settings().environment(),
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert process.stdout.split() == ["caught"]
