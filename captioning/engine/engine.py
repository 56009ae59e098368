"""Pictures to captions: vision tower, beam search, words."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import BlipForConditionalGeneration, PreTrainedTokenizerFast

from captioning.engine.attention import fused, rounded
from captioning.engine.decoder import Decoder
from captioning.engine.int8 import int8, vocabulary
from captioning.engine.precision import DTYPES, Precision
from captioning.engine.search import Search, beam_search
from captioning.engine.vision import VisionEncoder
from captioning.engine.weights import floating


@dataclass(frozen=True)
class Caption:
    """A caption and its length-normalised log-probability."""

    text: str
    score: float


class Engine:
    """Captions with a model's own weights, which are converted in place: the model must not be used for anything else
    afterwards, but in fp32, where it stays what it was. It must be in eval mode and stay on its device.
    """

    def __init__(
        self, model: BlipForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, precision: Precision = "fp32"
    ) -> None:
        if precision in DTYPES:
            model = model.to(DTYPES[precision])
        make, word = (int8, vocabulary) if precision == "int8" else (floating, floating)
        attend = rounded(model.device) if precision in ("int8", "bf16") else fused
        self._vision_encoder = VisionEncoder(model.vision_model, make, attend)
        self._decoder = Decoder(model.text_decoder, make, word)
        self._tokenizer = tokenizer
        self._device, self._dtype = model.device, model.dtype

    @torch.inference_mode()
    def caption(
        self, pixels: torch.Tensor, search: Search, *, captions: int = 1, prompt: str = ""
    ) -> list[list[Caption]]:
        """The `captions` best captions of each picture, best first. `pixels` is float [B, 3, S, S].

        Every caption begins with the words of `prompt`.
        """
        tokenizer = self._tokenizer
        begin = [tokenizer.bos_token_id, *tokenizer.encode(prompt, add_special_tokens=False)]
        states = self._vision_encoder.encode(pixels.to(self._device, self._dtype))
        found = beam_search(self._decoder, states, begin, tokenizer.sep_token_id, search)
        return [
            [
                Caption(tokenizer.decode([*begin, *each.tokens], skip_special_tokens=True).strip(), each.score)
                for each in hypotheses[:captions]
            ]
            for hypotheses in found
        ]
