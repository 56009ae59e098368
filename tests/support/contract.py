"""Holds an answer to the API's description: its status, its media type, its headers and its JSON."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from web.api.openapi import document
from web.api.openapi.schemas import ref


def entry(method: str, path: str) -> dict[str, Any]:
    """What the description says of a request to a real path."""
    for template, methods in document()["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) and method.lower() in methods:
            return dict(methods[method.lower()])
    raise AssertionError(f"{method} {path} is not described.")


def holds(answer: Any) -> None:
    """Fail unless a test client's answer is as it is described, to the last member."""
    assert answer.status_code != 500, "It is described, but nothing that should happen."
    described = entry(answer.request.method, answer.request.path)["responses"]
    assert str(answer.status_code) in described, f"{answer.status_code} is not described: {answer.text[:300]}"
    response = described[str(answer.status_code)]
    for name, header in response.get("headers", {}).items():
        assert name in answer.headers or not header["required"], f"{name} is missing."
    contents = response.get("content")
    if not contents:
        assert answer.data == b""
        return
    assert answer.mimetype in contents, f"{answer.mimetype} is not described."
    schema = contents[answer.mimetype]["schema"]
    if answer.mimetype == "application/jsonl":
        for line in answer.text.splitlines():
            _validator(json.dumps(schema)).validate(json.loads(line))
    elif answer.mimetype.endswith("json"):
        _validator(json.dumps(schema)).validate(answer.json)


def fits(name: str, value: Any) -> None:
    """Fail unless `value` has the described shape of that name."""
    _validator(json.dumps(ref(name))).validate(value)


@cache
def _validator(schema: str) -> Draft202012Validator:
    whole = {**json.loads(schema), "components": document()["components"]}
    return Draft202012Validator(_closed(whole), format_checker=FormatChecker())


def _closed(schema: Any) -> Any:
    """The schema, allowing no member that it does not name."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    shut = {name: _closed(one) for name, one in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        shut["unevaluatedProperties"] = False
    return shut
