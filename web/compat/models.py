"""Which model a request in another protocol asks for, and what it is told."""

from __future__ import annotations

from common import problems
from common.options import MAX_BEAMS, CaptionOptions, SearchOptions, parse_options
from common.problems import shown_name
from web.services import Services

#: The name by which clients ask for whatever model the service has, also when no worker is ready.
ANY_MODEL = "captiond"
#: The tag that Ollama and PhotoPrism append to a model's name without one.
DEFAULT_TAG = ":latest"


def find_model(services: Services, name: object) -> str:
    """The model that the job of a request asks for; '' if any may caption. Raises `model-not-found`.

    `name` is the one in the request, with or without `:latest`; `captiond` or none is the service's default.
    """
    wanted = str(name or ANY_MODEL).removesuffix(DEFAULT_TAG)
    if wanted == ANY_MODEL:
        return services.default_model
    names = [model.name for model in services.models()]
    found = next((each for each in names if each.removesuffix(DEFAULT_TAG) == wanted), None)
    if found is None:
        raise problems.MODEL_NOT_FOUND(
            "There is no model {name} here. There are: {models}.",
            name=shown_name(wanted),
            models=", ".join([ANY_MODEL, *names]),
        )
    return found


def caption_options(services: Services, model: str, instruction: str, captions: int = 1) -> CaptionOptions | None:
    """The options of a job for `model`, '' for any, with this number of captions.

    It has the instruction only if all models that may caption it take instructions, because others fail such a job.
    Raises `bad-request`.
    """
    options: dict[str, object] = {"model": model or None}
    named = [known for known in services.models() if known.name == model]
    models = named or services.workers.captioning(model)
    if instruction.strip() and models and all(each.instructions for each in models):
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
