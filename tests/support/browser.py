"""A real Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import Browser, Playwright

#: A browser without sandbox (tests may run as root) that does not talk to its maker.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def launch(playwright: Playwright) -> Browser | None:
    """The machine's Chromium or Chrome, else Playwright's own; None when there is none."""
    found = shutil.which("chromium") or shutil.which("google-chrome") or playwright.chromium.executable_path
    return playwright.chromium.launch(executable_path=found, args=ARGUMENTS) if Path(found).exists() else None
