"""What can be wrong with a student's files."""

from __future__ import annotations


class StudentError(Exception):
    """A student that cannot be loaded; the message says what differs or what to do."""
