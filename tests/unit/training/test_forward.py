"""The training forward pass equals transformers' forward pass, with each image encoded once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.support.models import tiny_config, tiny_model, tiny_tokenizer
from training.data.dataset import Batch, real_tokens
from training.forward import Forward

TOKENS = torch.tensor([[5, 8, 9, 3, 0, 0], [5, 9, 9, 10, 11, 3], [5, 8, 3, 0, 0, 0], [5, 10, 8, 9, 3, 0]])


def batch(owner: list[int], images: int) -> Batch:
    torch.manual_seed(1)
    pixels = torch.randn(images, 3, 32, 32)
    tokens = TOKENS[: len(owner)]
    return Batch(pixels, tokens, torch.tensor(owner), tuple(range(images)), *real_tokens(tokens, 0))


def by_transformers(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Logits of the real tokens from transformers, with the image repeated for each caption."""
    inputs = batch.tokens[:, :-1]
    logits: torch.Tensor = model(batch.pixels[batch.owner], inputs, attention_mask=torch.ones_like(inputs)).logits
    return logits[batch.tokens[:, 1:] != 0]


@pytest.mark.parametrize(
    ("owner", "images"),
    [([0, 1, 2, 3], 4), ([0, 0, 1, 1], 2), ([0, 0, 0, 1], 2), ([1, 0, 1], 2)],
    ids=["a caption each", "two each", "three and one", "in any order"],
)
class TestLogits:
    def test_logits_equal_those_of_transformers(self, owner: list[int], images: int) -> None:
        model, given = tiny_model(), batch(owner, images)

        found, states = Forward(model)(given)

        assert torch.allclose(found, by_transformers(model, given), atol=1e-6)
        assert torch.allclose(states, model.vision_model(given.pixels).last_hidden_state, atol=1e-6)

    def test_gradients_equal_those_of_transformers(self, owner: list[int], images: int) -> None:
        ours, theirs, given = tiny_model(), tiny_model(), batch(owner, images)

        Forward(ours)(given)[0].square().sum().backward()
        by_transformers(theirs, given).square().sum().backward()

        for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert one.grad is not None and other.grad is not None, name
            assert torch.allclose(one.grad, other.grad, atol=1e-5), name


def test_logits_depend_on_the_image() -> None:
    model = tiny_model()

    dark, light = (
        Forward(model)(replace(batch([0], 1), pixels=torch.full((1, 3, 32, 32), level)))[0] for level in (-1.0, 1.0)
    )

    assert dark.shape == (3, model.config.text_config.vocab_size)
    assert (dark - light).abs().max() > 1e-4


def test_attention_dropout_applies_in_training_only() -> None:
    from captioning.student import build

    config = tiny_config(tiny_tokenizer())
    config.text_config.attention_probs_dropout_prob = 0.5
    model, given = build(config), batch([0, 1, 2, 3], 4)
    forward = Forward(model)

    assert not torch.equal(forward.train()(given)[0], forward(given)[0])
    assert torch.equal(forward.eval()(given)[0], forward(given)[0])
