"""Our engine against transformers' `generate`, on the deployed student's shape and on the demo student.

Beams 5, captions of exactly 12 tokens, random pictures: the work is the same for all. Beside the ratios stands the
share of what this processor's matrix products can do (float32, one product of the vision tower's shape, measured in
the same run), of which the arithmetic that a picture takes is computed from the shapes; and what it takes to read a
photograph's file, in one thread, as a share of the model's time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import islice

import torch
import torch.nn.functional as F
from transformers import BlipForConditionalGeneration, PreTrainedTokenizerFast

from benchmarks import report, students
from benchmarks.reference import generate
from benchmarks.timing import Times, interleaved
from captioning.engine import Engine, Precision, Search
from captioning.preprocessing import Preprocessing
from captioning.student import preprocessing_of
from common.images.decoding import preprocess
from common.settings import Settings

BEAMS, TOKENS = 5, 12
BATCH = 8
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")
#: The product of the roofline: 577 patches, 768 wide, four times as wide inside.
ROWS, INPUTS, OUTPUTS = 577, 768, 3072
#: How often the product is repeated in one run, so that a run is long enough to be timed.
PRODUCTS = 8


def main(arguments: list[str] | None = None) -> None:
    chosen = report.parser("benchmarks.engine", __doc__).parse_args(arguments)
    repeats = 3 if chosen.quick else 9
    ratios: dict[str, float] = {}
    seconds: dict[str, dict[str, list[float]]] = {}
    bars: dict[str, float] = {}
    for name, (model, tokenizer) in {"deployed": students.deployed(), "demo": students.demo()}.items():
        times = measure(model, tokenizer, repeats)
        billions = students.operations(model.config, BEAMS, TOKENS)
        print(f"\n{name}: {billions:.3g} billion operations a picture, median of {repeats}\n")
        print(report.table(HEADER, [row(times, each, billions) for each in models(times)]))
        found = summary(times, billions)
        ratios |= found if name == "deployed" else {f"{name}_{key}": value for key, value in found.items()}
        seconds[name] = dict(times.seconds)
        bars |= {f"{name}, {each}": against(times, each, best(times, "generate")) for each in models(times)}
    print()
    for key, value in ratios.items():
        print(f"{key:32} {value:.3f}")
    report.write(chosen.json, ratios, seconds=seconds, beams=BEAMS, tokens=TOKENS, repeats=repeats)
    report.plot(chosen.plot, "Captions a second against transformers' generate, by pictures in a call", bars)


HEADER = ("contender", "pictures a second", "fastest", "slowest", "times `generate`", "of the fp32 roofline")


def measure(model: BlipForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, repeats: int) -> Times:
    """All contenders at one picture and at a full batch, and the bare product."""
    side = model.config.vision_config.image_size
    torch.manual_seed(1)
    pixels = torch.randn(BATCH, 3, side, side)
    length = 1 + TOKENS
    search = Search(beams=BEAMS, max_length=length, min_length=length)
    contenders: dict[str, Callable[[], object]] = {
        "product": product(),
        "reading": reading(preprocessing_of(model.config)),
    }
    engines = {each: Engine(copy.deepcopy(model), tokenizer, each) for each in PRECISIONS}
    for batch in (1, BATCH):
        some = pixels[:batch]
        contenders[f"generate {batch}"] = lambda some=some: generate(  # type: ignore[misc]
            model, tokenizer, some, beams=BEAMS, max_length=length, min_length=length
        )
        for precision, engine in engines.items():
            contenders[f"{precision} {batch}"] = lambda some=some, engine=engine: engine.caption(some, search)  # type: ignore[misc]
    return interleaved(contenders, repeats)


def product() -> Callable[[], object]:
    """The roofline: float32 products of the vision tower's shape."""
    inputs, weight, bias = torch.randn(ROWS, INPUTS), torch.randn(OUTPUTS, INPUTS), torch.randn(OUTPUTS)

    @torch.inference_mode()
    def run() -> None:
        for _ in range(PRODUCTS):
            F.linear(inputs, weight, bias)

    return run


def reading(preprocessing: Preprocessing) -> Callable[[], object]:
    """The files of a full batch of photographs as the model takes them."""
    files, max_pixels = list(islice(students.photographs(), BATCH)), Settings().max_pixels
    return lambda: [preprocessing.pixels(preprocess(file, max_pixels, preprocessing.size)) for file in files]


def models(times: Times) -> list[str]:
    """What captions, of all that was timed."""
    return [each for each in times.seconds if each not in ("product", "reading")]


def roofline(times: Times) -> float:
    """Billions of float32 operations a second."""
    return 2 * ROWS * INPUTS * OUTPUTS * PRODUCTS / 1e9 / times.median("product")


def pictures_per_second(times: Times, name: str) -> float:
    return int(name.split()[1]) / times.median(name)


def best(times: Times, kind: str) -> str:
    """The batch at which a contender is faster."""
    return max((f"{kind} {batch}" for batch in (1, BATCH)), key=lambda name: pictures_per_second(times, name))


def against(times: Times, name: str, other: str) -> float:
    """How many times as many pictures a second `name` captions."""
    return times.ratio(name, other) * int(name.split()[1]) / int(other.split()[1])


def row(times: Times, name: str, billions: float) -> list[object]:
    shortest, longest = times.spread(name)
    batch = int(name.split()[1])
    return [
        name,
        pictures_per_second(times, name),
        batch / shortest,
        batch / longest,
        against(times, name, best(times, "generate")),
        pictures_per_second(times, name) * billions / roofline(times),
    ]


def summary(times: Times, billions: float) -> dict[str, float]:
    """The ratios at each contender's best batch."""
    reference = best(times, "generate")
    found = {f"{each}_vs_generate": against(times, best(times, each), reference) for each in PRECISIONS}
    found["fp32_vs_generate_single"] = times.ratio("fp32 1", "generate 1")
    found["int8_vs_generate_single"] = times.ratio("int8 1", "generate 1")
    found["reading_vs_int8"] = times.median("reading") / BATCH * pictures_per_second(times, best(times, "int8"))
    found["roofline_fp32"] = pictures_per_second(times, best(times, "fp32")) * billions / roofline(times)
    return found


if __name__ == "__main__":
    main()
