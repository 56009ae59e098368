"""Pictures to captions: vision tower, beam search, words."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import BlipForConditionalGeneration, PreTrainedTokenizerFast

from common.engine.decoder import Decoder
from common.engine.search import Search, beam_search
from common.engine.vision import encode


@dataclass(frozen=True)
class Caption:
    """A caption and its length-normalised log-probability."""

    text: str
    score: float


class Engine:
    """Captions with a model's own weights. The model must be in eval mode, and stay on its device."""

    def __init__(self, model: BlipForConditionalGeneration, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tower = model.vision_model
        self._decoder = Decoder(model.text_decoder)
        self._tokenizer = tokenizer
        self._device = model.device

    @torch.inference_mode()
    def caption(
        self, pixels: torch.Tensor, search: Search, *, captions: int = 1, prompt: str = ""
    ) -> list[list[Caption]]:
        """The `captions` best captions of each picture, best first. `pixels` is float [B, 3, S, S].

        Every caption begins with the words of `prompt`.
        """
        tokenizer = self._tokenizer
        begin = [tokenizer.bos_token_id, *tokenizer.encode(prompt, add_special_tokens=False)]
        states = encode(self._tower, pixels.to(self._device))
        found = beam_search(self._decoder, states, begin, tokenizer.sep_token_id, search)
        return [
            [
                Caption(tokenizer.decode([*begin, *each.tokens], skip_special_tokens=True).strip(), each.score)
                for each in hypotheses[:captions]
            ]
            for hypotheses in found
        ]
