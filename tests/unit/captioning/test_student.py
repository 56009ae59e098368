"""Loading a student restores exactly the file's model, or fails."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, BlipForConditionalGeneration

from captioning.errors import StudentError
from captioning.preprocessing import Preprocessing
from captioning.student import build, deployed_config, infer_config, load_student, load_tokenizer, save_folder, stem
from captioning.student.config import HEAD, WORD_EMBEDDINGS
from tests.support.models import tiny_config, tiny_hybrid, tiny_model, tiny_tokenizer

TINY_HEADS = {"text_heads": 2, "vision_heads": 4}
#: The special tokens of BERT's vocabulary, which has 30,522 tokens.
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture
def processor(tmp_path: Path) -> Path:
    folder = tmp_path / "processor"
    tiny_tokenizer().save_pretrained(folder)
    return folder


def logits(model: BlipForConditionalGeneration, side: int = 32) -> torch.Tensor:
    torch.manual_seed(1)
    pixels = torch.randn(2, 3, side, side)
    tokens = torch.tensor([[5, 8, 9, 10]] * 2)
    with torch.no_grad():
        states = model.vision_model(pixels).last_hidden_state
        result: torch.Tensor = model.text_decoder(input_ids=tokens, encoder_hidden_states=states).logits
    return result


class TestConfig:
    def test_the_deployed_student_has_its_published_number_of_parameters(self) -> None:
        with torch.device("meta"):
            model = build(deployed_config())

        assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 2) == 86.55

    def test_the_configuration_is_inferred_from_the_state_dict(self) -> None:
        model = tiny_model()

        config = infer_config(model.state_dict(), **TINY_HEADS)

        for part in ("text_config", "vision_config"):
            expected, actual = (getattr(each, part) for each in (model.config, config))
            for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"):
                assert getattr(actual, name) == getattr(expected, name)
        assert config.vision_config.image_size == 32
        assert config.text_config.vocab_size == model.config.text_config.vocab_size

    def test_a_new_student_s_states_depend_on_the_image(self) -> None:
        config = tiny_config(tiny_tokenizer())
        config.vision_config.initializer_range = 1e-10  # transformers' default for BLIP
        model = build(config).eval()

        with torch.no_grad():
            dark, light = (
                model.vision_model(torch.full((1, 3, 32, 32), level)).last_hidden_state for level in (0.0, 1.0)
            )

        assert (dark - light).abs().max() > 1e-2


class TestCheckpoint:
    @pytest.mark.parametrize("nested", [None, "model", "state_dict", "model_state_dict"])
    def test_a_state_dict_may_be_nested(self, tmp_path: Path, processor: Path, nested: str | None) -> None:
        model = tiny_model()
        torch.save({nested: model.state_dict()} if nested else model.state_dict(), tmp_path / "s.pt")

        student = load_student(tmp_path / "s.pt", processor=processor, **TINY_HEADS)

        assert torch.equal(logits(student.model), logits(model))
        assert (student.name, student.demo) == ("s", False)

    @pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
    def test_prefixes_of_wrappers_are_removed(self, tmp_path: Path, processor: Path, prefix: str) -> None:
        model = tiny_model()
        torch.save({prefix + key: value for key, value in model.state_dict().items()}, tmp_path / "s.pt")

        student = load_student(tmp_path / "s.pt", processor=processor, **TINY_HEADS)

        assert torch.equal(logits(student.model), logits(model))

    def test_untied_embeddings_of_older_transformers_stay_untied(self, tmp_path: Path, processor: Path) -> None:
        state = {key: value.clone() for key, value in tiny_model().state_dict().items()}
        state[HEAD] = torch.randn_like(state[HEAD])
        torch.save(state, tmp_path / "s.pt")

        loaded = load_student(tmp_path / "s.pt", processor=processor, **TINY_HEADS).model.state_dict()

        assert torch.equal(loaded[HEAD], state[HEAD])
        assert torch.equal(loaded[WORD_EMBEDDINGS], state[WORD_EMBEDDINGS])

    def test_tied_embeddings_stay_tied(self, tmp_path: Path, processor: Path) -> None:
        torch.save(tiny_model().state_dict(), tmp_path / "s.pt")

        model = load_student(tmp_path / "s.pt", processor=processor, **TINY_HEADS).model

        assert model.text_decoder.get_output_embeddings().weight is model.text_decoder.get_input_embeddings().weight

    def test_position_ids_of_old_transformers_are_ignored(self, tmp_path: Path, processor: Path) -> None:
        model = tiny_model()
        positions = {"text_decoder.bert.embeddings.position_ids": torch.arange(64)[None]}
        torch.save({**model.state_dict(), **positions}, tmp_path / "s.pt")

        student = load_student(tmp_path / "s.pt", processor=processor, **TINY_HEADS)

        assert torch.equal(logits(student.model), logits(model))

    def test_old_names_of_layer_norms_are_mapped(self, tmp_path: Path, processor: Path) -> None:
        model = tiny_model()
        old = {
            key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
            for key, value in model.state_dict().items()
        }
        assert old.keys() != model.state_dict().keys()
        torch.save(old, tmp_path / "s.pt")

        student = load_student(tmp_path / "s.pt", processor=processor, **TINY_HEADS)

        assert torch.equal(logits(student.model), logits(model))

    def test_head_counts_are_arguments_and_are_logged(
        self, tmp_path: Path, processor: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        model = tiny_model()
        torch.save(model.state_dict(), tmp_path / "s.pt")

        with caplog.at_level(logging.INFO):
            wrong = load_student(tmp_path / "s.pt", processor=processor, text_heads=4, vision_heads=8)

        assert not torch.allclose(logits(wrong.model), logits(model))
        assert "CAPTIOND_TEXT_HEADS" in caplog.text

    def test_missing_and_unexpected_keys_are_refused_by_name(self, tmp_path: Path, processor: Path) -> None:
        state = dict(tiny_model().state_dict())
        del state["vision_model.post_layernorm.weight"]
        state["vision_model.surprise"] = torch.zeros(1)
        torch.save(state, tmp_path / "s.pt")

        with pytest.raises(StudentError) as error:
            load_student(tmp_path / "s.pt", processor=processor, **TINY_HEADS)

        assert "missing vision_model.post_layernorm.weight" in str(error.value)
        assert "unexpected vision_model.surprise" in str(error.value)

    def test_a_file_that_would_run_code_is_refused(self, tmp_path: Path, processor: Path) -> None:
        torch.save({"model": print}, tmp_path / "s.pt")

        with pytest.raises(StudentError, match="could run its code"):
            load_student(tmp_path / "s.pt", processor=processor)

    @pytest.mark.parametrize("content", [b"", b"<html>quota</html>", b"PK\x03\x04 damaged"])
    def test_a_damaged_file_is_refused(self, tmp_path: Path, processor: Path, content: bytes) -> None:
        (tmp_path / "s.pt").write_bytes(content)

        with pytest.raises(StudentError, match="cannot be read as PyTorch weights"):
            load_student(tmp_path / "s.pt", processor=processor)

    def test_a_model_that_is_not_blip_is_refused(self, tmp_path: Path, processor: Path) -> None:
        torch.save({"weight": torch.zeros(2)}, tmp_path / "s.pt")

        with pytest.raises(StudentError, match="is not a BLIP captioner"):
            load_student(tmp_path / "s.pt", processor=processor)

    @pytest.mark.parametrize("heads", [{"text_heads": 2, "vision_heads": 12}, {"text_heads": 5, "vision_heads": 4}])
    def test_head_counts_that_do_not_divide_the_width_are_refused(
        self, tmp_path: Path, processor: Path, heads: dict[str, int]
    ) -> None:
        torch.save(tiny_model().state_dict(), tmp_path / "s.pt")

        with pytest.raises(StudentError, match="set CAPTIOND_TEXT_HEADS and CAPTIOND_VISION_HEADS"):
            load_student(tmp_path / "s.pt", processor=processor, **heads)

    @pytest.mark.parametrize("extra", [{"tokenizer": "{}"}, {"model_config": {"text_config": {"hidden_size": "wide"}}}])
    def test_an_invalid_configuration_or_tokenizer_is_refused(self, tmp_path: Path, extra: dict[str, object]) -> None:
        torch.save({"model": tiny_model().state_dict(), **extra}, tmp_path / "s.pt")

        with pytest.raises(StudentError, match="is not a valid BLIP captioner"):
            load_student(tmp_path / "s.pt", processor="unused", **TINY_HEADS)

    @pytest.mark.parametrize("number", [float("nan"), float("inf")])
    def test_weights_that_are_not_finite_are_refused_by_name(
        self, tmp_path: Path, processor: Path, number: float
    ) -> None:
        model = tiny_model()
        model.vision_model.post_layernorm.weight.data[3] = number
        torch.save(model.state_dict(), tmp_path / "s.pt")

        with pytest.raises(StudentError, match=r"not finite numbers .*: vision_model\.post_layernorm\.weight\. Use"):
            load_student(tmp_path / "s.pt", processor=processor, **TINY_HEADS)

    def test_a_checkpoint_from_before_the_first_step_is_refused(self, tmp_path: Path, processor: Path) -> None:
        torch.save({"model": tiny_model().state_dict(), "steps": 0}, tmp_path / "s.pt")

        with pytest.raises(StudentError, match="untrained"):
            load_student(tmp_path / "s.pt", processor=processor, **TINY_HEADS)

    def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(self, tmp_path: Path) -> None:
        from training.tokenizer import train_tokenizer

        torch.save(tiny_model().state_dict(), tmp_path / "s.pt")
        bigger = train_tokenizer([f"word{number}" for number in range(300)] * 2, 400)
        bigger.save_pretrained(tmp_path / "bigger")

        with pytest.raises(StudentError, match="do not belong together"):
            load_student(tmp_path / "s.pt", processor=tmp_path / "bigger", **TINY_HEADS)

    def test_the_deployed_file_s_full_shape_loads(self, tmp_path: Path) -> None:
        torch.manual_seed(0)
        model = build(deployed_config()).half()  # half the file size; the loader converts to float32
        torch.save(model.state_dict(), tmp_path / "student_epoch6.pt")
        names = [*BERT, *(f"word{number}" for number in range(30_517))]
        save_processor(tmp_path / "processor", names)

        student = load_student(tmp_path / "student_epoch6.pt", processor=tmp_path / "processor")

        assert (student.preprocessing.size, student.model.config.text_config.num_hidden_layers) == (384, 6)
        assert next(student.model.parameters()).dtype is torch.float32
        assert student.version.startswith("sha256:")


def save_processor(folder: Path, names: list[str]) -> None:
    """Save a BERT tokenizer, which lacks BLIP's [DEC] and [ENC]."""
    from transformers import BertTokenizerFast

    folder.mkdir()
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(names), encoding="utf-8")
    BertTokenizerFast(vocab=str(vocabulary)).save_pretrained(folder)


class TestFolder:
    def test_a_saved_folder_can_be_loaded(self, tmp_path: Path) -> None:
        model, tokenizer = tiny_model(), tiny_tokenizer()
        before = logits(model)
        save_folder(model, tokenizer, tmp_path / "student")

        student = load_student(tmp_path / "student", processor="unused")

        assert torch.allclose(logits(student.model), before, atol=2e-2)  # float16 on disk
        assert student.tokenizer.bos_token_id == tokenizer.bos_token_id
        assert next(student.model.parameters()).dtype is torch.float32

    def test_other_users_may_read_a_saved_folder(self, tmp_path: Path) -> None:
        save_folder(tiny_model(), tiny_tokenizer(), tmp_path)

        assert {file.name for file in tmp_path.iterdir() if not file.stat().st_mode & 0o004} == set()

    def test_weights_that_are_not_finite_are_refused(self, tmp_path: Path) -> None:
        model = tiny_model()
        model.vision_model.post_layernorm.weight.data[3] = float("nan")
        model.save_pretrained(tmp_path)
        tiny_tokenizer().save_pretrained(tmp_path)

        with pytest.raises(StudentError, match="not finite numbers"):
            load_student(tmp_path, processor="unused")

    def test_weights_outside_of_float16_s_range_are_not_saved(self, tmp_path: Path) -> None:
        model = tiny_model()
        model.vision_model.post_layernorm.weight.data[3] = 1e6

        with pytest.raises(StudentError, match="in float16 holds weights that are not finite"):
            save_folder(model, tiny_tokenizer(), tmp_path / "student")

        assert not (tmp_path / "student").exists()

    def test_the_bundled_demo_is_marked_as_demo(self) -> None:
        student = load_student("demo", processor="unused")

        assert (student.name, student.demo) == ("demo", True)

    def test_a_folder_without_a_model_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(StudentError, match="cannot be loaded"):
            load_student(tmp_path, processor="unused")


class TestPreprocessing:
    def test_a_folder_s_preprocessor_config_is_used(self, tmp_path: Path) -> None:
        save_folder(tiny_model(), tiny_tokenizer(), tmp_path)
        settings = tmp_path / "preprocessor_config.json"
        settings.write_text(json.dumps(json.loads(settings.read_text()) | {"image_mean": [0.1, 0.2, 0.3]}))

        preprocessing = load_student(tmp_path, processor="unused").preprocessing

        assert preprocessing == Preprocessing(32, mean=(0.1, 0.2, 0.3))

    def test_a_folder_without_a_preprocessor_config_uses_clip_s_values(self, tmp_path: Path) -> None:
        save_folder(tiny_model(), tiny_tokenizer(), tmp_path)
        (tmp_path / "preprocessor_config.json").unlink()

        assert load_student(tmp_path, processor="unused").preprocessing == Preprocessing(32)

    def test_an_image_size_that_differs_from_the_model_s_is_refused(self, tmp_path: Path) -> None:
        save_folder(tiny_model(), tiny_tokenizer(), tmp_path)
        settings = tmp_path / "preprocessor_config.json"
        settings.write_text(json.dumps({"size": {"height": 48, "width": 48}}))

        with pytest.raises(
            StudentError, match=r"images with a side of 32 pixels, but its preprocessor_config\.json says 48"
        ):
            load_student(tmp_path, processor="unused")


class TestHybrid:
    def test_a_hybrid_is_recognised_by_its_state_dict(self, tmp_path: Path, processor: Path) -> None:
        model = tiny_hybrid()
        torch.save(model.state_dict(), tmp_path / "s.pt")

        student = load_student(tmp_path / "s.pt", processor=processor, **TINY_HEADS)

        assert torch.equal(logits(student.model, 64), logits(model, 64))
        assert student.preprocessing == Preprocessing(64, stem.MEAN, stem.STD)

    def test_a_saved_folder_can_be_loaded(self, tmp_path: Path) -> None:
        before = logits(tiny_hybrid(), 64)
        save_folder(tiny_hybrid(), tiny_tokenizer(), tmp_path)

        student = load_student(tmp_path, processor="unused")

        assert torch.allclose(logits(student.model, 64), before, atol=2e-2)  # float16 on disk
        assert student.preprocessing == Preprocessing(64, stem.MEAN, stem.STD)
        assert "read_by" in json.loads((tmp_path / "config.json").read_text())

    def test_transformers_refuses_a_hybrid_s_folder(self, tmp_path: Path) -> None:
        save_folder(tiny_hybrid(), tiny_tokenizer(), tmp_path)

        with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
            BlipForConditionalGeneration.from_pretrained(tmp_path)
        with pytest.raises(ValueError, match="model type `blip-hybrid`"):
            AutoModelForImageTextToText.from_pretrained(tmp_path)

    def test_an_unknown_stem_is_refused(self, tmp_path: Path) -> None:
        save_folder(tiny_hybrid(), tiny_tokenizer(), tmp_path)
        path = tmp_path / "config.json"
        path.write_text(path.read_text().replace("efficientnet-lite2", "resnet-50"))

        with pytest.raises(StudentError, match=r"stem resnet-50 is unknown\. Known stems: efficientnet-lite2"):
            load_student(tmp_path, processor="unused")

    def test_a_folder_that_lacks_weights_is_refused(self, tmp_path: Path) -> None:
        save_folder(tiny_hybrid(), tiny_tokenizer(), tmp_path)
        weights = load_file(tmp_path / "model.safetensors")
        del weights["vision_model.embeddings.patch_embedding.stem.last.bias"]
        save_file(weights, tmp_path / "model.safetensors")

        with pytest.raises(StudentError, match=r"missing vision_model\.embeddings\.patch_embedding\.stem\.last\.bias"):
            load_student(tmp_path, processor="unused")


class TestTokenizer:
    def test_an_unavailable_tokenizer_is_an_error_that_names_the_setting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import huggingface_hub.constants

        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)

        with pytest.raises(StudentError, match="CAPTIOND_PROCESSOR"):
            load_tokenizer("Salesforce/no-such-processor")

    def test_bert_s_tokenizer_gets_blip_s_additional_tokens(self, tmp_path: Path) -> None:
        save_processor(tmp_path / "processor", [*BERT, "dog"])

        tokenizer = load_tokenizer(tmp_path / "processor")

        assert tokenizer.convert_tokens_to_ids(["[DEC]", "[ENC]"]) == [6, 7]
        assert tokenizer.bos_token_id == 6
