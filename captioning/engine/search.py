"""Beam search with the same results as transformers' `generate`, token for token, in float32.

The rules are those of transformers' `_beam_search` with `early_stopping=False`. Of an image's 2 x beams best
continuations, those that end and rank among the first `beams` become finished hypotheses; the best `beams` of the
others stay open. An image is done when it has `beams` finished hypotheses and the score of its best open one, at its
present length, is not above that of the worst finished one. Unlike in transformers, images that are done leave the
batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from captioning.engine.decoder import Decoder, compact


@dataclass(frozen=True)
class Search:
    """Beam search parameters. Lengths are in tokens and include the start token, the prompt and the end token."""

    beams: int = 5
    max_length: int = 32
    min_length: int = 0
    length_penalty: float = 1.0


@dataclass(frozen=True, order=True)
class Hypothesis:
    """A finished caption. `score` is its log-probability divided by length ** length_penalty."""

    score: float
    tokens: list[int] = field(compare=False)


@dataclass
class _ImageSearch:
    """Search state of one image: its index in the request, and its finished hypotheses, best first."""

    index: int
    finished: list[Hypothesis] = field(default_factory=list)


def beam_search(
    decoder: Decoder, states: torch.Tensor, prompt: list[int], end: int, search: Search
) -> list[list[Hypothesis]]:
    """Return up to `beams` hypotheses, best first, for each image with states [B, S, width].

    Every caption begins with the token ids of `prompt`. `Hypothesis.tokens` contains neither these nor the end token
    `end`. With one beam the search is greedy.
    """
    beams, batch = search.beams, len(states)
    max_length = min(search.max_length, decoder.max_positions)
    cross_kv = decoder.project_cross_kv(states)
    cache = decoder.new_cache(batch, max_length, cross_kv.dtype)
    open_images = [_ImageSearch(index) for index in range(batch)]
    done: dict[int, list[Hypothesis]] = {}
    tokens = torch.tensor(prompt, device=states.device).repeat(batch, 1)
    sequences = torch.empty((batch, 1, 0), dtype=torch.long, device=states.device)  # [B, beams, length]
    scores = torch.zeros((batch, 1), device=states.device)  # [B, beams]
    for length in range(1, max_length - len(prompt) + 1):
        logits = decoder.step(tokens, cache, cross_kv)
        last = len(prompt) + length == max_length
        best, parents, chosen = _continuations(
            logits, scores, end if len(prompt) + length <= search.min_length else None, beams
        )
        ended = (chosen == end) | last
        extended = torch.cat([_select_beams(sequences, parents), chosen[..., None]], dim=2)
        scores, survivors = best.masked_fill(ended, -torch.inf).topk(beams)
        _collect_finished(open_images, ended[:, :beams], best, extended, end, length, search)

        best_open = (scores[:, 0] / length**search.length_penalty).tolist()
        active = []
        for number, (image, best_open_score) in enumerate(zip(open_images, best_open, strict=True)):
            if last or _is_done(image, best_open_score, beams):
                done[image.index] = image.finished
            else:
                active.append(number)
        if not active:
            break
        width = sequences.shape[1]
        parents = parents.gather(1, survivors)
        sequences = _select_beams(extended, survivors)
        if len(active) < len(open_images):
            cross_kv, order = compact(cross_kv, active)
            open_images = [open_images[number] for number in order]
            images = torch.tensor(order, device=states.device)
            parents, sequences, scores = parents[images], sequences[images], scores[images]
        else:
            images = torch.arange(len(open_images), device=states.device)
        cache.reorder((images[:, None] * width + parents).flatten())
        tokens = sequences[..., -1].reshape(-1, 1)
    return [done[index] for index in range(batch)]


def _continuations(
    logits: torch.Tensor, scores: torch.Tensor, forbidden: int | None, beams: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the 2 x beams best continuations of each image: scores, parent beams and token ids, [B, 2 x beams] each.

    `logits` are [B x width, vocabulary] and `scores` [B, width], where width is 1 in the first step and `beams` later.
    """
    batch, width = scores.shape
    total = logits.logsumexp(dim=-1, keepdim=True)
    if forbidden is not None:
        logits[:, forbidden] = -torch.inf
    # A beam contributes at most 2 x beams continuations, so the first topk already discards most of the vocabulary.
    best, tokens = logits.topk(min(2 * beams, logits.shape[1]), dim=-1)
    best = (scores[..., None] + (best - total).view(batch, width, -1)).flatten(1)
    per_beam = best.shape[1] // width
    best, indices = best.topk(min(2 * beams, best.shape[1]), dim=-1)
    return best, indices // per_beam, tokens.view(batch, -1).gather(1, indices)


def _select_beams(sequences: torch.Tensor, beams: torch.Tensor) -> torch.Tensor:
    """Return the sequences [B, n, length] of `beams` [B, n] out of `sequences` [B, beams, length]."""
    return sequences.gather(1, beams[..., None].expand(-1, -1, sequences.shape[2]))


def _collect_finished(
    images: list[_ImageSearch],
    ended: torch.Tensor,
    scores: torch.Tensor,
    sequences: torch.Tensor,
    end: int,
    length: int,
    search: Search,
) -> None:
    """Add the sequences that ended in this step to their images' finished hypotheses, and keep the best `beams`."""
    for number, beam in ended.nonzero().tolist():
        tokens = sequences[number, beam].tolist()
        score = float(scores[number, beam]) / length**search.length_penalty
        finished = images[number].finished
        finished.append(Hypothesis(score, tokens[:-1] if tokens[-1] == end else tokens))
        finished.sort(reverse=True)
        del finished[search.beams :]


def _is_done(image: _ImageSearch, best_open_score: float, beams: int) -> bool:
    if len(image.finished) < beams:
        return False
    return beams == 1 or best_open_score <= image.finished[-1].score
