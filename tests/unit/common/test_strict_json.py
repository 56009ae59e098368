"""The project writes only valid JSON."""

from __future__ import annotations

import ast
import json
import math

import pytest

from common import strict_json
from common.jobs import Output
from tests.unit.test_safe_loading import SOURCES

NOT_FINITE = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("number", NOT_FINITE)
def test_a_number_that_is_not_finite_becomes_null(number: float) -> None:
    value = {"score": number, "all": [1.5, (number, "text")], "none": None}

    assert json.loads(strict_json.dumps(value)) == {"score": None, "all": [1.5, [None, "text"]], "none": None}


def test_other_values_are_written_as_by_python_s_json() -> None:
    value = {"b": 1, "a": [True, 0.1, "ü", None]}

    assert strict_json.dumps(value, sort_keys=True, indent=1) == json.dumps(value, sort_keys=True, indent=1)


def test_nan_of_earlier_versions_is_read_as_none() -> None:
    assert strict_json.loads('{"score": NaN, "others": [Infinity, -Infinity, -0.5]}') == {
        "score": None,
        "others": [None, None, -0.5],
    }


@pytest.mark.parametrize("number", NOT_FINITE)
def test_pydantic_writes_null_for_a_number_that_is_not_finite(number: float) -> None:
    assert json.loads(Output(caption="a dog", score=number).model_dump_json())["score"] is None


def test_no_other_module_uses_json_dumps() -> None:
    own = ("json.dumps", "json.dump", "json.JSONEncoder")
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & set(own)
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

        assert not found or path.name == "strict_json.py", path
        assert "json" not in imported, path
