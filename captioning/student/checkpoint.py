"""A student as a `.pt`: the deployed file, and the checkpoints that training writes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import BlipConfig, BlipForConditionalGeneration, PreTrainedTokenizerFast

from captioning.student.errors import StudentError
from captioning.student.finite import check_finite
from captioning.student.shapes import HEAD, WORD_EMBEDDINGS, build, infer_config
from captioning.student.tokens import wrap

log = logging.getLogger(__name__)

#: Keys under which files nest their weights, in the order they are looked for.
NESTED_UNDER = ("model", "state_dict", "model_state_dict", "student", "student_state_dict")
#: What DataParallel and torch.compile put before every key.
PREFIXES = ("module.", "_orig_mod.")
#: Names of older transformers' LayerNorms.
RENAMED = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
#: At most this many differing keys are listed; the first ones tell the story.
LISTED = 12


def load_checkpoint(
    path: Path, *, text_heads: int, vision_heads: int
) -> tuple[BlipForConditionalGeneration, PreTrainedTokenizerFast | None]:
    """The model of a `.pt`, float32 and in eval mode, and its tokenizer if it brings one.

    The head counts are used for a file that does not say its own. Raises `StudentError`: the file cannot be
    read, is no BLIP captioner's, was saved before its first step of training, its keys differ from the shapes it
    claims (they are listed), or its weights are not finite.
    """
    content = _read(path)
    if content.get("steps") == 0:
        raise StudentError(f"{path} was saved before the first step of its training, so it has learnt nothing yet.")
    state = clean_state(content)
    tokenizer = content.get("tokenizer")
    try:
        if isinstance(content.get("model_config"), dict):
            config = BlipConfig.from_dict(content["model_config"])
        else:
            config = infer_config(state, text_heads=text_heads, vision_heads=vision_heads)
            log.info(
                "%s does not say how many attention heads it has; taking %d for text and %d for vision "
                "(CAPTIOND_TEXT_HEADS, CAPTIOND_VISION_HEADS). Wrong ones give fluent nonsense.",
                path.name,
                text_heads,
                vision_heads,
            )
        model = build(config)
        own = wrap(Tokenizer.from_str(tokenizer)) if isinstance(tokenizer, str) else None
    except KeyError as error:
        raise StudentError(f"{path} holds no BLIP captioner: it has no tensor {error}.") from error
    except Exception as error:  # head counts that divide no width, or what only looks like a configuration
        raise StudentError(
            f"{path} describes no BLIP captioner: {' '.join(str(error).split())}. For a file that does not say its "
            "head counts, set CAPTIOND_TEXT_HEADS and CAPTIOND_VISION_HEADS."
        ) from error
    load_exactly(model, state, str(path))
    check_finite(model.state_dict(), str(path))
    return model.eval(), own


def clean_state(content: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The state dict in today's names: unwrapped, without prefixes, old names mapped, `position_ids` dropped."""
    nested: Mapping[str, Any] = next(
        (content[key] for key in NESTED_UNDER if isinstance(content.get(key), Mapping)), content
    )
    state = {}
    for key, tensor in nested.items():
        if not isinstance(tensor, torch.Tensor) or key.endswith("position_ids"):
            continue
        for prefix in PREFIXES * 2:  # either may come first
            key = key.removeprefix(prefix)
        for old, new in RENAMED.items():
            key = key.replace(old, new)
        state[key] = tensor
    return state


def load_exactly(model: BlipForConditionalGeneration, state: Mapping[str, torch.Tensor], source: str) -> None:
    """Load every key or none; raises `StudentError` with the keys that differ."""
    expected = model.state_dict()
    if model.config.text_config.tie_word_embeddings:  # a tied file may leave the copies out
        copies = {
            HEAD: WORD_EMBEDDINGS,
            "text_decoder.cls.predictions.decoder.bias": "text_decoder.cls.predictions.bias",
        }
        state = {**{copy: state[of] for copy, of in copies.items() if of in state}, **state}
    differing = [f"missing {key}" for key in expected.keys() - state.keys()]
    differing += [f"unexpected {key}" for key in state.keys() - expected.keys()]
    differing += [
        f"{key} is {list(state[key].shape)} instead of {list(expected[key].shape)}"
        for key in expected.keys() & state.keys()
        if state[key].shape != expected[key].shape
    ]
    if differing:
        shown = "; ".join(sorted(differing)[:LISTED])
        more = f"; and {len(differing) - LISTED} more" if len(differing) > LISTED else ""
        raise StudentError(f"{source} does not fit a BLIP captioner, so nothing of it was loaded. {shown}{more}.")
    model.load_state_dict(dict(state), strict=True)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise StudentError(f"There is no file {path}.") from error
    except Exception as error:  # torn or foreign files raise anything from EOFError to UnpicklingError
        raise StudentError(
            f"{path} cannot be read as PyTorch weights ({type(error).__name__}). Fetch it again; a file that needs "
            "more than tensors and numbers is refused, as loading it could run its code."
        ) from error
    if not isinstance(content, Mapping):
        raise StudentError(f"{path} holds a {type(content).__name__}, not a dictionary of weights.")
    return content
