"""Graceful shutdown: on a signal the server takes no more connections, answers the requests that have begun, and ends.

Python installs no handler for SIGTERM. The kernel then ends the process, in the middle of what it serves, unless it is
process 1 of a container: that is sent no signal for which it has no handler, and would go on until it is killed.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from typing import Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, MultiSocketServer

#: Seconds that the requests that have begun have to be answered. Kubernetes kills 30 s after its SIGTERM.
GRACE = 25.0
#: Longest time, in seconds, after which a signal is noticed.
INTERVAL = 1.0

log = logging.getLogger(__name__)


def on_signals(stopping: threading.Event) -> None:
    """Set `stopping` on SIGTERM and SIGINT; a second one ends the process at once."""

    def handle(number: int, frame: object) -> None:
        if stopping.is_set():
            sys.exit(128 + number)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def serve(server: Any, stopping: threading.Event) -> None:
    """Run a waitress server until `stopping` is set, then answer what has begun, for at most `GRACE` seconds."""
    sockets = server.map if isinstance(server, MultiSocketServer) else server._map
    listeners = [each for each in sockets.values() if isinstance(each, BaseWSGIServer)]
    while not stopping.is_set():
        _poll(sockets, INTERVAL)
    _poll(sockets, 0)  # takes the connections that were made before
    for listener in listeners:
        wasyncore.dispatcher.close(listener)  # not its own `close`, after which its threads could not wake the loop
    _poll(sockets, 0)  # reads what was sent before
    deadline = time.monotonic() + GRACE
    while channels := [channel for listener in listeners for channel in listener.active_channels.values()]:
        busy = sum(map(_is_busy, channels))
        if time.monotonic() > deadline:
            log.warning("Stopped %.0f s after the signal, with %d requests unanswered.", GRACE, busy)
            break
        for channel in channels:
            if not _is_busy(channel):
                channel.will_close = True
        _poll(sockets, INTERVAL)
    wasyncore.close_all(sockets)
    server.task_dispatcher.shutdown(timeout=INTERVAL)


def _poll(sockets: dict[int, Any], seconds: float) -> None:
    """Read and write what can be read and written, once; wait for that for at most so many seconds."""
    wasyncore.loop(timeout=seconds, use_poll=True, map=sockets, count=1)


def _is_busy(channel: HTTPChannel) -> bool:
    """Whether a request of this connection is coming in, is being answered, or has an answer that is not sent yet."""
    return channel.request is not None or bool(channel.requests) or channel.total_outbufs_len > 0
