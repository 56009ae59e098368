"""A benchmark's report: a table on the terminal, a JSON file with ratios and the machine, and a chart."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import strict_json

PACKAGES = ("torch", "transformers", "celery", "redis", "flask")


def parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--plot", type=Path, help="file for a chart (PNG; needs matplotlib: pip install -e .[bench])")
    parser.add_argument("--quick", action="store_true", help="less than two minutes, less precise")
    return parser


def machine() -> dict[str, Any]:
    """Processor, number of cores, package versions and date."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.split(": ", 1)[1] for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "date": datetime.date.today().isoformat(),
    }


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; floats have three significant digits."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def write(path: Path | None, ratios: Mapping[str, float], **more: Any) -> None:
    """Write the figures as JSON, if `path` is given."""
    if path:
        content = {"ratios": {name: round(value, 4) for name, value in ratios.items()}, "machine": machine(), **more}
        path.write_text(strict_json.dumps(content, indent=2) + "\n", encoding="utf-8")


def plot(path: Path | None, title: str, bars: Mapping[str, float]) -> None:
    """Draw a bar chart as PNG, if `path` is given."""
    if not path:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.5 * len(bars) + 1), layout="constrained")
    axes = figure.subplots()
    container = axes.barh(list(bars), list(bars.values()), color="#3b6ea5")
    axes.bar_label(container, fmt="%.2f", padding=3)
    axes.invert_yaxis()  # first bar at the top
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def _cell(cell: object) -> str:
    return f"{cell:.3g}" if isinstance(cell, float) else str(cell)
