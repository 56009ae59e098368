"""A client that keeps its connection, and takes refusals as they come."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit


class HttpClient:
    """One client, over one connection that is kept and opened again when it breaks."""

    def __init__(self, url: str, timeout: float = 60.0) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON; status 0 when there is no answer. A body is a JPEG unless the headers say."""
        kind = {"Content-Type": "image/jpeg"} if body else {}
        try:
            self._connection.request(method, path, body, {**kind, **(headers or {})})
            answer = self._connection.getresponse()
            return answer.status, dict(answer.headers), json.loads(answer.read() or b"null")
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return 0, {}, None

    def close(self) -> None:
        """Give the connection up."""
        self._connection.close()
