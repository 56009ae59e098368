"""The captioner of a student: decodes and preprocesses images, and captions them by beam search."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import BlipForConditionalGeneration

from captioning.device import choose_device
from captioning.engine import Caption, Engine, Precision, PrecisionError, Search, check_precision, choose_precision
from captioning.errors import StudentError
from captioning.student import Student
from captioning.student.calibration import Calibration
from common import problems
from common.images.sandbox import sandbox
from common.jobs import Alternative, ModelInfo, Output
from common.options import SearchOptions, no_instructions
from common.problems import Problem
from common.settings import Settings
from common.translation import _

log = logging.getLogger(__name__)

Pixels = NDArray[np.float32]


class StudentCaptioner:
    """Captions images with a student by beam search, configured by the settings.

    Raises `StudentError` if the prompt is longer than `max_length` allows, or if the configured device does not exist
    or does not support the configured precision.
    """

    server = None

    def __init__(self, student: Student, settings: Settings) -> None:
        self._prompt_tokens = 1 + len(student.tokenizer.encode(settings.prompt, add_special_tokens=False))
        if self._prompt_tokens >= settings.max_length:
            raise StudentError(
                _(
                    "CAPTIOND_PROMPT and the start token are {tokens} tokens, and CAPTIOND_MAX_LENGTH is {limit}, so "
                    "no token is left for a caption. Shorten the prompt or raise the length.",
                    tokens=self._prompt_tokens,
                    limit=settings.max_length,
                )
            )
        device = choose_device(settings)
        model = student.model.to(device)
        precision, reason = _select_precision(model, settings)
        log.info("Computing on %s in %s: %s.", device, precision, reason)
        self._engine = Engine(model, student.tokenizer, precision)
        self.device, self.precision = str(model.device), str(precision)
        self._preprocessing = student.preprocessing
        self._max_pixels = settings.max_pixels
        self._search = SearchOptions.of(settings)
        self._length_penalty = settings.length_penalty
        self._prompt = settings.prompt
        self._calibration = _calibration(student, settings)
        self._unsure_below = settings.unsure_below
        self.model = ModelInfo(name=student.name, version=student.version, demo=student.demo)

    def prepare(self, data: bytes) -> Pixels:
        """Return float32 [3, S, S]."""
        image = sandbox().preprocess(data, self._max_pixels, self._preprocessing.size)
        return self._preprocessing.pixels(image)

    def caption(self, images: Sequence[Pixels], search: SearchOptions | None = None) -> list[Output | Problem]:
        options = search or self._search
        if options.instruction or options.language:  # no worker was known when the job was submitted
            return [no_instructions(self.model.name)] * len(images)
        if self._prompt_tokens >= options.max_length:
            problem = problems.BAD_REQUEST(
                "`options.max_length` is {limit}, but the prompt of this service has {tokens} tokens, so no token is "
                "left for a caption. Send a higher `max_length`.",
                limit=options.max_length,
                tokens=self._prompt_tokens,
            )
            return [problem] * len(images)
        parameters = Search(
            beams=options.beams,
            max_length=options.max_length,
            min_length=options.min_length,
            length_penalty=self._length_penalty,
        )
        pixels = torch.from_numpy(np.stack(images))
        results = self._search_captions(pixels, parameters, options.captions)
        return [self._output(ranked) for ranked in results]

    def _search_captions(self, pixels: torch.Tensor, search: Search, captions: int) -> list[list[Caption]]:
        """Caption pixels [B, 3, S, S], half of them at a time if the GPU has not enough memory for all."""
        try:
            return self._engine.caption(pixels, search, captions=captions, prompt=self._prompt)
        except torch.OutOfMemoryError:
            if len(pixels) == 1:
                raise
        log.warning(
            "The GPU has not enough memory for %d images at once: halving. Lower CAPTIOND_MAX_BATCH.", len(pixels)
        )
        halves = pixels.chunk(2)
        return [ranked for half in halves for ranked in self._search_captions(half, search, captions)]

    def _output(self, ranked: Sequence[Caption]) -> Output | Problem:
        """Convert an image's captions, best first. Returns a `Problem` if the best score is not finite."""
        best, *others = ranked
        if not math.isfinite(best.score):
            return problems.CAPTION_FAILED(
                "The model's score for this picture is not a finite number, so its caption would be meaningless. If "
                "this happens with other pictures, too, the model is damaged, or CAPTIOND_PRECISION does not suit it."
            )
        confidence = self._calibration.confidence(best.score) if self._calibration else None
        output = Output(
            caption=best.text,
            score=round(best.score, 4),
            alternatives=tuple(
                Alternative(caption=other.text, score=round(other.score, 4))
                for other in others
                if math.isfinite(other.score)
            ),
            confidence=None if confidence is None else round(confidence, 3),
        )
        return output.judged(self._unsure_below)


def _calibration(student: Student, settings: Settings) -> Calibration | None:
    """The student's calibration, if the settings give scores that can be compared with those it was fitted to."""
    calibration = student.calibration
    if calibration and (settings.prompt or settings.length_penalty != calibration.length_penalty):
        log.info(
            "Captions have no confidence: that of %s is for captions without CAPTIOND_PROMPT and with "
            "CAPTIOND_LENGTH_PENALTY=%g.",
            student.name,
            calibration.length_penalty,
        )
        return None
    return calibration


def _select_precision(model: BlipForConditionalGeneration, settings: Settings) -> tuple[Precision, str]:
    """Return the precision to compute in, and the reason."""
    if settings.precision == "auto":
        return choose_precision(model)
    try:
        warning = check_precision(model, settings.precision)
    except PrecisionError as error:
        raise StudentError(error.args[0]) from error
    if warning is not None:
        log.warning("%s.", warning)
    return settings.precision, "set by CAPTIOND_PRECISION"
