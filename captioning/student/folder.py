"""A student as a folder in Hugging Face form: config.json, model.safetensors, tokenizer, picture settings.

transformers reads such a folder, too, unless it is a hybrid's: that one's config.json names a type of model that
transformers does not know, and its patch embedding has a shape that transformers refuses.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import BlipConfig, BlipForConditionalGeneration, PreTrainedTokenizerFast
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

from captioning.student.checkpoint import load_exactly
from captioning.student.errors import StudentError
from captioning.student.finite import check_finite
from captioning.student.processor import load_tokenizer
from captioning.student.shapes import build, preprocessing_of
from common import strict_json

#: What a hybrid's config.json says that it is.
HYBRID = {
    "model_type": "blip-hybrid",
    "architectures": ["HybridBlipForConditionalGeneration"],
    "read_by": "captiond's captioning.student.load_folder; transformers has no class for it",
}
WEIGHTS = "model.safetensors"
PICTURES = "preprocessor_config.json"

# A bar for a fraction of a second, drawn into log files.
transformers_logging.disable_progress_bar()


def load_folder(source: str | Path) -> tuple[BlipForConditionalGeneration, PreTrainedTokenizerFast]:
    """Model (float32, eval mode) and tokenizer of a local folder or a hub id; raises `StudentError`."""
    try:
        said = BlipConfig.get_config_dict(str(source))[0]
        model = _load_hybrid(source, said) if (said.get("vision_config") or {}).get("stem") else _load_plain(source)
        _take_preprocessing(model, source)
    except StudentError:
        raise
    except Exception as error:  # OSError for what cannot be had, ValueError or RuntimeError for what does not fit
        raise StudentError(f"{source} cannot be loaded as a BLIP captioner: {error}") from error
    check_finite(model.state_dict(), str(source))
    return model.eval(), load_tokenizer(source, model.config)


def save_folder(model: BlipForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write float16 weights, config, tokenizer and picture settings; any BLIP loader reads one without a stem.

    Raises `StudentError` for weights that float16 cannot hold (above 65,504).
    """
    model = model.half()
    check_finite(model.state_dict(), "The student in float16")
    model.save_pretrained(folder)
    if getattr(model.config.vision_config, "stem", None):
        path = folder / "config.json"
        path.write_text(
            strict_json.dumps(json.loads(path.read_text("utf-8")) | HYBRID, indent=2) + "\n", encoding="utf-8"
        )
    tokenizer.save_pretrained(folder)
    preprocessing = preprocessing_of(model.config)
    pictures = {
        "image_processor_type": "BlipImageProcessor",
        "processor_class": "BlipProcessor",
        "do_resize": True,
        "size": {"height": preprocessing.size, "width": preprocessing.size},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
        "do_convert_rgb": True,
    }
    (folder / PICTURES).write_text(strict_json.dumps(pictures, indent=2) + "\n", encoding="utf-8")


def _load_plain(source: str | Path) -> BlipForConditionalGeneration:
    model, report = BlipForConditionalGeneration.from_pretrained(
        str(source), dtype=torch.float32, output_loading_info=True
    )
    differing = sorted([*report["missing_keys"], *report["unexpected_keys"], *map(str, report["mismatched_keys"])])
    differing = [key for key in differing if not key.endswith("position_ids")]
    if differing:
        raise StudentError(f"{source} does not fit its own config.json. These weights differ: {', '.join(differing)}.")
    loaded: BlipForConditionalGeneration = model
    return loaded


def _load_hybrid(source: str | Path, said: dict[str, Any]) -> BlipForConditionalGeneration:
    config = BlipConfig.from_dict({key: value for key, value in said.items() if key not in HYBRID})
    model = build(config)
    load_exactly(model, load_file(cached_file(str(source), WEIGHTS)), str(source))
    return model


def _take_preprocessing(model: BlipForConditionalGeneration, source: str | Path) -> None:
    """Put what the folder's picture settings say into the model's configuration, which is where it is looked for.

    Raises `StudentError` when they ask for another side than the model has.
    """
    path = cached_file(
        str(source),
        PICTURES,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if path is None:
        return
    said = json.loads(Path(path).read_text("utf-8"))
    vision = model.config.vision_config
    size = said.get("size")
    side = size.get("height") if isinstance(size, dict) else size
    if side is not None and side != vision.image_size:
        raise StudentError(f"{source} takes pictures of {vision.image_size} pixels, and its {PICTURES} says {side}.")
    for name in ("image_mean", "image_std"):
        if said.get(name) and list(said[name]) != list(getattr(preprocessing_of(model.config), name[6:])):
            setattr(vision, name, list(said[name]))
