"""`python -m worker.health`: whether the worker of this container works, for health checks and probes.

Exit code 0 if a worker on this host has sent a heartbeat to the ledger within `CAPTIOND_READY_SECONDS`, else 1. With
`--liveness`, a ledger that does not answer is no failure, because restarting the worker would not repair it, and a
worker keeps the captions that Redis did not take yet.
"""

from __future__ import annotations

import argparse
import socket
import sys

from redis import RedisError

from common.ledger import Components, Workers, connect
from common.settings import from_environment


def is_healthy(workers: Workers, *, liveness: bool = False) -> bool:
    """Whether a worker of this host is alive by its heartbeat; `liveness` if Redis does not answer."""
    try:
        alive = workers.alive()
    except RedisError:
        return liveness
    return any(worker.host == socket.gethostname() for worker in alive)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m worker.health", description=__doc__)
    parser.add_argument("--liveness", action="store_true", help="succeed if Redis does not answer")
    options = parser.parse_args()
    settings = from_environment()
    workers = Components(connect(settings.redis_location), settings).workers
    if not is_healthy(workers, liveness=options.liveness):
        sys.exit(f"No worker on {socket.gethostname()} has sent a heartbeat in the last seconds.")
