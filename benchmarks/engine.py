"""captiond's engine against transformers' `generate`, for the deployed student's configuration and the demo student.

All contenders do the same work: 5 beams, captions of exactly 12 tokens, random pixels. Two more figures are reported.
The share of the roofline is an engine's operations per second, computed from the model's shapes, divided by those of a
float32 matrix product of the vision encoder's shape, measured in the same run. The share of reading is the time to
decode and preprocess an image file in one thread, divided by the model's time.
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
#: Shape of the roofline's matrix product: 577 patches, hidden size 768, MLP size 3072.
ROWS, INPUTS, OUTPUTS = 577, 768, 3072
#: Matrix products in one timed run; a single one is too short to time.
PRODUCTS = 8


def main(arguments: list[str] | None = None) -> None:
    options = report.parser("benchmarks.engine", __doc__).parse_args(arguments)
    repeats = 3 if options.quick else 9
    ratios: dict[str, float] = {}
    seconds: dict[str, dict[str, list[float]]] = {}
    bars: dict[str, float] = {}
    for name, (model, tokenizer) in {"deployed": students.deployed(), "demo": students.demo()}.items():
        times = measure(model, tokenizer, repeats)
        billions = students.operations(model.config, BEAMS, TOKENS)
        print(f"\n{name}: {billions:.3g} billion operations per image, median of {repeats}\n")
        print(report.table(HEADER, [row(times, contender, billions) for contender in models(times)]))
        student_ratios = summary(times, billions)
        prefix = "" if name == "deployed" else f"{name}_"
        ratios |= {f"{prefix}{key}": value for key, value in student_ratios.items()}
        seconds[name] = dict(times.seconds)
        reference = best(times, "generate")
        bars |= {f"{name}, {contender}": speedup(times, contender, reference) for contender in models(times)}
    print()
    for key, value in ratios.items():
        print(f"{key:32} {value:.3f}")
    report.write(options.json, ratios, seconds=seconds, beams=BEAMS, tokens=TOKENS, repeats=repeats)
    report.plot(options.plot, "Captions per second relative to transformers' generate, by batch size", bars)


HEADER = ("contender", "images/s", "fastest", "slowest", "times `generate`", "share of the fp32 roofline")


def measure(model: BlipForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, repeats: int) -> Times:
    """Time all contenders with batch sizes 1 and `BATCH`, the roofline's product, and the reading of image files."""
    side = model.config.vision_config.image_size
    torch.manual_seed(1)
    pixels = torch.randn(BATCH, 3, side, side)
    length = 1 + TOKENS
    search = Search(beams=BEAMS, max_length=length, min_length=length)
    contenders: dict[str, Callable[[], object]] = {
        "product": matrix_products(),
        "reading": reading(preprocessing_of(model.config)),
    }
    engines = {precision: Engine(copy.deepcopy(model), tokenizer, precision) for precision in PRECISIONS}
    for size in (1, BATCH):
        batch = pixels[:size]
        contenders[f"generate {size}"] = lambda batch=batch: generate(  # type: ignore[misc]
            model, tokenizer, batch, beams=BEAMS, max_length=length, min_length=length
        )
        for precision, engine in engines.items():
            contenders[f"{precision} {size}"] = lambda batch=batch, engine=engine: engine.caption(batch, search)  # type: ignore[misc]
    return interleaved(contenders, repeats)


def matrix_products() -> Callable[[], object]:
    """The roofline: `PRODUCTS` float32 matrix products of the vision encoder's shape."""
    inputs, weight, bias = torch.randn(ROWS, INPUTS), torch.randn(OUTPUTS, INPUTS), torch.randn(OUTPUTS)

    @torch.inference_mode()
    def run() -> None:
        for _ in range(PRODUCTS):
            F.linear(inputs, weight, bias)

    return run


def reading(preprocessing: Preprocessing) -> Callable[[], object]:
    """Decode and preprocess the files of a full batch."""
    files, max_pixels = list(islice(students.photographs(), BATCH)), Settings().max_pixels
    return lambda: [preprocessing.pixels(preprocess(file, max_pixels, preprocessing.size)) for file in files]


def models(times: Times) -> list[str]:
    """Names of the contenders that caption."""
    return [name for name in times.seconds if name not in ("product", "reading")]


def roofline(times: Times) -> float:
    """Billions of float32 operations per second."""
    return 2 * ROWS * INPUTS * OUTPUTS * PRODUCTS / 1e9 / times.median("product")


def images_per_second(times: Times, name: str) -> float:
    return int(name.split()[1]) / times.median(name)


def best(times: Times, implementation: str) -> str:
    """The contender of an implementation at its faster batch size."""
    return max((f"{implementation} {size}" for size in (1, BATCH)), key=lambda name: images_per_second(times, name))


def speedup(times: Times, name: str, other: str) -> float:
    """Images per second of `name` divided by those of `other`."""
    return times.ratio(name, other) * int(name.split()[1]) / int(other.split()[1])


def row(times: Times, name: str, billions: float) -> list[object]:
    shortest, longest = times.spread(name)
    batch = int(name.split()[1])
    return [
        name,
        images_per_second(times, name),
        batch / shortest,
        batch / longest,
        speedup(times, name, best(times, "generate")),
        images_per_second(times, name) * billions / roofline(times),
    ]


def summary(times: Times, billions: float) -> dict[str, float]:
    """The ratios at each contender's faster batch size."""
    reference = best(times, "generate")
    ratios = {f"{precision}_vs_generate": speedup(times, best(times, precision), reference) for precision in PRECISIONS}
    ratios["fp32_vs_generate_single"] = times.ratio("fp32 1", "generate 1")
    ratios["int8_vs_generate_single"] = times.ratio("int8 1", "generate 1")
    ratios["reading_vs_int8"] = times.median("reading") / BATCH * images_per_second(times, best(times, "int8"))
    ratios["roofline_fp32"] = images_per_second(times, best(times, "fp32")) * billions / roofline(times)
    return ratios


if __name__ == "__main__":
    main()
