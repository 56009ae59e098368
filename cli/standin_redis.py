"""`python -m cli.standin_redis PORT`: an in-memory server (fakeredis) for machines without a Redis server."""

from __future__ import annotations

import sys

from fakeredis import TcpFakeServer

if __name__ == "__main__":
    server = TcpFakeServer(("127.0.0.1", int(sys.argv[1])), server_type="redis")
    server.serve_forever()
