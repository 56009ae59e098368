"""The bundled demo student, loaded once per session."""

from __future__ import annotations

import pytest

from captioning.student import Student, load_student


@pytest.fixture(scope="session")
def demo() -> Student:
    return load_student("demo", processor="unused")
