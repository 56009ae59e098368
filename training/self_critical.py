"""Self-critical training: captions that the student draws, each weighted by how much better it is than the others.

REINFORCE with CIDEr-D as the reward (Rennie et al. 2017, arXiv 1612.00563); what a caption's reward is compared with is
the mean of the other captions drawn of the same picture (Luo 2020, arXiv 2003.09971). The end of a caption counts as a
word, or captions that break off in the middle would be rewarded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import BlipForConditionalGeneration, PreTrainedTokenizerFast

from captioning.engine.decoder import Decoder, KVCache
from captioning.engine.weights import floating
from training.data.dataset import Batch
from training.data.images import CaptionedImage
from training.forward import encode
from training.metrics.cider import Cider
from training.metrics.tokens import tokenize

#: What stands for the end of a caption among its words.
END = "<end>"


class SelfCritical:
    """Draws captions of training pictures and weighs them. `samples` is 2 or more."""

    def __init__(
        self, pictures: Sequence[CaptionedImage], tokenizer: PreTrainedTokenizerFast, samples: int, longest: int
    ) -> None:
        self._reward = Cider([[[*tokenize(text), END] for text in picture.captions] for picture in pictures])
        self._tokenizer, self._samples, self._longest = tokenizer, samples, longest

    @torch.no_grad()
    def drawn(self, student: BlipForConditionalGeneration, batch: Batch) -> Batch:
        """The batch with captions that the student draws in the place of people's, and their weights."""
        pad, end = self._tokenizer.pad_token_id, self._tokenizer.sep_token_id
        begin = self._tokenizer.bos_token_id
        states = encode(student.vision_model, batch.pixels)
        tokens = draw(student, states, samples=self._samples, longest=self._longest, begin=begin, end=end, pad=pad)
        rewards = torch.tensor(self._rewards(batch.numbers, tokens.tolist()), device=tokens.device)
        others = (rewards.sum(dim=1, keepdim=True) - rewards) / (self._samples - 1)
        owner = torch.arange(len(states), device=tokens.device).repeat_interleave(self._samples)
        return replace(batch, tokens=tokens, owner=owner, weights=(rewards - others).flatten(), rewards=rewards)

    def _rewards(self, numbers: Sequence[int], tokens: list[list[int]]) -> list[list[float]]:
        """CIDEr-D of the captions of each picture, [B][samples]."""
        words = []
        for row in tokens:
            ended = [END] if self._tokenizer.sep_token_id in row else []
            words.append([*tokenize(self._tokenizer.decode(row, skip_special_tokens=True)), *ended])
        groups = (words[first : first + self._samples] for first in range(0, len(words), self._samples))
        return [self._reward.scores(number, group) for number, group in zip(numbers, groups, strict=True)]


def draw(
    student: BlipForConditionalGeneration,
    states: torch.Tensor,
    *,
    samples: int,
    longest: int,
    begin: int,
    end: int,
    pad: int,
) -> torch.Tensor:
    """Captions drawn word by word by their probabilities: int64 [B x samples, L], padded.

    L is at most `longest`, and at most the decoder's positions, as in the beam search.

    `states` [B, patches + 1, width] are those of the pictures; the captions of each stand together.
    """
    decoder = Decoder(student.text_decoder, floating, floating)
    longest = min(longest, decoder.positions)
    pictures = decoder.project_cross_kv(states)
    rows = len(states) * samples
    cache = KVCache(decoder, rows, longest, pictures)
    tokens = torch.full((rows, 1), begin, device=states.device)
    going = torch.ones(rows, dtype=torch.bool, device=states.device)
    while tokens.shape[1] < longest and going.any():
        logits = decoder.step(tokens[:, -1:], cache, pictures)
        chosen = torch.multinomial(logits.softmax(dim=-1), 1)[:, 0].where(going, pad)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        going &= chosen != end
    return tokens
