"""The resident student: pictures in, captions out."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Protocol

import joblib
import numpy as np
import torch
from numpy.typing import NDArray
from transformers import BlipForConditionalGeneration

from captioning import weights
from captioning.engine import Caption, Engine, Precision, PrecisionError, Search, check, choose
from captioning.student import Student
from captioning.student.errors import StudentError
from common import problems
from common.images.sandbox import sandbox
from common.jobs import Alternative, ModelInfo, Output
from common.problems import Problem
from common.settings import Settings

log = logging.getLogger(__name__)

#: Captions a job gets beside the best one, as far as there are beams for them.
ALTERNATIVES = 2

Pixels = NDArray[np.float32]


def use_processors() -> None:
    """Have the model use the processors that this process may use; once, before it computes anything.

    By itself it takes as many threads as the machine has processors, and in a container that may use two of them they
    stand in each other's way.
    """
    torch.set_num_threads(min(torch.get_num_threads(), joblib.cpu_count()))


class Captioner(Protocol):
    """What the worker needs of a model."""

    @property
    def model(self) -> ModelInfo:
        """Which model this is."""

    def prepare(self, data: bytes) -> Pixels:
        """A picture's file as the model takes it; called in the task threads, beside the model.

        Raises the picture's problem, as `Sandbox.square` does.
        """

    def caption(self, pictures: Sequence[Pixels]) -> Sequence[Output | Problem]:
        """The captions of prepared pictures, in one call of the model; called in the model thread only.

        A picture for which the model gives no usable caption has a problem in the place of it.
        """


class StudentCaptioner:
    """Captions with a student, by beam search as the settings say.

    Raises `StudentError` when the prompt leaves no room for a caption, or the device cannot compute in the precision
    that was chosen.
    """

    def __init__(self, student: Student, settings: Settings) -> None:
        begun = 1 + len(student.tokenizer.encode(settings.prompt, add_special_tokens=False))
        if begun >= settings.max_length:
            raise StudentError(
                f"CAPTIOND_PROMPT and the start are {begun} tokens, and CAPTIOND_MAX_LENGTH allows "
                f"{settings.max_length}: there is no room for a caption. Shorten the one or raise the other."
            )
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = student.model.to(device)
        precision, why = _precision(model, settings)
        log.info("Computing on %s in %s: %s.", device, precision, why)
        self._engine = Engine(model, student.tokenizer, precision)
        self._preprocessing = student.preprocessing
        self._max_pixels = settings.max_pixels
        self._search = Search(
            beams=settings.beams,
            max_length=settings.max_length,
            min_length=settings.min_length,
            length_penalty=settings.length_penalty,
        )
        self._prompt = settings.prompt
        self.model = ModelInfo(name=student.name, version=student.version, demo=student.demo)

    def prepare(self, data: bytes) -> Pixels:
        """float32 [3, S, S]."""
        square = sandbox().square(data, self._max_pixels, self._preprocessing.size)
        return self._preprocessing.pixels(square)

    def caption(self, pictures: Sequence[Pixels]) -> list[Output | Problem]:
        pixels = torch.from_numpy(np.stack(pictures))
        found = self._engine.caption(pixels, self._search, captions=1 + ALTERNATIVES, prompt=self._prompt)
        return [_output(ranked) for ranked in found]


def load_captioner(settings: Settings) -> StudentCaptioner:
    """The captioner of the student that the settings name; raises `StudentError`."""
    use_processors()
    return StudentCaptioner(weights.load(settings), settings)


def _output(ranked: Sequence[Caption]) -> Output | Problem:
    """The captions that the search ranked for a picture; a problem when the score of the best is not finite."""
    best, *others = ranked
    if not math.isfinite(best.score):
        return problems.CAPTION_FAILED(
            "The model's score for this picture is not a finite number, so its caption would mean nothing. If it "
            "happens with other pictures, too, the model is damaged, or CAPTIOND_PRECISION does not suit it."
        )
    return Output(
        caption=best.text,
        score=round(best.score, 4),
        alternatives=tuple(
            Alternative(caption=other.text, score=round(other.score, 4))
            for other in others
            if math.isfinite(other.score)
        ),
    )


def _precision(model: BlipForConditionalGeneration, settings: Settings) -> tuple[Precision, str]:
    """The precision to compute in, and why."""
    if settings.precision == "auto":
        return choose(model)
    try:
        wrong = check(model, settings.precision)
    except PrecisionError as error:
        raise StudentError(str(error)) from error
    if wrong is not None:
        log.warning("%s.", wrong)
    return settings.precision, "as CAPTIOND_PRECISION says"
