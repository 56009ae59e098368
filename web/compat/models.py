"""Which model a request in another protocol asks for, and what it is told."""

from __future__ import annotations

from collections.abc import Sequence

from common import problems
from common.jobs import ModelInfo
from common.options import MAX_BEAMS, CaptionOptions, SearchOptions, parse_options
from web.services import Services

#: The name by which clients ask for whatever model the service has, also when no worker is ready.
ANY_MODEL = "captiond"
#: The tag that Ollama and PhotoPrism append to a model's name without one.
DEFAULT_TAG = ":latest"
#: Characters of an unknown model's name in an error message.
MAX_SHOWN_NAME_LENGTH = 60


def known_models(services: Services) -> list[ModelInfo]:
    """The models of the live workers."""
    return list(dict.fromkeys(worker.model for worker in services.workers.alive()))


def find_models(services: Services, name: object) -> list[ModelInfo]:
    """The models that may caption a request which names this one, with or without `:latest`.

    All of them for `captiond` or no name; none if no worker is ready, as the job then waits for one. Raises
    `model-not-found`.
    """
    models = known_models(services)
    wanted = str(name or ANY_MODEL).removesuffix(DEFAULT_TAG)
    if wanted == ANY_MODEL or not models:
        return models
    named = [model for model in models if model.name.removesuffix(DEFAULT_TAG) == wanted]
    if not named:
        raise problems.MODEL_NOT_FOUND(
            "There is no model {name} here. There are: {models}.",
            name=repr(wanted[:MAX_SHOWN_NAME_LENGTH]),
            models=", ".join([ANY_MODEL, *(model.name for model in models)]),
        )
    return named


def caption_options(
    services: Services, models: Sequence[ModelInfo], instruction: str, captions: int = 1
) -> CaptionOptions | None:
    """The options of a job that any of `models` may caption, with this number of captions.

    It has the instruction only if all of them take instructions, because others fail such a job. Raises `bad-request`.
    """
    options: dict[str, object] = {}
    if instruction.strip() and models and all(model.instructions for model in models):
        options["instruction"] = instruction.strip()
    search = SearchOptions.of(services.settings)
    if captions > search.captions:  # otherwise the usual options, which share the usual entry of the caption cache
        options |= {"captions": captions, "beams": max(captions, search.beams)}
    return parse_options(options, services.settings)


def check_caption_count(value: object) -> int:
    """A requested number of captions of each picture; raises `bad-request`."""
    if type(value) is not int or not 1 <= value <= MAX_BEAMS:
        raise problems.BAD_REQUEST("`n` must be a whole number from 1 to {maximum}.", maximum=MAX_BEAMS)
    return value
