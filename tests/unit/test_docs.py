"""The documentation lists every setting, flag, problem, route, command and script, and its links are valid."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import fakeredis
import pytest

from common.images.formats import FORMAT_NAMES
from common.problems import KINDS
from common.settings import COMPAT_PROTOCOLS, PROJECT_ROOT, Settings
from training import distill, evaluate, export, prepare, report
from training.config import Config
from web import create_app

DOCS = [
    *(PROJECT_ROOT / name for name in ("README.md", "README.ru.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted((PROJECT_ROOT / "docs").glob("*.md")),
]


def text(name: str) -> str:
    """The text of a file of the repository."""
    return (PROJECT_ROOT / name).read_text(encoding="utf-8")


def format_default(value: object) -> str:
    """A default value as the tables of the documentation show it."""
    if value is None or value in ((), ""):
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_in_the_operations_guide(name: str) -> None:
    field = Settings.model_fields[name]

    row = f"| `CAPTIOND_{name.upper()}` | {format_default(field.default)} | {field.description} |"

    assert row in text("docs/operations.md")


@pytest.mark.parametrize("field", dataclasses.fields(Config), ids=lambda field: field.name)
def test_every_training_flag_is_in_the_training_guide(field: dataclasses.Field[object]) -> None:
    choices = f" ({', '.join(field.metadata['choices'])})" if "choices" in field.metadata else ""
    flag = f"--{field.name.replace('_', '-')}"

    row = f"| `{flag}` | {format_default(field.default)} | {field.metadata['help']}{choices} |"

    assert row in text("docs/training.md")


def test_every_pseudo_label_flag_is_in_the_training_guide() -> None:
    help_text = subprocess.run(
        [sys.executable, "-m", "training.pseudo_label", "--help"], capture_output=True, text=True, check=True
    ).stdout

    for flag in set(re.findall(r"--[a-z-]+", help_text)) - {"--help"}:
        assert f"`{flag}`" in text("docs/training.md"), flag


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_every_problem_is_in_the_api_guide_with_its_status(kind: object) -> None:
    assert f"| `{kind.type}` | {kind.status} |" in text("docs/api.md")  # type: ignore[attr-defined]


def test_the_guides_list_exactly_the_routes() -> None:
    app = create_app(
        Settings(compat=",".join(COMPAT_PROTOCOLS)), redis=fakeredis.FakeStrictRedis(decode_responses=True)
    )
    served = {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method in METHODS
    }

    guides = text("docs/api.md") + text("docs/integrations.md")
    documented = set(re.findall(r"`((?:GET|POST|PATCH|DELETE) /[^`?]*)`", guides))

    assert documented == served


@pytest.mark.parametrize("name", ["README.md", "docs/api.md"])
def test_the_accepted_formats_are_listed(name: str) -> None:
    assert str(FORMAT_NAMES) in " ".join(text(name).split())


METHODS = {"GET", "POST", "PATCH", "DELETE"}


@pytest.mark.parametrize(
    "command",
    [
        *("serve", "caption", "batch", "watch", "doctor", "webhook-secret", "completion"),
        *("keys add", "keys revoke", "keys list"),
    ],
)
def test_every_command_and_its_flags_are_in_the_guides(command: str) -> None:
    help_text = subprocess.run(
        [sys.executable, "-m", "cli.main", *command.split(), "--help"], capture_output=True, text=True, check=True
    ).stdout

    guides = text("README.md") + text("docs/operations.md")

    assert f"captiond {command}" in guides
    for flag in set(re.findall(r"--[a-z-]+", help_text)) - {"--help"}:
        assert flag in guides, flag


@pytest.mark.parametrize("module", [distill, evaluate, export, prepare, report], ids=lambda module: module.__name__)
def test_every_training_command_and_its_flags_are_in_the_training_guide(
    module: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        module.main(["--help"])

    guide = text("docs/training.md")
    assert f"python -m {module.__name__}" in guide
    for flag in set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}:
        assert flag in guide or flag.replace("--no-", "--") in guide, flag


@pytest.mark.parametrize("script", sorted(path.name for path in (PROJECT_ROOT / "script").iterdir()))
def test_every_script_is_documented(script: str) -> None:
    assert any(f"script/{script}" in path.read_text(encoding="utf-8") for path in DOCS)


@pytest.mark.parametrize("path", [*DOCS, PROJECT_ROOT / "models" / "demo" / "README.md"], ids=lambda path: path.name)
def test_local_links_and_anchors_exist(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, heading = target.partition("#")
        destination = (path.parent / file) if file else path
        assert destination.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", destination.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in headings}, target
