"""The error of a student that cannot be loaded."""

from __future__ import annotations


class StudentError(Exception):
    """A student cannot be loaded or saved. The message says what is wrong and what to do."""
