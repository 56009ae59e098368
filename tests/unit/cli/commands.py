"""Runs `captiond` commands in the test's process."""

from __future__ import annotations

from typing import Any

import pytest

from cli.main import main


def run(*arguments: str) -> Any:
    """Run a command and return its exit code."""
    with pytest.raises(SystemExit) as exit_info:
        main(list(arguments))
    return exit_info.value.code
