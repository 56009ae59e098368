"""An HTTP client with one persistent connection."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit


class HttpClient:
    """Sends requests over one connection, which is reopened after an error."""

    def __init__(self, url: str, timeout: float = 60.0) -> None:
        """`timeout` is for each socket operation, in seconds."""
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers and parsed JSON of the response; status 0 when there is none.

        The Content-Type of a body is image/jpeg unless `headers` has another.
        """
        default = {"Content-Type": "image/jpeg"} if body else {}
        try:
            self._connection.request(method, path, body, {**default, **(headers or {})})
            response = self._connection.getresponse()
            return response.status, dict(response.headers), json.loads(response.read() or b"null")
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return 0, {}, None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
