"""Requests to a model's server: what is sent, what is repeated, and when the server counts as unavailable."""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from captioning.captioner import ModelUnavailable
from captioning.remote.server import (
    MAX_PAUSE,
    NO_ANSWER,
    NOT_ASKED,
    TRIES,
    TRIES_BEFORE_CHECK,
    Server,
)
from common import problems
from common.problems import Problem
from common.settings import Settings
from tests.support.clock import Clock
from tests.support.images import drawing, encoded
from tests.support.model_server import Fault, StandIn, describe, ollama_answer, openai_answer, running_stand_in
from tests.support.receiver import Responder, running_receiver, with_status

IMAGE = encoded(drawing("red", (32, 32)), "JPEG")
KEY = "sk-secret"
CAPTION = "A dog runs."


def answering(body: object) -> Responder:
    return with_status(200, json.dumps(body).encode())


GOOD = answering(openai_answer(CAPTION))


class Waits:
    """Records the waiting between tries, which only moves the clock on."""

    def __init__(self, clock: Clock) -> None:
        self.seconds: list[float] = []
        self._clock = clock

    def __call__(self, event: threading.Event, seconds: float) -> None:
        self.seconds.append(seconds)
        self._clock.advance(seconds)


@pytest.fixture
def waits(clock: Clock) -> Waits:
    return Waits(clock)


@pytest.fixture
def connect(clock: Clock, waits: Waits) -> Callable[..., Server]:
    """Makes the client of a server, which is known to be available unless `check` is False."""

    def make(model: str, *, check: bool = True, key: str | None = None, timeout: float = 100.0) -> Server:
        served = Settings(model=model).served_model
        assert served
        server = Server(served, key, timeout=timeout, clock=clock, wait=waits)
        if check:
            server.check()
            assert server.unavailable is None
            clock.advance(1)
        return server

    return make


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with running_stand_in() as server:
        yield server


def model_at(receiver: object) -> str:
    return f"openai:{receiver.url('/v1')}#vlm"  # type: ignore[attr-defined]


class TestRequest:
    def test_openai_s_has_the_picture_as_a_data_url(self, stand_in: StandIn, connect: Callable[..., Server]) -> None:
        caption = connect(stand_in.model("openai")).caption(IMAGE, "Describe.")

        assert caption == describe(IMAGE)
        url = f"data:image/jpeg;base64,{base64.b64encode(IMAGE).decode()}"
        assert stand_in.requests[-1] == {
            "model": "vlm",
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Describe."},
                        {"type": "image_url", "image_url": {"url": url}},
                    ],
                }
            ],
            "max_completion_tokens": 2000,
            "stream": False,
        }

    def test_ollama_s_has_the_picture_beside_the_text(self, stand_in: StandIn, connect: Callable[..., Server]) -> None:
        caption = connect(stand_in.model("ollama")).caption(IMAGE, "Describe.")

        assert caption == describe(IMAGE)
        assert stand_in.requests[-1] == {
            "model": "vlm",
            "messages": [{"role": "user", "content": "Describe.", "images": [base64.b64encode(IMAGE).decode()]}],
            "options": {"num_predict": 2000, "temperature": 0},
            "think": False,
            "stream": False,
        }

    def test_it_has_the_key(self, stand_in: StandIn, connect: Callable[..., Server]) -> None:
        stand_in.key = KEY

        assert connect(stand_in.model(), key=KEY).caption(IMAGE, "Describe.")


class TestRepetition:
    @pytest.mark.parametrize(
        "bad",
        [
            with_status(500),
            with_status(502),
            with_status(200, b"<html>"),
            with_status(200, b'{"choices"', Content_Length="100"),
            answering({"choices": []}),
            answering(openai_answer("")),
            answering(openai_answer(None)),
            answering(openai_answer("A dog runs over the", finish_reason="length")),
            with_status(200, b" " * (2**20 + 1)),
        ],
        ids=range(9),
    )
    def test_a_bad_answer_is_asked_for_again(
        self, bad: Responder, connect: Callable[..., Server], waits: Waits
    ) -> None:
        with running_receiver(GOOD, bad, bad, GOOD) as receiver:
            server = connect(model_at(receiver))

            assert server.caption(IMAGE, "Describe.") == CAPTION
        assert waits.seconds == [0.5, 1.0]
        assert server.unavailable is None

    @pytest.mark.parametrize("body", [ollama_answer(""), ollama_answer("A dog", done=False), {"message": "A dog."}])
    def test_so_is_a_bad_answer_of_ollama(self, body: object, connect: Callable[..., Server]) -> None:
        good = answering(ollama_answer(CAPTION))
        with running_receiver(good, answering(body), good) as receiver:
            server = connect(f"ollama:{receiver.url('')}#vlm")

            assert server.caption(IMAGE, "Describe.") == CAPTION

    def test_a_picture_fails_if_the_server_captions_others(self, connect: Callable[..., Server], waits: Waits) -> None:
        bad = with_status(500)
        with running_receiver(GOOD, *[bad] * TRIES_BEFORE_CHECK, GOOD, bad) as receiver:
            server = connect(model_at(receiver))
            with pytest.raises(Problem, match="although it captioned others") as failed:
                server.caption(IMAGE, "Describe.")
            # The server was asked about captiond's own picture once at first, and once between the tries.
            assert len(receiver.requests) == TRIES + 2
        assert failed.value.kind is problems.CAPTION_FAILED
        assert waits.seconds == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
        assert server.unavailable is None

    @pytest.mark.parametrize(
        "refusal",
        [
            with_status(400),
            with_status(403),
            with_status(422),
            answering(openai_answer(None, message={"content": None, "refusal": "I cannot help with that."})),
            answering(openai_answer("", finish_reason="content_filter")),
        ],
        ids=["400", "403", "422", "refusal", "filter"],
    )
    def test_a_refused_picture_fails_at_once(
        self, refusal: Responder, connect: Callable[..., Server], waits: Waits
    ) -> None:
        with running_receiver(GOOD, refusal, GOOD) as receiver:
            server = connect(model_at(receiver))
            with pytest.raises(Problem, match="although it captioned others"):
                server.caption(IMAGE, "Describe.")
        assert waits.seconds == []

    def test_tries_end_when_a_server_does_not_answer_in_time(
        self, connect: Callable[..., Server], clock: Clock
    ) -> None:
        def late(handler: object) -> None:
            clock.advance(101)

        with running_receiver(GOOD, late, late, late, GOOD, late) as receiver:
            with pytest.raises(Problem, match="although it captioned others"):
                connect(model_at(receiver)).caption(IMAGE, "Describe.")
            assert len(receiver.requests) == 5


class TestUnavailable:
    def test_it_is_until_it_has_answered(self, stand_in: StandIn, connect: Callable[..., Server]) -> None:
        server = connect(stand_in.model(), check=False)

        assert server.unavailable == NOT_ASKED
        with pytest.raises(ModelUnavailable):
            server.caption(IMAGE, "Describe.")
        assert stand_in.requests == []
        server.check()
        assert server.unavailable is None

    @pytest.mark.parametrize("status", [429, 503])
    def test_a_server_that_is_busy_gets_no_request(
        self, status: int, connect: Callable[..., Server], waits: Waits
    ) -> None:
        with running_receiver(GOOD, with_status(status)) as receiver:
            server = connect(model_at(receiver))
            for _ in range(2):
                with pytest.raises(ModelUnavailable, match="The model's server is busy"):
                    server.caption(IMAGE, "Describe.")
            assert len(receiver.requests) == 2
        assert waits.seconds == []

    def test_a_success_before_a_refusal_does_not_count(self, connect: Callable[..., Server], clock: Clock) -> None:
        with running_receiver(GOOD, with_status(500), GOOD, with_status(401)) as receiver:
            server = connect(model_at(receiver))

            def caption_another(event: threading.Event, seconds: float) -> None:
                clock.advance(1)
                server.caption(IMAGE, "Describe.")

            server._wait = caption_another  # between the two tries for the picture; then the key is revoked
            with pytest.raises(ModelUnavailable, match="refuses the key"):
                server.caption(IMAGE, "Describe.")

    @pytest.mark.parametrize(
        ("status", "reason"),
        [
            (401, "The model's server refuses the key. Set CAPTIOND_MODEL_KEY."),
            (403, "The model's server refuses the key. Set CAPTIOND_MODEL_KEY."),
            (404, "The model's server has no such model, or CAPTIOND_MODEL has another path than the server."),
            (400, "The model's server refuses the requests with the status 400."),
            (301, "The model's server redirects the requests. Name its final URL in CAPTIOND_MODEL."),
        ],
    )
    def test_a_refusal_of_captiond_s_own_picture_says_why(
        self, status: int, reason: str, connect: Callable[..., Server], waits: Waits
    ) -> None:
        with running_receiver(GOOD, with_status(status)) as receiver:
            server = connect(model_at(receiver))
            for _ in range(2):
                with pytest.raises(ModelUnavailable, match=reason):
                    server.caption(IMAGE, "Describe.")
            # Two about captiond's own picture, and one about the other.
            assert len(receiver.requests) == 3
        assert str(server.unavailable) == reason
        assert waits.seconds == []

    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            (with_status(500), "The model's server answers with the status 500."),
            (with_status(200, b"<html>"), "The model's server gives no usable answers."),
        ],
        ids=["500", "html"],
    )
    def test_so_does_a_failure_of_captiond_s_own_picture(
        self, bad: Responder, reason: str, connect: Callable[..., Server]
    ) -> None:
        with running_receiver(GOOD, bad) as receiver:
            server = connect(model_at(receiver))
            with pytest.raises(ModelUnavailable, match=reason):
                server.caption(IMAGE, "Describe.")
        assert str(server.unavailable) == reason

    def test_a_server_that_is_down_does_not_answer(self, connect: Callable[..., Server]) -> None:
        with running_stand_in() as stand_in:
            server = connect(stand_in.model())
        with pytest.raises(ModelUnavailable):
            server.caption(IMAGE, "Describe.")

        assert server.unavailable == NO_ANSWER

    def test_it_is_asked_again_less_and_less_often(
        self, stand_in: StandIn, connect: Callable[..., Server], clock: Clock
    ) -> None:
        stand_in.fault = lambda number: Fault.ERROR
        server = connect(stand_in.model(), check=False)
        asked = []
        for second in range(90):
            before = len(stand_in.requests)
            server.check()
            if len(stand_in.requests) > before:
                asked.append(second)
            clock.advance(1)
        stand_in.fault = lambda number: None
        clock.advance(MAX_PAUSE)
        server.check()

        assert asked == [0, 1, 3, 7, 15, 31, 61]
        assert server.unavailable is None

    @pytest.mark.parametrize(("header", "seconds"), [("7", 7), ("0", 1), ("nonsense", 1), ("99999999", 3600)])
    def test_retry_after_is_obeyed(
        self, header: str, seconds: float, connect: Callable[..., Server], clock: Clock
    ) -> None:
        with running_receiver(GOOD, with_status(429, Retry_After=header), GOOD) as receiver:
            server = connect(model_at(receiver))
            with pytest.raises(ModelUnavailable):
                server.caption(IMAGE, "Describe.")
            clock.advance(seconds - 0.5)
            server.check()
            assert server.unavailable
            clock.advance(0.5)
            server.check()
        assert server.unavailable is None

    def test_its_log_line_has_neither_url_nor_key(
        self, stand_in: StandIn, connect: Callable[..., Server], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        stand_in.key = "another"
        connect(stand_in.model(), check=False, key=KEY).check()

        assert caplog.messages == [
            "The model's server refuses the key. Set CAPTIOND_MODEL_KEY. No picture is sent to it until it captions "
            "again."
        ]

    def test_a_server_that_is_busy_again_and_again_is_logged_once_a_minute(
        self, connect: Callable[..., Server], clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        busy = with_status(429)
        with running_receiver(GOOD, *[busy, GOOD] * 100) as receiver:
            server = connect(model_at(receiver))
            for _ in range(100):
                with pytest.raises(ModelUnavailable):
                    server.caption(IMAGE, "Describe.")
                clock.advance(1)
                server.check()

        warning = "The model's server is busy. No picture is sent to it until it captions again."
        assert caplog.messages == [warning, "The model's server captions again."] * 2


def test_closing_ends_requests_in_progress() -> None:
    asked, released = threading.Event(), threading.Event()

    def stuck(handler: object) -> None:
        asked.set()
        released.wait(30)

    with running_receiver(GOOD, stuck) as receiver:
        served = Settings(model=model_at(receiver)).served_model
        assert served
        server = Server(served, None)
        server.check()
        errors: list[Exception] = []

        def caption() -> None:
            try:
                server.caption(IMAGE, "Describe.")
            except ModelUnavailable as error:
                errors.append(error)

        thread = threading.Thread(target=caption)
        thread.start()
        assert asked.wait(30)
        server.close()
        thread.join(30)
        released.set()

    assert len(errors) == 1
