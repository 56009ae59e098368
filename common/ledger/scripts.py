"""Registers the Lua scripts. Each is atomic and takes one round trip."""

from __future__ import annotations

from importlib import resources
from typing import cast

from redis import Redis
from redis.commands.core import Script

from common.ledger.counters import SECONDS, SIZES

_FILES = resources.files(__package__) / "lua"
_BOUNDS = "".join(
    f"local {name} = {{{', '.join(map(str, bounds))}}}\n" for name, bounds in (("SECONDS", SECONDS), ("SIZES", SIZES))
)
_COMMON = _BOUNDS + (_FILES / "common.lua").read_text(encoding="utf-8")


class Scripts:
    """The scripts as callables; each file's first lines document its arguments and result."""

    def __init__(self, redis: Redis) -> None:
        def script(name: str) -> Script:
            return redis.register_script(f"{_COMMON}\n{(_FILES / f'{name}.lua').read_text(encoding='utf-8')}")

        self.create = script("create")
        self.claim = script("claim")
        self.claim_suspect = script("claim_suspect")
        self.extend = script("extend")
        self.commit = script("commit")
        self.edit = script("edit")
        self.release = script("release")
        self.cancel = script("cancel")
        self.retry = script("retry")
        self.delete = script("delete")
        self.recover = script("recover")
        self.create_batch = script("create_batch")
        self.seal = script("seal")
        self.delete_batch = script("delete_batch")
        self.claim_task = script("claim_task")
        self.claim_chunk = script("claim_chunk")
        self.extend_task = script("extend_task")
        self.finish_task = script("finish_task")
        self.add_chunk = script("add_chunk")
        self.finish_chunk = script("finish_chunk")
        self.cancel_chunks = script("cancel_chunks")
        self.retry_chunks = script("retry_chunks")
        self.delete_chunks = script("delete_chunks")
        self.migrate = script("migrate")
        self.upgrade = script("upgrade")
        self.position = script("position")
        self.lanes = script("lanes")


def record_of(flat: object) -> dict[str, str]:
    """Convert a flat list of names and values to a dict; the last of equal names wins."""
    items = cast("list[str]", flat)
    return dict(zip(items[::2], items[1::2], strict=True))
