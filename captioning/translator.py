"""Translates captions with a Marian model (`CAPTIOND_TRANSLATE`), in one call for all captions of a model batch."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence

import torch
from transformers import MarianMTModel, MarianTokenizer

from captioning.captioner import Captioner, Pixels
from captioning.errors import StudentError
from common.jobs import Output, Translation
from common.options import SearchOptions
from common.problems import Problem
from common.translation import _

#: Longest translation in tokens. Captions have at most some thirty words.
MAX_TOKENS = 128


class Translator:
    """A Marian model and its tokenizer, of a hub id or a folder. Raises `StudentError` if they cannot be loaded."""

    def __init__(self, source: str, device: torch.device) -> None:
        try:
            with warnings.catch_warnings():
                # sacremoses normalises punctuation, which a model's captions do not need.
                warnings.filterwarnings("ignore", message=".*sacremoses")
                self._tokenizer = MarianTokenizer.from_pretrained(source)
            self._model = MarianMTModel.from_pretrained(source).eval()
        except Exception as error:  # OSError for missing files, KeyError or RuntimeError for those of another model
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise StudentError(
                _(
                    "The translation model {model} cannot be loaded: {reason}. CAPTIOND_TRANSLATE takes a language and "
                    "a Marian model, such as ru:Helsinki-NLP/opus-mt-en-ru.",
                    model=source,
                    reason=reason,
                )
            ) from error
        self._model.to(device)

    @torch.inference_mode()
    def translate(self, texts: Sequence[str]) -> list[str]:
        """Return the translation of each text."""
        if not texts:
            return []
        tokens = self._tokenizer(list(texts), return_tensors="pt", padding=True).to(self._model.device)
        translated = self._model.generate(**tokens, max_new_tokens=MAX_TOKENS)
        decoded: list[str] = self._tokenizer.batch_decode(translated, skip_special_tokens=True)
        return [text.strip() for text in decoded]


class TranslatingCaptioner:
    """A captioner whose captions get a translation. Alternatives get none, because few readers look at them."""

    def __init__(self, captioner: Captioner, language: str, translator: Translator) -> None:
        self._captioner = captioner
        self._language = language
        self._translator = translator
        self.model, self.device, self.precision = captioner.model, captioner.device, captioner.precision
        self.server = captioner.server
        #: A server's model is asked in several threads, but the Marian model translates in one at a time.
        self._translating = threading.Lock()

    def prepare(self, data: bytes) -> Pixels:
        return self._captioner.prepare(data)

    def caption(self, images: Sequence[Pixels], search: SearchOptions | None = None) -> list[Output | Problem]:
        results = self._captioner.caption(images, search)
        texts = [result.caption for result in results if isinstance(result, Output)]
        with self._translating:
            translations = iter(self._translator.translate(texts))
        return [
            result.model_copy(update={"translated": Translation(language=self._language, caption=next(translations))})
            if isinstance(result, Output)
            else result
            for result in results
        ]
