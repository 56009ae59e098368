"""JSON according to RFC 8259. Python's `json` writes NaN and Infinity, which other parsers reject."""

from __future__ import annotations

import json
import math
from typing import Any


def dumps(value: Any, **options: Any) -> str:
    """Serialise a value. NaN and infinite floats become null, as in JavaScript and pydantic.

    `options` are those of `json.dumps`. All JSON is written by this function or pydantic; a test checks it.
    """
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_without_nan(value), allow_nan=False, **options)


def loads(text: str) -> Any:
    """Parse JSON. NaN and Infinity, which earlier versions wrote, become None."""
    return json.loads(text, parse_constant=lambda name: None)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(member) for member in value]
    return value
