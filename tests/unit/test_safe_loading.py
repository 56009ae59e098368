"""A file of weights is data: nothing in it may run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.settings import PROJECT_ROOT

PACKAGES = ("benchmarks", "cli", "common", "training", "web", "worker")
SOURCES = sorted(path for package in PACKAGES for path in (PROJECT_ROOT / package).rglob("*.py"))


def calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node


def is_torch_load(call: ast.Call) -> bool:
    return ast.unparse(call.func) in ("torch.load", "torch.serialization.load")


def test_weights_are_loaded_as_data_wherever_they_are_loaded() -> None:
    found = [(path, call) for path in SOURCES for call in calls(path) if is_torch_load(call)]

    assert found
    for path, call in found:
        assert any(word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in call.keywords), path


@pytest.mark.parametrize("word", ["pickle", "marshal", "shelve", "dill"])
def test_nothing_is_unpickled_in_another_way(word: str) -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert word not in {name.split(".")[0] for name in names}, path


@pytest.mark.parametrize("call", ["eval", "exec", "os.system", "yaml.load", "joblib.load"])
def test_no_text_becomes_code(call: str) -> None:
    for path in SOURCES:
        assert call not in {ast.unparse(found.func) for found in calls(path)}, path
