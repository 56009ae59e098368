"""`python -m tests.support.relay PORT TARGET_PORT SECONDS`: a TCP relay that delivers everything `SECONDS` later.

It stands for the latency of a network: listens on all addresses, and connects to this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

CHUNK_BYTES = 64 * 1024


async def serve(port: int, target_port: int, seconds: float) -> None:
    """Relay connections to `port` until the process is killed."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", target_port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_relay(reader, target_writer, seconds), _relay(target_reader, writer, seconds))

    server = await asyncio.start_server(connected, "0.0.0.0", port)
    await server.serve_forever()


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Write what is read, `seconds` later; nothing is delayed further by what was read before it."""
    clock = asyncio.get_running_loop().time
    pending: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, data = await pending.get()
            await asyncio.sleep(due - clock())
            if not data:
                return
            writer.write(data)
            await writer.drain()

    delivery = asyncio.create_task(deliver())
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            pending.put_nowait((clock() + seconds, data))
    pending.put_nowait((clock() + seconds, b""))
    with contextlib.suppress(OSError):
        await delivery
    writer.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
