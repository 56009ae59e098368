"""Progress of `captiond batch` on standard error."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from cli.output import warn
from common.translation import _

#: Seconds between two lines of progress where there is no terminal.
LINE_INTERVAL = 10.0


class Progress:
    """Progress on standard error: a bar on a terminal, else a line every `LINE_INTERVAL` seconds."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._count = 0
        self._started = self._shown = time.monotonic()
        self._bar = tqdm(total=total, unit="image", file=sys.stderr, disable=not sys.stderr.isatty())

    def add(self) -> None:
        """Count an image."""
        self._count += 1
        self._bar.update()
        now = time.monotonic()
        if self._bar.disable and now - self._shown > LINE_INTERVAL:
            self._shown = now
            rate = self._count / (now - self._started)
            left = (self._total - self._count) / rate
            warn(
                _(
                    "{done} of {total} images, {rate} a second, {left} s left",
                    done=self._count,
                    total=self._total,
                    rate=round(rate, 1),
                    left=round(left),
                )
            )

    def close(self) -> None:
        self._bar.close()
