"""Several pictures in one body, each after its length in four bytes."""

from __future__ import annotations

from collections.abc import Sequence


def packed(pictures: Sequence[bytes]) -> bytes:
    return b"".join(len(each).to_bytes(4, "big") + each for each in pictures)


def unpacked(body: bytes) -> list[bytes]:
    found, place = [], 0
    while place < len(body):
        end = place + 4 + int.from_bytes(body[place : place + 4], "big")
        found.append(body[place + 4 : end])
        place = end
    return found
