"""`python -m cli.standin_redis PORT`: fakeredis as a server, for machines that can run no Redis."""

from __future__ import annotations

import sys

from fakeredis import TcpFakeServer

if __name__ == "__main__":
    server = TcpFakeServer(("127.0.0.1", int(sys.argv[1])), server_type="redis")
    server.serve_forever()
