"""Which model a request in another protocol asks for, and what it is told."""

from __future__ import annotations

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


def find_model(services: Services, name: object) -> ModelInfo | None:
    """The model of this name, with or without `:latest`; for `captiond` or no name, the one that captions at present.

    None if no worker is ready: the job then waits for one. Raises `model-not-found`.
    """
    models = known_models(services)
    wanted = str(name or ANY_MODEL).removesuffix(DEFAULT_TAG)
    if wanted == ANY_MODEL or not models:
        return services.current_model()
    model = next((model for model in models if model.name.removesuffix(DEFAULT_TAG) == wanted), None)
    if model is None:
        raise problems.MODEL_NOT_FOUND(
            "There is no model {name} here. There are: {models}.",
            name=repr(wanted[:MAX_SHOWN_NAME_LENGTH]),
            models=", ".join([ANY_MODEL, *(model.name for model in models)]),
        )
    return model


def caption_options(
    services: Services, model: ModelInfo | None, instruction: str, captions: int = 1
) -> CaptionOptions | None:
    """The options of a job for which `model` is told `instruction`, and which needs this number of captions.

    A model that takes no instructions is not given any. Raises `bad-request`.
    """
    options: dict[str, object] = {}
    if instruction.strip() and (model is None or model.instructions):
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
