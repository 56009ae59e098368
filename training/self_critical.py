"""Self-critical training: the student samples captions, and each is weighted by its reward relative to the others.

REINFORCE with CIDEr-D as the reward (Rennie et al. 2017, arXiv 1612.00563). The baseline of a caption is the mean
reward of the other captions sampled for the same image (Luo 2020, arXiv 2003.09971). The end of a caption counts as a
word; otherwise truncated captions would be rewarded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import BlipForConditionalGeneration, PreTrainedTokenizerFast

from captioning.engine.decoder import Decoder
from captioning.engine.weights import float_linear
from training.data.dataset import Batch, real_tokens
from training.data.images import CaptionedImage
from training.forward import encode
from training.metrics.cider import Cider
from training.metrics.tokens import tokenize

#: Stands for the end of a caption among its words.
END = "<end>"


class SelfCritical:
    """Samples captions of training images and weights them. `samples` is 2 or more; `max_length` is in tokens."""

    def __init__(
        self, images: Sequence[CaptionedImage], tokenizer: PreTrainedTokenizerFast, samples: int, max_length: int
    ) -> None:
        self._reward = Cider([[[*tokenize(text), END] for text in image.captions] for image in images])
        self._tokenizer, self._samples, self._max_length = tokenizer, samples, max_length

    @torch.no_grad()
    def sample_batch(self, student: BlipForConditionalGeneration, batch: Batch) -> Batch:
        """The batch with its captions replaced by captions that the student samples, and with their weights."""
        pad, end = self._tokenizer.pad_token_id, self._tokenizer.sep_token_id
        begin = self._tokenizer.bos_token_id
        states = encode(student.vision_model, batch.pixels)
        tokens = sample(
            student, states, samples=self._samples, max_length=self._max_length, begin=begin, end=end, pad=pad
        )
        rewards = torch.tensor(self._rewards(batch.indices, tokens.tolist()), device=tokens.device)
        baseline = (rewards.sum(dim=1, keepdim=True) - rewards) / (self._samples - 1)
        positions, targets = real_tokens(tokens, pad)
        return replace(
            batch,
            tokens=tokens,
            owner=torch.arange(len(states)).repeat_interleave(self._samples),
            positions=positions,
            targets=targets,
            weights=(rewards - baseline).flatten(),
            rewards=rewards,
        )

    def _rewards(self, indices: Sequence[int], tokens: list[list[int]]) -> list[list[float]]:
        """CIDEr-D of the sampled captions of each image, [B][samples]."""
        words = []
        for row in tokens:
            end = [END] if self._tokenizer.sep_token_id in row else []
            words.append([*tokenize(self._tokenizer.decode(row, skip_special_tokens=True)), *end])
        groups = (words[first : first + self._samples] for first in range(0, len(words), self._samples))
        return [self._reward.scores(index, group) for index, group in zip(indices, groups, strict=True)]


def sample(
    student: BlipForConditionalGeneration,
    states: torch.Tensor,
    *,
    samples: int,
    max_length: int,
    begin: int,
    end: int,
    pad: int,
) -> torch.Tensor:
    """Captions sampled from the student's distribution, int64 [B * samples, L], those of an image in a row.

    L is at most `max_length`, and at most the number of the decoder's positions, as in the beam search. `states` are
    the image states [B, patches + 1, width].
    """
    decoder = Decoder(student.text_decoder, float_linear, float_linear)
    max_length = min(max_length, decoder.max_positions)
    cross_kv = decoder.project_cross_kv(states)
    rows = len(states) * samples
    cache = decoder.new_cache(rows, max_length, cross_kv.dtype)
    tokens = torch.full((rows, 1), begin, device=states.device)
    unfinished = torch.ones(rows, dtype=torch.bool, device=states.device)
    while tokens.shape[1] < max_length and unfinished.any():
        logits = decoder.step(tokens[:, -1:], cache, cross_kv)
        chosen = torch.multinomial(logits.softmax(dim=-1), 1)[:, 0].where(unfinished, pad)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        unfinished &= chosen != end
    return tokens
