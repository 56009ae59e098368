"""HTTP requests to URLs from clients: only to public addresses, and only to the address that was checked."""

from common.outbound.exchange import Outbound, Response, ResponseTooLarge, Unreachable
from common.outbound.targets import Target, UrlNotAllowed

__all__ = ["Outbound", "Response", "ResponseTooLarge", "Target", "Unreachable", "UrlNotAllowed"]
