"""Plot losses and metrics of runs by epoch as one SVG. Needs matplotlib (extra `report`)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

#: Names of the plotted values, in order.
NAMES = ("loss", "cross_entropy", "kl", "image_mse", "cider", "bleu_4", "meteor_nltk", "rouge_l")
COLUMNS = 4
#: Width and height of one plot, in inches.
SIZE = (3.2, 2.6)


def plot(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """One SVG with a plot for each value that any run has. `runs` are entries of `metrics.jsonl` by name of the run.

    The output is deterministic.
    """
    shown = [name for name in NAMES if any(entry.get(name) is not None for run in runs.values() for entry in run)]
    rows = max(1, -(-len(shown) // COLUMNS))
    figure = Figure(figsize=(COLUMNS * SIZE[0], rows * SIZE[1]), layout="constrained")
    for number, name in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, COLUMNS, number, title=name)
        for label, run in runs.items():
            measured = [entry for entry in run if entry.get(name) is not None]
            epochs, values = ([entry[key] for entry in measured] for key in ("epoch", name))
            axes.plot(epochs, values, marker=".", label=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if number == 1:
            axes.legend(fontsize="small")
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "captiond", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
