"""A student as a folder in Hugging Face form: config.json, model.safetensors, tokenizer."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import BlipForConditionalGeneration, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from common import strict_json
from common.pixels import MEAN, STD
from common.student.errors import StudentError
from common.student.finite import check_finite
from common.student.processor import load_tokenizer

# A bar for a fraction of a second, drawn into log files.
transformers_logging.disable_progress_bar()


def load_folder(source: str | Path) -> tuple[BlipForConditionalGeneration, PreTrainedTokenizerFast]:
    """Model (float32, eval mode) and tokenizer of a local folder or a hub id; raises `StudentError`."""
    try:
        model, report = BlipForConditionalGeneration.from_pretrained(
            str(source), dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # OSError for what cannot be had, ValueError or RuntimeError for what does not fit
        raise StudentError(f"{source} cannot be loaded as a BLIP captioner: {error}") from error
    differing = sorted([*report["missing_keys"], *report["unexpected_keys"], *map(str, report["mismatched_keys"])])
    differing = [key for key in differing if not key.endswith("position_ids")]
    if differing:
        raise StudentError(f"{source} does not fit its own config.json. These weights differ: {', '.join(differing)}.")
    check_finite(model.state_dict(), str(source))
    return model.eval(), load_tokenizer(source)


def save_folder(model: BlipForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write float16 weights, config, tokenizer and picture settings; any BLIP loader reads the folder.

    Raises `StudentError` for weights that float16 cannot hold (above 65,504).
    """
    model = model.half()
    check_finite(model.state_dict(), "The student in float16")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    side = model.config.vision_config.image_size
    pictures = {
        "image_processor_type": "BlipImageProcessor",
        "processor_class": "BlipProcessor",
        "do_resize": True,
        "size": {"height": side, "width": side},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [float(value) for value in MEAN.ravel()],
        "image_std": [float(value) for value in STD.ravel()],
        "do_convert_rgb": True,
    }
    (folder / "preprocessor_config.json").write_text(strict_json.dumps(pictures, indent=2) + "\n", encoding="utf-8")
