"""Loads and saves a student in Hugging Face format: config.json, model.safetensors, tokenizer, preprocessing.

transformers can load such a folder, except that of a hybrid. A hybrid's config.json has a model type that transformers
does not know, and its patch embedding has a shape that transformers refuses.
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

from captioning.errors import StudentError
from captioning.student.checkpoint import load_exactly
from captioning.student.config import build, preprocessing_of
from captioning.student.finite import check_finite
from captioning.student.processor import load_tokenizer
from common import strict_json
from common.translation import _

#: Entries of a hybrid's config.json.
HYBRID_CONFIG = {
    "model_type": "blip-hybrid",
    "architectures": ["HybridBlipForConditionalGeneration"],
    "read_by": "captiond's captioning.student.load_folder; transformers has no class for it",
}
WEIGHTS = "model.safetensors"
PREPROCESSOR = "preprocessor_config.json"

# The progress bar would only fill log files.
transformers_logging.disable_progress_bar()


def load_folder(source: str | Path) -> tuple[BlipForConditionalGeneration, PreTrainedTokenizerFast]:
    """Load model (float32, eval mode) and tokenizer from a local folder or a hub id. Raises `StudentError`."""
    try:
        config = BlipConfig.get_config_dict(str(source))[0]
        is_hybrid = bool((config.get("vision_config") or {}).get("stem"))
        model = _load_hybrid(source, config) if is_hybrid else _load_plain(source)
        _read_preprocessing(model, source)
    except StudentError:
        raise
    except Exception as error:  # OSError for a missing file, ValueError or RuntimeError for one that does not fit
        raise StudentError(
            _("{source} cannot be loaded as a BLIP captioner: {reason}", source=source, reason=error)
        ) from error
    check_finite(model.state_dict(), str(source))
    return model.eval(), load_tokenizer(source, model.config)


def save_folder(model: BlipForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save float16 weights, config, tokenizer and preprocessing. Converts `model` to float16 in place.

    Raises `StudentError` for weights outside of float16's range (above 65,504).
    """
    model = model.half()
    check_finite(model.state_dict(), "The student in float16")
    model.save_pretrained(folder)
    (folder / WEIGHTS).chmod(0o644)  # safetensors lets nobody else read its file, but workers may be another user
    if getattr(model.config.vision_config, "stem", None):
        path = folder / "config.json"
        path.write_text(
            strict_json.dumps(json.loads(path.read_text("utf-8")) | HYBRID_CONFIG, indent=2) + "\n", encoding="utf-8"
        )
    tokenizer.save_pretrained(folder)
    preprocessing = preprocessing_of(model.config)
    preprocessor = {
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
    (folder / PREPROCESSOR).write_text(strict_json.dumps(preprocessor, indent=2) + "\n", encoding="utf-8")


def _load_plain(source: str | Path) -> BlipForConditionalGeneration:
    model, report = BlipForConditionalGeneration.from_pretrained(
        str(source), dtype=torch.float32, output_loading_info=True
    )
    differing = sorted([*report["missing_keys"], *report["unexpected_keys"], *map(str, report["mismatched_keys"])])
    differing = [key for key in differing if not key.endswith("position_ids")]
    if differing:
        raise StudentError(
            _(
                "{source} does not fit its config.json. These weights differ: {names}.",
                source=source,
                names=", ".join(differing),
            )
        )
    loaded: BlipForConditionalGeneration = model
    return loaded


def _load_hybrid(source: str | Path, config_dict: dict[str, Any]) -> BlipForConditionalGeneration:
    config = BlipConfig.from_dict({key: value for key, value in config_dict.items() if key not in HYBRID_CONFIG})
    model = build(config)
    load_exactly(model, load_file(cached_file(str(source), WEIGHTS)), str(source))
    return model


def _read_preprocessing(model: BlipForConditionalGeneration, source: str | Path) -> None:
    """Copy mean and standard deviation from the folder's preprocessor_config.json into the model's configuration.

    Raises `StudentError` if its image size differs from the model's.
    """
    path = cached_file(
        str(source),
        PREPROCESSOR,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if path is None:
        return
    preprocessor = json.loads(Path(path).read_text("utf-8"))
    vision = model.config.vision_config
    size = preprocessor.get("size")
    side = size.get("height") if isinstance(size, dict) else size
    if side is not None and side != vision.image_size:
        raise StudentError(
            _(
                "{source} takes images with a side of {expected} pixels, but its {file} says {side}.",
                source=source,
                expected=vision.image_size,
                file=PREPROCESSOR,
                side=side,
            )
        )
    for name in ("image_mean", "image_std"):
        value = preprocessor.get(name)
        if value and list(value) != list(getattr(preprocessing_of(model.config), name.removeprefix("image_"))):
            setattr(vision, name, list(value))
