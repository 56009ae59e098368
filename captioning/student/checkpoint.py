"""Loads a student from a `.pt` file: the deployed file, or a checkpoint that training writes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import BlipConfig, BlipForConditionalGeneration, PreTrainedTokenizerFast

from captioning.errors import StudentError
from captioning.student.config import HEAD, WORD_EMBEDDINGS, build, infer_config
from captioning.student.finite import check_finite
from captioning.student.tokens import to_transformers
from common.translation import _

log = logging.getLogger(__name__)

#: Keys that may contain the state dict, in order of preference.
STATE_DICT_KEYS = ("model", "state_dict", "model_state_dict", "student", "student_state_dict")
#: Prefixes that DataParallel and torch.compile add to every key.
PREFIXES = ("module.", "_orig_mod.")
#: LayerNorm parameter names of older transformers versions, and their present names.
RENAMED_PARAMETERS = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
#: Largest number of differing keys that an error message lists.
MAX_LISTED = 12


def load_checkpoint(
    path: Path, *, text_heads: int, vision_heads: int
) -> tuple[BlipForConditionalGeneration, PreTrainedTokenizerFast | None]:
    """Load the model of a `.pt` in float32 and eval mode, and the tokenizer if the file contains one.

    The head counts are used if the file has no configuration. Raises `StudentError` if the file cannot be read, is
    not a BLIP captioner, was saved before the first training step, has keys or shapes that do not fit its
    configuration (they are listed), or has weights that are not finite.
    """
    content = _read(path)
    if content.get("steps") == 0:
        raise StudentError(_("{path} was saved before the first step of its training, so it is untrained.", path=path))
    state = clean_state(content)
    tokenizer = content.get("tokenizer")
    try:
        if isinstance(content.get("model_config"), dict):
            config = BlipConfig.from_dict(content["model_config"])
        else:
            config = infer_config(state, text_heads=text_heads, vision_heads=vision_heads)
            log.info(
                "%s does not record its numbers of attention heads; using %d for text and %d for vision "
                "(CAPTIOND_TEXT_HEADS, CAPTIOND_VISION_HEADS). With wrong numbers the captions are wrong.",
                path.name,
                text_heads,
                vision_heads,
            )
        model = build(config)
        embedded_tokenizer = to_transformers(Tokenizer.from_str(tokenizer)) if isinstance(tokenizer, str) else None
    except KeyError as error:
        raise StudentError(
            _("{path} is not a BLIP captioner: it has no tensor {name}.", path=path, name=error)
        ) from error
    except Exception as error:  # head counts that do not divide the width, or an invalid configuration
        raise StudentError(
            _(
                "{path} is not a valid BLIP captioner: {reason}. For a file that does not record its numbers of "
                "attention heads, set CAPTIOND_TEXT_HEADS and CAPTIOND_VISION_HEADS.",
                path=path,
                reason=" ".join(str(error).split()),
            )
        ) from error
    load_exactly(model, state, str(path))
    check_finite(model.state_dict(), str(path))
    return model.eval(), embedded_tokenizer


def clean_state(content: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the state dict with present names: prefixes removed, old names mapped, `position_ids` dropped."""
    nested: Mapping[str, Any] = next(
        (content[key] for key in STATE_DICT_KEYS if isinstance(content.get(key), Mapping)), content
    )
    state = {}
    for key, tensor in nested.items():
        if not isinstance(tensor, torch.Tensor) or key.endswith("position_ids"):
            continue
        for prefix in PREFIXES * 2:  # the two may be nested in either order
            key = key.removeprefix(prefix)
        for old, new in RENAMED_PARAMETERS.items():
            key = key.replace(old, new)
        state[key] = tensor
    return state


def load_exactly(model: BlipForConditionalGeneration, state: Mapping[str, torch.Tensor], source: str) -> None:
    """Load a state dict whose keys and shapes fit exactly. Raises `StudentError` with the differences, if any."""
    expected = model.state_dict()
    if model.config.text_config.tie_word_embeddings:  # a file with tied embeddings may omit the copies
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
        shown = "; ".join(sorted(differing)[:MAX_LISTED])
        more = f"; and {len(differing) - MAX_LISTED} more" if len(differing) > MAX_LISTED else ""
        raise StudentError(
            _(
                "{source} does not fit a BLIP captioner, so it was not loaded. {differences}.",
                source=source,
                differences=shown + more,
            )
        )
    model.load_state_dict(dict(state), strict=True)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise StudentError(_("The file {path} does not exist.", path=path)) from error
    except Exception as error:  # damaged files raise anything from EOFError to UnpicklingError
        raise StudentError(
            _(
                "{path} cannot be read as PyTorch weights ({reason}). Download it again. A file with more than tensors "
                "and numbers is refused, because loading it could run its code.",
                path=path,
                reason=type(error).__name__,
            )
        ) from error
    if not isinstance(content, Mapping):
        raise StudentError(
            _("{path} holds a {type}, not a dictionary of weights.", path=path, type=type(content).__name__)
        )
    return content
