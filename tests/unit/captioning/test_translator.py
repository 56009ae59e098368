"""Captions are translated with a Marian model, here a tiny one with random weights."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch
from transformers import MarianConfig, MarianMTModel

from captioning.captioner import Pixels, load_captioner
from captioning.errors import StudentError
from captioning.translator import TranslatingCaptioner, Translator
from common import problems
from common.jobs import Alternative, ModelInfo, Output, Translation
from common.options import SearchOptions, cache_key
from common.problems import Problem
from common.settings import Settings, SettingsError
from tests.support.models import CAPTIONS

CPU = torch.device("cpu")
SPECIAL_TOKENS = ["</s>", "<unk>"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Marian model of one layer, and its tokenizer, as on the hub."""
    folder = tmp_path_factory.mktemp("marian")
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CAPTIONS), model_writer=trained, vocab_size=50, hard_vocab_limit=False, minloglevel=2
    )
    pieces = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    words = [pieces.id_to_piece(index) for index in range(pieces.vocab_size())]
    vocabulary = [*SPECIAL_TOKENS, *(word for word in words if word not in (*SPECIAL_TOKENS, "<s>")), "<pad>"]
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(trained.getvalue())
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(vocabulary)}))
    size = len(vocabulary)
    torch.manual_seed(0)
    config = MarianConfig(
        vocab_size=size,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=256,
        pad_token_id=size - 1,
        eos_token_id=0,
        decoder_start_token_id=size - 1,
        forced_eos_token_id=0,
    )
    MarianMTModel(config).save_pretrained(folder)
    return folder


class FixedCaptioner:
    """A captioner whose results are given."""

    model = ModelInfo(name="fixed", version="sha256:0")
    device, precision = "cpu", "fp32"
    server = None

    def __init__(self, results: Sequence[Output | Problem]) -> None:
        self._results = results

    def prepare(self, data: bytes) -> Pixels:
        return np.zeros((3, 1, 1), np.float32)

    def caption(self, images: Sequence[Pixels], search: SearchOptions | None = None) -> Sequence[Output | Problem]:
        return self._results


def test_each_caption_gets_its_translation_and_stays(model: Path) -> None:
    translator = Translator(str(model), CPU)
    other = Alternative(caption="a cat")
    outputs = [Output(caption=caption, score=-0.5, alternatives=(other,)) for caption in CAPTIONS[:3]]
    refused = problems.CAPTION_FAILED("No.")
    captioner = TranslatingCaptioner(FixedCaptioner([outputs[0], refused, *outputs[1:]]), "ru", translator)

    results = captioner.caption([captioner.prepare(b"")] * 4)

    assert results[1] is refused
    translated = [result for result in results if isinstance(result, Output)]
    assert [result.model_copy(update={"translated": None}) for result in translated] == outputs
    expected = [Translation(language="ru", caption=text) for text in translator.translate(CAPTIONS[:3])]
    assert [result.translated for result in translated] == expected


def test_a_translation_does_not_depend_on_its_neighbours(model: Path) -> None:
    translator = Translator(str(model), CPU)

    together = translator.translate(CAPTIONS[:3])

    assert together == [translator.translate([caption])[0] for caption in CAPTIONS[:3]]
    assert translator.translate([]) == []


def test_a_batch_without_captions_is_not_translated(model: Path) -> None:
    refused = problems.CAPTION_FAILED("No.")

    assert TranslatingCaptioner(FixedCaptioner([refused]), "ru", Translator(str(model), CPU)).caption([]) == [refused]


def test_the_setting_names_language_and_model(model: Path, tmp_path: Path) -> None:
    captioner = load_captioner(Settings(data=tmp_path, model="demo", precision="fp32", translate=f"ru:{model}"))

    assert isinstance(captioner, TranslatingCaptioner)
    assert captioner.model.name == "demo"


def test_a_model_that_cannot_be_loaded_is_an_error_with_an_example(tmp_path: Path) -> None:
    with pytest.raises(StudentError, match="ru:Helsinki-NLP/opus-mt-en-ru"):
        Translator(str(tmp_path / "none"), CPU)


def test_a_setting_without_a_language_is_refused() -> None:
    with pytest.raises(SettingsError, match="CAPTIOND_TRANSLATE"):
        Settings(translate="Helsinki-NLP/opus-mt-en-ru")


def test_captions_with_and_without_translation_are_cached_apart() -> None:
    keys = {cache_key(Settings(translate=value), None) for value in (None, "ru:a", "ru:b", "de:a")}

    assert len(keys) == 4
