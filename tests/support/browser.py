"""Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import Browser, Playwright

#: Flags: no sandbox, because tests may run as root, and no background network traffic.
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
    """Start the installed Chromium or Chrome, else Playwright's own; None when there is none."""
    path = shutil.which("chromium") or shutil.which("google-chrome") or playwright.chromium.executable_path
    return playwright.chromium.launch(executable_path=path, args=ARGUMENTS) if Path(path).exists() else None
