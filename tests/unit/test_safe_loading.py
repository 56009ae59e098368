"""Files of weights are loaded as data: no code in them is executed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.settings import PROJECT_ROOT

PACKAGES = ("benchmarks", "captioning", "cli", "common", "training", "web", "worker")
SOURCES = sorted(path for package in PACKAGES for path in (PROJECT_ROOT / package).rglob("*.py"))


def calls(path: Path) -> Iterator[ast.Call]:
    """All calls in a source file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node


def is_torch_load(call: ast.Call) -> bool:
    return ast.unparse(call.func) in ("torch.load", "torch.serialization.load")


def test_every_torch_load_is_weights_only() -> None:
    loads = [(path, call) for path in SOURCES for call in calls(path) if is_torch_load(call)]

    assert loads
    for path, call in loads:
        assert any(word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in call.keywords), path


@pytest.mark.parametrize("module", ["pickle", "marshal", "shelve", "dill"])
def test_no_module_that_unpickles_is_imported(module: str) -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert module not in {name.split(".")[0] for name in names}, path


@pytest.mark.parametrize("function", ["eval", "exec", "os.system", "yaml.load", "joblib.load"])
def test_no_function_that_executes_text_is_called(function: str) -> None:
    for path in SOURCES:
        assert function not in {ast.unparse(call.func) for call in calls(path)}, path
