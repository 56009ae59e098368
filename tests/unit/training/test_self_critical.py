"""The student learns from captions that it samples, weighted by their reward relative to the others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.models import tiny_model, tiny_tokenizer
from tests.support.training import Run, weights
from training import self_critical
from training.data.dataset import Batch, Collate, Sample, encode
from training.data.images import CaptionedImage, ImageSource
from training.forward import encode as encoded
from training.losses import distillation_loss
from training.self_critical import SelfCritical, sample

#: The first image's caption, the same caption truncated, and another image's caption.
WHOLE, TORN, OTHER = "a red ball lies on a green one", "a red ball lies on a green", "a ball lies here"


def drawn(tmp_path: Path, captions: list[str], monkeypatch: pytest.MonkeyPatch) -> Batch:
    """The batch of the first image when the student draws these captions; truncated captions have no end."""
    tokenizer = tiny_tokenizer()
    rows = [encode(tokenizer, text)[: -1 if text == TORN else None] for text in captions]
    assert not any(tokenizer.unk_token_id in row for row in rows)
    padded = [torch.tensor(row) for row in rows]
    tokens = torch.nn.utils.rnn.pad_sequence(padded, batch_first=True, padding_value=tokenizer.pad_token_id)
    monkeypatch.setattr(self_critical, "sample", lambda *_, **__: tokens)
    folder = ImageSource(tmp_path)
    images = [CaptionedImage(number, "", folder, (text,)) for number, text in enumerate([WHOLE, OTHER, "a green ball"])]
    batch = Collate(0)([Sample(np.zeros((3, 32, 32), np.float32), [[0, 0]], 0)])
    return SelfCritical(images, tokenizer, len(captions), 20).sample_batch(tiny_model(), batch)


class TestWeights:
    def test_a_caption_s_weight_is_its_reward_minus_the_mean_of_the_others(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = drawn(tmp_path, [WHOLE, OTHER, OTHER], monkeypatch)

        assert found.rewards is not None
        assert found.weights is not None
        best, other, _ = found.rewards[0].tolist()
        assert best > 2 * other
        assert found.weights.tolist() == pytest.approx([best - other, (other - best) / 2, (other - best) / 2])
        assert found.owner.tolist() == [0, 0, 0]

    def test_a_truncated_caption_has_a_lower_reward(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = drawn(tmp_path, [WHOLE, TORN], monkeypatch)

        assert found.rewards is not None
        whole, torn = found.rewards[0].tolist()
        assert torn < 0.8 * whole

    def test_weights_scale_the_loss_of_the_tokens(self) -> None:
        torch.manual_seed(0)
        logits, targets = torch.randn(4, 9), torch.tensor([1, 2, 3, 4])
        weights = torch.tensor([2.0, 2.0, -1.0, 0.0])

        loss = distillation_loss(logits, None, targets, weights=weights, alpha=1.0)

        each = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        assert loss.total.item() == pytest.approx((each * weights).sum().item())


class TestSampling:
    def draw(self, seed: int, samples: int = 3, max_length: int = 12) -> torch.Tensor:
        model, tokenizer = tiny_model(), tiny_tokenizer()
        states = encoded(model.vision_model, torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
        torch.manual_seed(seed)
        with torch.no_grad():
            return sample(
                model,
                states,
                samples=samples,
                max_length=max_length,
                begin=tokenizer.bos_token_id,
                end=tokenizer.sep_token_id,
                pad=tokenizer.pad_token_id,
            )

    def test_captions_start_with_dec_and_are_padded_after_sep(self) -> None:
        tokenizer = tiny_tokenizer()
        found = torch.cat([torch.nn.functional.pad(self.draw(seed), (0, 12))[:, :12] for seed in range(30)]).tolist()

        assert {row[0] for row in found} == {tokenizer.bos_token_id}
        ended = [row for row in found if tokenizer.sep_token_id in row]
        assert ended
        for row in ended:
            rest = row[row.index(tokenizer.sep_token_id) + 1 :]
            assert set(rest) <= {tokenizer.pad_token_id}

    def test_captions_are_at_most_as_long_as_the_decoder_s_positions(self) -> None:
        assert self.draw(0, max_length=1000).shape[1] <= tiny_model().config.text_config.max_position_embeddings

    def test_samples_depend_on_the_seed(self) -> None:
        assert torch.equal(self.draw(1), self.draw(1))
        assert self.draw(1).tolist() != self.draw(2).tolist()

    def test_sampled_frequencies_match_the_student_s_probabilities(self) -> None:
        model, tokenizer = tiny_model(), tiny_tokenizer()
        states = encoded(model.vision_model, torch.zeros(1, 3, 32, 32))
        begin = torch.tensor([[tokenizer.bos_token_id]])
        with torch.no_grad():
            logits = model.text_decoder(input_ids=begin, encoder_hidden_states=states).logits
            torch.manual_seed(0)
            found = sample(
                model, states, samples=4000, max_length=2, begin=int(begin), end=-1, pad=tokenizer.pad_token_id
            )

        frequent = torch.bincount(found[:, 1], minlength=logits.shape[-1]) / 4000
        assert torch.allclose(frequent, logits[0, 0].softmax(dim=-1), atol=0.02)


class TestRun:
    def test_the_reward_rises(self, tmp_path: Path) -> None:
        run = Run(tmp_path)
        begun = run.go("begun", epochs=15)

        folder = run.go(student=begun / "student_epoch15.pt", self_critical=5, lr=0.003, epochs=12, tokenizer=[])

        rewards = [json.loads(line)["reward"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert sum(rewards[-3:]) > 1.2 * sum(rewards[:3])

    def test_a_resumed_run_ends_with_the_same_weights(self, tmp_path: Path) -> None:
        run = Run(tmp_path)
        whole = run.go("whole", self_critical=2, epochs=2)
        run.go("parts", self_critical=2, epochs=1)

        parts = run.go("parts", self_critical=2, epochs=2)

        expected, found = (weights(folder / "student_epoch2.pt") for folder in (whole, parts))
        assert all(torch.equal(expected[name], found[name]) for name in expected)
