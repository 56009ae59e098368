"""Beam search that finds what transformers' `generate` finds, token for token, in float32.

The rules are those of transformers' `_beam_search` with `early_stopping=False`: of the 2 x beams best continuations
of a picture, those that end are finished if they are among the first `beams`, the best others go on; a picture is
done when it has `beams` finished captions and its best open one, by its present length, is no better than the worst of
them. What differs is only what is computed: pictures that are done leave the batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from captioning.engine.decoder import Decoder, KVCache, compact


@dataclass(frozen=True)
class Search:
    """How captions are searched for. Lengths count tokens, with the prompt's, the start and the end."""

    beams: int = 5
    max_length: int = 32
    min_length: int = 0
    length_penalty: float = 1.0


@dataclass(frozen=True, order=True)
class Hypothesis:
    """A finished caption: `score` is its log-probability over its length to the power of the penalty."""

    score: float
    tokens: list[int] = field(compare=False)


@dataclass
class _Picture:
    """What is known of one picture: its place in the request, and its finished captions, best first."""

    place: int
    finished: list[Hypothesis] = field(default_factory=list)


def beam_search(
    decoder: Decoder, states: torch.Tensor, prompt: list[int], end: int, search: Search
) -> list[list[Hypothesis]]:
    """Up to `beams` captions of each picture with states [B, S, width], best first.

    Every caption begins with the tokens of `prompt`; `tokens` of the results are what follows, without the end.
    With one beam the search is greedy.
    """
    beams, batch = search.beams, len(states)
    limit = min(search.max_length, decoder.positions)
    pictures = decoder.project_cross_kv(states)
    cache = KVCache(decoder, batch, limit, pictures)
    open_pictures = [_Picture(place) for place in range(batch)]
    done: dict[int, list[Hypothesis]] = {}
    tokens = torch.tensor(prompt, device=states.device).repeat(batch, 1)
    sequences = torch.empty((batch, 1, 0), dtype=torch.long, device=states.device)
    scores = torch.zeros((batch, 1), device=states.device)
    for length in range(1, limit - len(prompt) + 1):
        logits = decoder.step(tokens, cache, pictures)
        last = len(prompt) + length == limit
        best, parents, chosen = _continuations(
            logits, scores, end if len(prompt) + length <= search.min_length else None, beams
        )
        ended = (chosen == end) | last
        grown = torch.cat([_rows(sequences, parents), chosen[..., None]], dim=2)
        scores, survivors = best.masked_fill(ended, -torch.inf).topk(beams)
        _collect(open_pictures, ended[:, :beams], best, grown, end, length, search)

        # The scores as they are compared below are those of the best caption that is still open.
        leaders = (scores[:, 0] / length**search.length_penalty).tolist()
        wanted = []
        for number, (picture, leader) in enumerate(zip(open_pictures, leaders, strict=True)):
            if last or _is_done(picture, leader, beams):
                done[picture.place] = picture.finished
            else:
                wanted.append(number)
        if not wanted:
            break
        width = sequences.shape[1]
        parents = parents.gather(1, survivors)
        sequences = _rows(grown, survivors)
        if len(wanted) < len(open_pictures):
            pictures, order = compact(pictures, wanted)
            open_pictures = [open_pictures[number] for number in order]
            index = torch.tensor(order, device=states.device)
            parents, sequences, scores = parents[index], sequences[index], scores[index]
        else:
            index = torch.arange(len(open_pictures), device=states.device)
        cache.reorder((index[:, None] * width + parents).flatten())
        tokens = sequences[..., -1].reshape(-1, 1)
    return [done[place] for place in range(batch)]


def _continuations(
    logits: torch.Tensor, scores: torch.Tensor, forbidden: int | None, beams: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The 2 x beams best continuations of each picture, [B, 2 x beams]: scores, the beams they grow from, tokens."""
    batch, width = scores.shape
    total = logits.logsumexp(dim=-1, keepdim=True)
    if forbidden is not None:
        logits[:, forbidden] = -torch.inf
    # No beam can give more than 2 x beams of them, so that the whole vocabulary is looked at once only.
    best, tokens = logits.topk(min(2 * beams, logits.shape[1]), dim=-1)
    best = (scores[..., None] + (best - total).view(batch, width, -1)).flatten(1)
    each = best.shape[1] // width
    best, where = best.topk(min(2 * beams, best.shape[1]), dim=-1)
    return best, where // each, tokens.view(batch, -1).gather(1, where)


def _rows(sequences: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
    return sequences.gather(1, parents[..., None].expand(-1, -1, sequences.shape[2]))


def _collect(
    pictures: list[_Picture],
    ended: torch.Tensor,
    scores: torch.Tensor,
    sequences: torch.Tensor,
    end: int,
    length: int,
    search: Search,
) -> None:
    """Add what just ended to the pictures' finished captions, and keep the best of them."""
    for number, beam in ended.nonzero().tolist():
        tokens = sequences[number, beam].tolist()
        score = float(scores[number, beam]) / length**search.length_penalty
        finished = pictures[number].finished
        finished.append(Hypothesis(score, tokens[:-1] if tokens[-1] == end else tokens))
        finished.sort(reverse=True)
        del finished[search.beams :]


def _is_done(picture: _Picture, leader: float, beams: int) -> bool:
    if len(picture.finished) < beams:
        return False
    return beams == 1 or leader <= picture.finished[-1].score
