"""Graceful shutdown: on a signal the server closes its listening sockets, answers the open requests and exits.

Python installs no handler for SIGTERM. Without one, the kernel ends the process in the middle of its requests, or,
if it is process 1 of a container, does not deliver the signal at all.
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

#: Seconds in which open requests must be answered. Kubernetes sends SIGKILL 30 s after SIGTERM.
GRACE_PERIOD = 25.0
#: Maximum delay in seconds until a signal is noticed.
POLL_INTERVAL = 1.0

log = logging.getLogger(__name__)


def install_signal_handlers(stopping: threading.Event) -> None:
    """Set `stopping` on the first SIGTERM or SIGINT; exit at once on the second."""

    def handle(number: int, frame: object) -> None:
        if stopping.is_set():
            sys.exit(128 + number)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def serve(server: Any, stopping: threading.Event) -> None:
    """Run a waitress server until `stopping` is set, then answer open requests for at most `GRACE_PERIOD` seconds."""
    sockets = server.map if isinstance(server, MultiSocketServer) else server._map
    listeners = [dispatcher for dispatcher in sockets.values() if isinstance(dispatcher, BaseWSGIServer)]
    while not stopping.is_set():
        _poll(sockets, POLL_INTERVAL)
    _poll(sockets, 0)  # accept the pending connections
    for listener in listeners:
        # `listener.close` would also close the trigger with which the server's threads wake the loop.
        wasyncore.dispatcher.close(listener)
    _poll(sockets, 0)  # read the requests of these connections
    deadline = time.monotonic() + GRACE_PERIOD
    while channels := [channel for listener in listeners for channel in listener.active_channels.values()]:
        busy = sum(map(_is_busy, channels))
        if time.monotonic() > deadline:
            log.warning("Stopped %.0f s after the signal, with %d requests unanswered.", GRACE_PERIOD, busy)
            break
        for channel in channels:
            if not _is_busy(channel):
                channel.will_close = True
        _poll(sockets, POLL_INTERVAL)
    wasyncore.close_all(sockets)
    server.task_dispatcher.shutdown(timeout=POLL_INTERVAL)


def _poll(sockets: dict[int, Any], timeout: float) -> None:
    """Run waitress' event loop once; wait at most `timeout` seconds for an event."""
    wasyncore.loop(timeout=timeout, use_poll=True, map=sockets, count=1)


def _is_busy(channel: HTTPChannel) -> bool:
    """Whether the connection is receiving a request, is answering one, or has unsent output."""
    return channel.request is not None or bool(channel.requests) or channel.total_outbufs_len > 0
