"""JSON as RFC 8259 has it. Python's own `json` writes NaN and Infinity, which no other reader takes."""

from __future__ import annotations

import json
import math
from typing import Any


def dumps(value: Any, **options: Any) -> str:
    """The value as JSON text; a float that is no finite number becomes null, as in JavaScript and pydantic.

    `options` are those of `json.dumps`. Everything that this project writes as JSON is written by this function or by
    pydantic, and a test sees to it.
    """
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_without_nan(value), allow_nan=False, **options)


def loads(text: str) -> Any:
    """The value of a JSON text; NaN and Infinity, which earlier versions wrote, become None."""
    return json.loads(text, parse_constant=lambda name: None)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(member) for member in value]
    return value
