"""transformers' beam search, the reference for captiond's engine, with all arguments that BLIP needs."""

from __future__ import annotations

import torch
from transformers import BlipForConditionalGeneration, PreTrainedTokenizerFast
from transformers.generation.utils import GenerateDecoderOnlyOutput

from captioning.engine import Caption


@torch.inference_mode()
def generate(
    model: BlipForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    pixels: torch.Tensor,
    *,
    beams: int,
    max_length: int,
    captions: int = 1,
    length_penalty: float = 1.0,
    min_length: int = 0,
) -> list[list[Caption]]:
    """The `captions` best captions of each image, best first.

    `pixels` is float [B, 3, S, S]; `max_length` counts tokens, including start and end.

    The search calls the text decoder directly. BLIP's own `generate` reads start and end tokens from configuration
    fields whose defaults (end 2, no maximum) never end a caption, so all of them are passed here.
    """
    states = model.vision_model(pixels).last_hidden_state  # [B, patches + 1, width]
    start_tokens = torch.full((len(pixels), 1), tokenizer.bos_token_id, device=pixels.device)
    output = model.text_decoder.generate(
        input_ids=start_tokens,
        attention_mask=torch.ones_like(start_tokens),
        encoder_hidden_states=states,
        encoder_attention_mask=torch.ones(states.shape[:2], dtype=torch.long, device=pixels.device),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_length=max_length,
        num_beams=beams,
        num_return_sequences=captions,
        length_penalty=length_penalty if beams > 1 else None,
        min_length=min_length,
        do_sample=False,
        output_scores=True,
        return_dict_in_generate=True,
    )
    texts = tokenizer.batch_decode(output.sequences, skip_special_tokens=True)
    scores = output.sequences_scores.tolist() if beams > 1 else _greedy_scores(model, output, tokenizer.sep_token_id)
    ranked = [Caption(text.strip(), score) for text, score in zip(texts, scores, strict=True)]
    return [ranked[start : start + captions] for start in range(0, len(ranked), captions)]


def _greedy_scores(model: BlipForConditionalGeneration, output: GenerateDecoderOnlyOutput, end: int) -> list[float]:
    """Mean log-probability of the tokens up to and including the end token, as a beam search with one beam returns."""
    log_probabilities = model.text_decoder.compute_transition_scores(
        output.sequences, output.scores, normalize_logits=True
    )
    tokens = output.sequences[:, -log_probabilities.shape[1] :]
    real = (tokens == end).cumsum(1) - (tokens == end).long() == 0  # not padding
    means = (log_probabilities.masked_fill(~real, 0.0).sum(1) / real.sum(1)).tolist()
    return [float(mean) for mean in means]
