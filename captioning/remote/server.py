"""The server of a model: requests with back-off, and pauses while it is unavailable.

A request that fails is repeated for the same image, after 0.5, 1, 2, ... seconds, unless the server has refused it.
Whether image or server is at fault shows in other requests: if none has succeeded in the meantime, the server is asked
about a picture of captiond's own. While the server is unavailable, no image is sent to it, only that picture, after 1,
2, 4, ... seconds or when `Retry-After` says. So no image fails because of the server, and none keeps others waiting.
"""

from __future__ import annotations

import io
import json
import logging
import threading
import time
from collections.abc import Callable
from functools import cache
from itertools import count

from PIL import Image

from captioning.captioner import ModelUnavailable
from captioning.remote.protocols import PROTOCOLS, Declined, MalformedAnswer
from captioning.remote.sentences import caption_in
from common import problems, strict_json
from common.outbound import Outbound, ResponseTooLarge, Unreachable
from common.served_model import ServedModel
from common.translation import Message, _

#: Seconds that a request may take. A large model on processors, or one that is loaded first, takes minutes.
REQUEST_TIMEOUT = 300.0
#: Bytes of the largest answer. A model's thoughts are some kilobytes.
MAX_ANSWER_BYTES = 2**20
#: Tries for an image, and those before it is found out whether the server is at fault.
TRIES, TRIES_BEFORE_CHECK = 8, 3
#: First and longest delay in seconds between the tries for an image.
MIN_BACKOFF, MAX_BACKOFF = 0.5, 8.0
#: First and longest pause in seconds while the server is unavailable, and the longest that it may ask for.
MIN_PAUSE, MAX_PAUSE, MAX_RETRY_AFTER = 1.0, 30.0, 3600.0
#: Statuses after which no request is sent for a while.
BUSY_STATUSES = frozenset({429, 503})
#: Seconds in which the same reason is logged once, because a server with a rate limit is busy again and again.
LOG_INTERVAL = 60.0
#: Side of captiond's own picture in pixels, and what is asked about it.
CHECK_SIZE, CHECK_INSTRUCTION = 224, "Describe the picture in one sentence."

log = logging.getLogger(__name__)

NOT_ASKED = _("The model's server has not answered yet.")
NO_ANSWER = _("The model's server does not answer.")
BUSY = _("The model's server is busy.")
BAD_ANSWERS = _("The model's server gives no usable answers.")


class Failed(Exception):
    """A request failed. `reason` is a sentence about the server; `final` if the same request would fail again."""

    def __init__(self, reason: Message, *, final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final


class Server:
    """A model at a server. Thread-safe. It is unavailable until `check` has succeeded once."""

    def __init__(
        self,
        model: ServedModel,
        key: str | None,
        *,
        timeout: float = REQUEST_TIMEOUT,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        self._model = model
        self._protocol = PROTOCOLS[model.protocol]
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._timeout = timeout
        self._clock = clock
        self._wait = wait
        # The operator gave this URL, so it may be local.
        self._outbound = Outbound(allow_local=True, read_timeout=timeout)
        self._closed = threading.Event()
        #: Guards the values below.
        self._state = threading.Lock()
        self._reason: Message | None = NOT_ASKED
        self._retry_at, self._pause_seconds = 0.0, MIN_PAUSE
        self._last_success = float("-inf")
        self._logged_at: dict[str, float] = {}
        self._warned = False
        #: Held while the server is asked about captiond's own picture.
        self._checking = threading.Lock()

    @property
    def unavailable(self) -> Message | None:
        """Why the server cannot caption now; None if it can."""
        return self._reason

    def check(self) -> None:
        """Ask an unavailable server about captiond's own picture, if it is time to."""
        if self._reason and self._clock() >= self._retry_at and not self._closed.is_set():
            with self._checking:
                if self._reason and self._clock() >= self._retry_at:
                    self._try_own_picture()

    def close(self) -> None:
        """End the requests in progress; they raise `ModelUnavailable`."""
        self._closed.set()
        self._outbound.abort()

    def caption(self, image: bytes, instruction: str) -> str:
        """Caption a JPEG. Raises `ModelUnavailable`, or `caption-failed` if the server captions others meanwhile."""
        started = self._clock()
        for tries in count(1):
            self._raise_if_unavailable()
            try:
                caption = self._ask(image, instruction)
            except Failed as failure:
                self._raise_if_unavailable()
                if failure.final or tries >= TRIES_BEFORE_CHECK:
                    # A key may have been revoked since the first try, so only a success after the refusal counts.
                    if not self._captions_others(self._clock() if failure.final else started):
                        raise ModelUnavailable(self._reason or failure.reason) from failure
                    # The second condition is for a server that does not answer in time.
                    if failure.final or tries >= TRIES or self._clock() - started > 2 * self._timeout:
                        raise problems.CAPTION_FAILED(
                            "The model's server gave no usable caption for this picture, although it captioned others."
                        ) from failure
                self._wait(self._closed, min(MIN_BACKOFF * 2 ** (tries - 1), MAX_BACKOFF))
            else:
                with self._state:
                    self._last_success = self._clock()
                return caption
        raise AssertionError

    def _raise_if_unavailable(self) -> None:
        if self._closed.is_set() or self._reason:
            raise ModelUnavailable(self._reason or NO_ANSWER)

    def _captions_others(self, started: float) -> bool:
        """Whether a request has succeeded since `started`, if necessary one about captiond's own picture."""
        with self._checking:
            return self._last_success > started or (self._reason is None and self._try_own_picture())

    def _try_own_picture(self) -> bool:
        """Ask the server about captiond's own picture, and note whether it is available."""
        try:
            self._ask(_own_picture(), CHECK_INSTRUCTION)
        except ModelUnavailable:
            return False
        except Failed as failure:
            self._pause(failure.reason)
            return False
        with self._state:
            self._reason, self._pause_seconds, self._last_success = None, MIN_PAUSE, self._clock()
            recovered, self._warned = self._warned, False
        if recovered:
            log.info("The model's server captions again.")
        return True

    def _pause(self, reason: Message, retry_after: float = 0.0) -> None:
        """Note that the server is unavailable. Failures of requests that were sent together count once."""
        with self._state:
            now = self._clock()
            logged_at = self._logged_at.get(str(reason), float("-inf"))
            warns = reason != self._reason and now - logged_at >= LOG_INTERVAL
            if self._reason is None or now >= self._retry_at:
                self._retry_at = now + self._pause_seconds
                self._pause_seconds = min(2 * self._pause_seconds, MAX_PAUSE)
            self._retry_at = max(self._retry_at, now + min(retry_after, MAX_RETRY_AFTER))
            self._reason = reason
            if warns:
                self._logged_at[str(reason)], self._warned = now, True
        if warns:
            log.warning("%s No picture is sent to it until it captions again.", reason)

    def _ask(self, image: bytes, instruction: str) -> str:
        """Send one request. Raises `Failed`, or `ModelUnavailable` if the server is busy."""
        body = strict_json.dumps(self._protocol.request(self._model.name, instruction, image)).encode()
        try:
            response = self._outbound.request(
                "POST",
                self._model.url + self._protocol.path,
                timeout=self._timeout,
                body=body,
                headers=self._headers,
                max_bytes=MAX_ANSWER_BYTES,
            )
        except Unreachable as error:
            log.debug("The model's server does not answer: %s.", error)
            raise Failed(NO_ANSWER) from error
        except ResponseTooLarge as error:
            raise Failed(BAD_ANSWERS) from error
        if response.status in BUSY_STATUSES:
            self._pause(BUSY, response.retry_after(time.time()))
            raise ModelUnavailable(BUSY)
        if response.status >= 500 or response.status == 408:
            raise Failed(_("The model's server answers with the status {status}.", status=response.status))
        if response.status != 200:
            raise Failed(_refusal(response.status), final=True)
        try:
            answer = self._protocol.answer(json.loads(response.body))
        except Declined as error:
            raise Failed(_("The model declines to describe the pictures."), final=True) from error
        except (MalformedAnswer, ValueError, RecursionError) as error:
            raise Failed(BAD_ANSWERS) from error
        caption = caption_in(answer.text, cut=answer.cut)
        if caption is None:
            raise Failed(BAD_ANSWERS)
        return caption


def _refusal(status: int) -> Message:
    """What a status other than 200 and an error of the server says."""
    if status in (401, 403):
        return _("The model's server refuses the key. Set CAPTIOND_MODEL_KEY.")
    if status == 404:
        return _("The model's server has no such model, or CAPTIOND_MODEL has another path than the server.")
    if 300 <= status < 400:
        return _("The model's server redirects the requests. Name its final URL in CAPTIOND_MODEL.")
    return _("The model's server refuses the requests with the status {status}.", status=status)


@cache
def _own_picture() -> bytes:
    """A JPEG of a green field below a blue sky."""
    image = Image.new("RGB", (CHECK_SIZE, CHECK_SIZE), "skyblue")
    image.paste("seagreen", (0, CHECK_SIZE // 2, CHECK_SIZE, CHECK_SIZE))
    file = io.BytesIO()
    image.save(file, "JPEG")
    return file.getvalue()
