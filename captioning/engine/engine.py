"""Images to captions: vision encoder, beam search, detokenization."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import BlipForConditionalGeneration, PreTrainedTokenizerFast

from captioning.engine.attention import reduced_precision_attention, sdpa
from captioning.engine.decoder import Decoder
from captioning.engine.int8 import int8_head, int8_linear
from captioning.engine.precision import DTYPES, Precision
from captioning.engine.search import Search, beam_search
from captioning.engine.vision import build_vision_encoder
from captioning.engine.weights import float_linear


@dataclass(frozen=True)
class Caption:
    """A caption and its length-normalised log-probability."""

    text: str
    score: float


class Engine:
    """Captions images with the weights of `model`.

    The model must be in eval mode and stay on its device. In every precision but fp32 its weights are converted in
    place, so that it must not be used for anything else afterwards.
    """

    def __init__(
        self, model: BlipForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, precision: Precision = "fp32"
    ) -> None:
        if precision in DTYPES:
            model = model.to(DTYPES[precision])
        make_linear, make_head = (int8_linear, int8_head) if precision == "int8" else (float_linear, float_linear)
        attention = reduced_precision_attention(model.device) if precision in ("int8", "bf16") else sdpa
        self._vision_encoder = build_vision_encoder(model.vision_model, make_linear, attention)
        self._decoder = Decoder(model.text_decoder, make_linear, make_head)
        self._tokenizer = tokenizer
        self._device, self._dtype = model.device, model.dtype

    @torch.inference_mode()
    def caption(
        self, pixels: torch.Tensor, search: Search, *, captions: int = 1, prompt: str = ""
    ) -> list[list[Caption]]:
        """Return the `captions` best captions of each image, best first. `pixels` is float [B, 3, S, S].

        Every caption begins with the words of `prompt`.
        """
        tokenizer = self._tokenizer
        prompt_ids = [tokenizer.bos_token_id, *tokenizer.encode(prompt, add_special_tokens=False)]
        states = self._vision_encoder.encode(pixels.to(self._device, self._dtype))
        results = beam_search(self._decoder, states, prompt_ids, tokenizer.sep_token_id, search)
        return [
            [
                Caption(tokenizer.decode([*prompt_ids, *each.tokens], skip_special_tokens=True).strip(), each.score)
                for each in hypotheses[:captions]
            ]
            for hypotheses in results
        ]
