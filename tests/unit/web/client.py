"""The test client's type, and a model for the tests of the web tier."""

from __future__ import annotations

from typing import Any

from common.jobs import ModelInfo

#: Flask's test client; Any, because its type declares a response's JSON as optional.
Client = Any

MODEL = ModelInfo(name="student_epoch6", version="sha256:1f0c")
