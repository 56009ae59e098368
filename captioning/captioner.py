"""Captioner: file bytes to model input, model input to captions. Imports torch only for a model that needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from common.jobs import ModelInfo, Output
from common.options import SearchOptions
from common.problems import Problem
from common.settings import Settings
from common.translation import Message

#: An image as a captioner prepares it: float32 [3, S, S] for a student, the bytes of a JPEG for a model of a server.
Pixels = Any


class ModelUnavailable(Exception):
    """The model's server cannot caption now, which is no fault of the image. `reason` is a sentence for people."""

    def __init__(self, reason: Message) -> None:
        super().__init__(reason)
        self.reason = reason


class ModelServer(Protocol):
    """The server of a captioner's model, as the worker sees it."""

    @property
    def unavailable(self) -> Message | None:
        """Why the server cannot caption now; None if it can. Contains neither its URL nor its key."""

    def check(self) -> None:
        """Ask an unavailable server again if it is time to. Called about once a second."""

    def close(self) -> None:
        """End the requests in progress; they raise `ModelUnavailable`."""


class Captioner(Protocol):
    """The interface of a captioning model that the worker needs."""

    @property
    def model(self) -> ModelInfo:
        """Name and version of the model."""

    @property
    def device(self) -> str:
        """torch's name of the device that the model computes on, such as `cpu` or `cuda:0`, or `server`."""

    @property
    def precision(self) -> str:
        """Precision that the model computes in, such as `fp32` or `int8`; empty for a model of a server."""

    @property
    def server(self) -> ModelServer | None:
        """The server that computes the captions; None for a model in this process.

        The captions of a server's model are asked for one image at a time, in several threads.
        """

    def prepare(self, data: bytes) -> Pixels:
        """Decode and preprocess an image file into the model's input.

        Called in the task threads, in parallel with the model. Raises a `Problem` as the sandbox does.
        """

    def caption(self, images: Sequence[Pixels], search: SearchOptions | None = None) -> Sequence[Output | Problem]:
        """Caption prepared images in one model call, by default as the settings say. Called in a model thread only.

        An image for which the model gives no usable caption gets a `Problem`. Raises `ModelUnavailable`.
        """


def load_captioner(settings: Settings) -> Captioner:
    """The captioner of the model and the translation model that the settings name; raises `StudentError`."""
    captioner = _load(settings)
    if not settings.translate:
        return captioner
    from captioning.device import choose_device, limit_threads
    from captioning.translator import TranslatingCaptioner, Translator

    limit_threads()
    language, _colon, model = settings.translate.partition(":")
    return TranslatingCaptioner(captioner, language, Translator(model, choose_device(settings)))


def _load(settings: Settings) -> Captioner:
    from captioning import weights
    from captioning.device import limit_threads
    from captioning.student.captioner import StudentCaptioner

    limit_threads()
    return StudentCaptioner(weights.load(settings), settings)
