"""README.ru.md follows README.md: the same sections, commands, figures and links, so that neither becomes outdated."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from common.settings import PROJECT_ROOT

ENGLISH = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
RUSSIAN = (PROJECT_ROOT / "README.ru.md").read_text(encoding="utf-8")


def sections(text: str) -> list[str]:
    """The level of each heading, in order."""
    return re.findall(r"^(#+) ", _without_code(text), re.MULTILINE)


def commands(text: str) -> list[str]:
    """The lines of all code blocks, without their comments."""
    lines = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    return [line.partition(" #")[0].strip() for line in lines]


def figures(text: str) -> list[str]:
    """The numbers of all tables, in order."""
    rows = re.findall(r"^\|.*$", text, re.MULTILINE)
    return [number for row in rows for number in re.findall(r"(?<=\| )\d[\d.]*", row)]


def links(text: str) -> Counter[str]:
    """The targets of all links but those to a heading of the same file and to the other README."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return Counter(target for target in targets if not target.startswith(("#", "README")))


def code(text: str) -> Counter[str]:
    """Settings, flags and commands in the text."""
    return Counter(re.findall(r"`([^`\n]+)`", _without_code(text)))


@pytest.mark.parametrize("part", [sections, commands, figures, links, code], ids=lambda part: part.__name__)
def test_the_russian_readme_has_the_same(part: object) -> None:
    assert callable(part)
    assert part(ENGLISH) == part(RUSSIAN)


def _without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
