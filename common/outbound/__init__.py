"""Requests to places that a stranger names: to public addresses only, and to no other address than was checked."""

from common.outbound.exchange import Answer, Outbound, TooLarge, Unreachable
from common.outbound.places import NotAllowed, Place

__all__ = ["Answer", "NotAllowed", "Outbound", "Place", "TooLarge", "Unreachable"]
