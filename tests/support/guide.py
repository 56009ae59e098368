"""Code blocks of the guides."""

from __future__ import annotations

import re

from common.settings import PROJECT_ROOT

_INTEGRATIONS = (PROJECT_ROOT / "docs/integrations.md").read_text(encoding="utf-8")


def section(name: str) -> str:
    """The text of a section of docs/integrations.md."""
    return re.split(rf"^## {re.escape(name)}$", _INTEGRATIONS, flags=re.MULTILINE)[1].split("\n## ")[0]


def blocks(name: str, language: str) -> list[str]:
    """The code blocks of a section of docs/integrations.md in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", section(name), re.MULTILINE | re.DOTALL)
