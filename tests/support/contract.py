"""Validates responses against the OpenAPI document: status, media type, headers and JSON."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from web.api.openapi import document
from web.api.openapi.schemas import ref


def operation(method: str, path: str) -> dict[str, Any]:
    """The OpenAPI operation of a request. Raises AssertionError if there is none."""
    for template, methods in document()["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) and method.lower() in methods:
            return dict(methods[method.lower()])
    raise AssertionError(f"{method} {path} is not described.")


def assert_valid_response(response: Any) -> None:
    """Fail unless a test client's response is as documented, without undocumented members."""
    assert response.status_code != 500, "500 is documented, but no test expects it."
    documented = operation(response.request.method, response.request.path)["responses"]
    assert str(response.status_code) in documented, f"{response.status_code} is not documented: {response.text[:300]}"
    expected = documented[str(response.status_code)]
    for name, header in expected.get("headers", {}).items():
        assert name in response.headers or not header["required"], f"{name} is missing."
    contents = expected.get("content")
    if not contents:
        assert response.data == b""
        return
    assert response.mimetype in contents, f"{response.mimetype} is not documented."
    schema = contents[response.mimetype]["schema"]
    if response.mimetype == "application/jsonl":
        for line in response.text.splitlines():
            _validator(json.dumps(schema)).validate(json.loads(line))
    elif response.mimetype.endswith("json"):
        _validator(json.dumps(schema)).validate(response.json)


def assert_matches_schema(name: str, value: Any) -> None:
    """Fail unless `value` is valid against the OpenAPI schema `name`, without undocumented members."""
    _validator(json.dumps(ref(name))).validate(value)


@cache
def _validator(schema: str) -> Draft202012Validator:
    complete = {**json.loads(schema), "components": document()["components"]}
    return Draft202012Validator(_closed(complete), format_checker=FormatChecker())


def _closed(schema: Any) -> Any:
    """The schema with `unevaluatedProperties: false` in every object."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed["unevaluatedProperties"] = False
    return closed
