"""An in-memory Redis that answers INFO, as a server does."""

from __future__ import annotations

from typing import Any

import fakeredis


class InfoRedis(fakeredis.FakeStrictRedis):
    """fakeredis knows no INFO; this one says how much memory is used."""

    def info(self, section: str | None = None, *arguments: str, **options: Any) -> dict[str, Any]:
        return {"used_memory": 5_000_000, "maxmemory": 0, "total_system_memory": 1_000_000_000}
