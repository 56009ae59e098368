"""Read pictures that Label Studio holds itself: uploaded ones, local files, and those of its cloud storages.

A task refers to them by a path or by the URI of a cloud storage, and Label Studio's address and an access token are
needed to read them: see `get_local_path` in `label_studio_sdk._extensions.label_studio_tools.core.utils.io` of its SDK
2.1.2. The operator sets both, so that no request can make captiond send the token elsewhere.
"""

from __future__ import annotations

import base64
import json
import logging
from functools import cached_property
from urllib.parse import unquote, urlencode

from requests.utils import requote_uri

from common import problems, strict_json
from common.ingest import upload_too_large
from common.outbound import Outbound, Response, ResponseTooLarge, Unreachable, UrlNotAllowed
from web.api.fetching import FETCH_TIMEOUT
from web.compat.pictures import Picture
from web.services import Services

#: Beginnings of references to pictures that Label Studio serves, and of references to its cloud storages.
SERVED, CLOUD = ("/data/", "/storage-data/"), ("s3://", "gs://", "azure-blob://")
#: Largest answer to the request for an access token, in bytes.
MAX_TOKEN_BYTES = 64 * 1024

log = logging.getLogger(__name__)


class HeldPictures:
    """The pictures that Label Studio holds, as one request reads them."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._url = (services.settings.label_studio_url or "").rstrip("/")
        self._token = services.settings.label_studio_token or ""
        self._label_studio = Outbound(allow_local=True)

    def read(self, task_id: int, reference: str) -> Picture:
        """The picture of a task. Raises `bad-request`, `fetch-failed` and `upload-too-large`."""
        if not self._url or not self._token:
            raise problems.BAD_REQUEST(
                "Label Studio holds this picture itself. Ask the operator to set CAPTIOND_LABEL_STUDIO_URL and "
                "CAPTIOND_LABEL_STUDIO_TOKEN."
            )
        if ".." in unquote(reference.partition("?")[0]).split("/"):  # with the token it would reach other paths
            raise problems.BAD_REQUEST("The path of a picture must not have `..`.")
        path = reference
        if reference.startswith(CLOUD):
            uri = base64.urlsafe_b64encode(reference.encode()).decode()
            path = f"/tasks/{task_id}/presign/?{urlencode({'fileuri': uri})}"
        limit = self._services.settings.max_upload_bytes
        try:
            response = self._get(path, limit)
        except ResponseTooLarge as error:
            raise upload_too_large(limit) from error
        except (Unreachable, UrlNotAllowed) as error:
            log.warning("Failed to get a picture from Label Studio: %s.", error)
            raise problems.FETCH_FAILED("Label Studio did not send the picture. The server's log says why.") from error
        if response.status != 200:
            raise problems.FETCH_FAILED(
                "Label Studio answered with status {status} and no picture. Check CAPTIOND_LABEL_STUDIO_TOKEN.",
                status=response.status,
            )
        return Picture(response.body, reference.rpartition("/")[2])

    def _get(self, path: str, limit: int) -> Response:
        headers = {"Authorization": self._authorization}
        url = self._url + requote_uri(path)
        response = self._label_studio.request("GET", url, timeout=FETCH_TIMEOUT, headers=headers, max_bytes=limit)
        if response.status in (302, 303) and (location := response.headers["Location"]):
            # The signed URL of a cloud storage, which must not get the token.
            return self._services.outbound.request("GET", location, timeout=FETCH_TIMEOUT, max_bytes=limit)
        return response

    @cached_property
    def _authorization(self) -> str:
        """The header for Label Studio. A personal access token is a JWT, to be exchanged for a short-lived one."""
        if self._token.count(".") != 2:
            return f"Token {self._token}"
        response = self._label_studio.request(
            "POST",
            f"{self._url}/api/token/refresh/",
            timeout=FETCH_TIMEOUT,
            body=strict_json.dumps({"refresh": self._token}).encode(),
            headers={"Content-Type": "application/json"},
            max_bytes=MAX_TOKEN_BYTES,
        )
        try:
            return f"Bearer {json.loads(response.body)['access']}"
        except (ValueError, KeyError, TypeError) as error:
            raise Unreachable(f"it refused the access token with status {response.status}") from error
