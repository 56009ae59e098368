"""Caption options: how a client wants its images captioned, where that differs from the service's settings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    ValidationError,
    WithJsonSchema,
)

from common import problems
from common.problems import Problem, shown_name
from common.translation import _

if TYPE_CHECKING:
    from common.settings import Settings

#: The part of a template that the caption replaces.
PLACEHOLDER = "{caption}"
#: Characters of a template, and of an instruction.
MAX_TEMPLATE_LENGTH, MAX_INSTRUCTION_LENGTH = 500, 2000
#: Upper bounds that protect the worker. A search with both takes three times as long as the longest one with the
#: default settings. For eight images of the deployed student it needs 370 MB beside the model, 140 MB more.
MAX_BEAMS, MAX_TOKENS = 10, 64
#: Captions of an image, the best one included, if its options do not say. With few beams there are fewer.
DEFAULT_CAPTIONS = 3

#: Characters that XML, and thus an XMP sidecar, cannot contain.
NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def check_template(template: str) -> str:
    """Return `template`. Raises `ValueError`, with a sentence, if it is not one that a caption can be put into."""
    if template.count(PLACEHOLDER) != 1:
        raise ValueError(
            _("It must have {placeholder} exactly once, such as 'a photo of {placeholder}'.", placeholder=PLACEHOLDER)
        )
    return _check_text(template, MAX_TEMPLATE_LENGTH)


def check_instruction(instruction: str) -> str:
    """Return `instruction`. Raises `ValueError`, with a sentence, if it is not one that a model can be given."""
    if not instruction.strip():
        raise ValueError(_("It must not be empty."))
    return _check_text(instruction, MAX_INSTRUCTION_LENGTH)


def check_language(code: str) -> str:
    """Return `code`. Raises `ValueError`, with a sentence, if it is not the code of a language, such as `pt-BR`."""
    language_name(code)
    return code


def language_name(code: str) -> str:
    """The English name of a language by its code: `German` for `de`. Raises `ValueError` for an unknown code."""
    # Imported only for a language: Babel takes 50 ms.
    from babel import Locale, UnknownLocaleError

    try:
        return Locale.parse(code, sep="-").english_name or code
    except (ValueError, UnknownLocaleError) as error:
        raise ValueError(_("It must be the code of a language, such as de or pt-BR.")) from error


def fill_template(template: str | None, caption: str) -> str:
    """Put a caption into a template that `check_template` accepts; without a template, return the caption."""
    return template.replace(PLACEHOLDER, caption) if template is not None else caption


def _check_text(text: str, limit: int) -> str:
    if len(text) > limit:
        raise ValueError(_("It must not have more than {limit} characters.", limit=limit))
    if NOT_IN_XML.search(text):
        raise ValueError(_("It must not have control characters or invalid Unicode."))
    return text


_TEMPLATE_SCHEMA = {"type": "string", "maxLength": MAX_TEMPLATE_LENGTH, "pattern": re.escape(PLACEHOLDER)}

#: A template that `check_template` accepts.
Template = Annotated[StrictStr, AfterValidator(check_template), WithJsonSchema(_TEMPLATE_SCHEMA)]

#: An instruction that `check_instruction` accepts, and a language that `check_language` accepts.
Instruction = Annotated[
    StrictStr,
    AfterValidator(check_instruction),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_INSTRUCTION_LENGTH}),
]
Language = Annotated[StrictStr, AfterValidator(check_language), WithJsonSchema({"type": "string"})]


class CaptionOptions(BaseModel):
    """Options of a caption. What is missing or null is as in the service's settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    template: Template | None = Field(
        None, description=f"Text around each caption, with `{PLACEHOLDER}` exactly once, in the caption's place."
    )
    min_length: StrictInt | None = Field(
        None, ge=0, le=MAX_TOKENS, description="Minimum caption length in tokens, with start and end token."
    )
    max_length: StrictInt | None = Field(
        None, ge=2, le=MAX_TOKENS, description="Maximum caption length in tokens, with start and end token."
    )
    captions: StrictInt | None = Field(
        None, ge=1, le=MAX_BEAMS, description="Number of captions, the best one included; at most `beams`."
    )
    beams: StrictInt | None = Field(None, ge=1, le=MAX_BEAMS, description="Beams of the beam search.")
    instruction: Instruction | None = Field(
        None, description="What the model is asked for, in words. Only for models that take instructions."
    )
    language: Language | None = Field(
        None, description="Code of the captions' language, such as `de`. Only for models that take instructions."
    )
    model: StrictStr | None = Field(
        None,
        description="Name of the model that captions, one of `/v1/models`; by default any, or that of the service.",
    )

    def body(self) -> dict[str, Any]:
        """Return the API's JSON: the members that are set."""
        return self.model_dump(exclude_none=True)


@dataclass(frozen=True)
class SearchOptions:
    """What the model is asked for. Images with equal search options can share a model call.

    Lengths are in tokens, with start and end token; `captions` is the number of captions of each image. `instruction`
    and `language` are those of the options; where they have none, the settings hold.
    """

    beams: int
    min_length: int
    max_length: int
    captions: int
    instruction: str | None = None
    language: str | None = None

    @classmethod
    def of(cls, settings: Settings, options: CaptionOptions | None = None) -> Self:
        """The search of `options`, completed from the settings."""
        given = options or CaptionOptions()
        beams = _first(given.beams, settings.beams)
        return cls(
            beams=beams,
            min_length=_first(given.min_length, settings.min_length),
            max_length=_first(given.max_length, settings.max_length),
            captions=_first(given.captions, min(DEFAULT_CAPTIONS, beams)),
            instruction=given.instruction,
            language=given.language,
        )


def parse_options(value: object, settings: Settings) -> CaptionOptions | None:
    """Validate the JSON value `options` of a request; None if it sets nothing. Raises `bad-request`.

    Whether there is such a model is not checked.
    """
    try:
        options = CaptionOptions.model_validate(value)
    except ValidationError as error:
        raise _problem(error) from error
    search = SearchOptions.of(settings, options)
    if search.captions > search.beams:
        raise problems.BAD_REQUEST(
            "`options.captions` is {captions}, but a search with {beams} beams finds at most {beams} captions. Raise "
            "`options.beams` or lower `options.captions`.",
            captions=search.captions,
            beams=search.beams,
        )
    if (options.min_length, options.max_length) != (None, None) and search.min_length > search.max_length:
        raise problems.BAD_REQUEST(
            "The captions would need at least {minimum} and at most {maximum} tokens. Lower `options.min_length` or "
            "raise `options.max_length`; without them this service uses {default_minimum} and {default_maximum}.",
            minimum=search.min_length,
            maximum=search.max_length,
            default_minimum=settings.min_length,
            default_maximum=settings.max_length,
        )
    return options if options.body() else None


def model_of(options: CaptionOptions | None) -> str:
    """The name of the model that `options` ask for; '' if any model may caption."""
    return (options.model if options else None) or ""


def cache_key(settings: Settings, options: CaptionOptions | None) -> str:
    """Part of the caption cache's key: all settings and options that affect the model's output."""
    given = options or CaptionOptions()
    search = SearchOptions.of(settings, options)
    lengths = f"length{search.min_length}-{search.max_length}-{settings.length_penalty:g}"
    key = f"{settings.precision}-beams{search.beams}-captions{search.captions}-{lengths}-{settings.prompt}"
    # The language has no colon, so no two pairs of language and instruction have the same key.
    asked = f"{given.language or settings.caption_language}:{given.instruction or settings.instruction}"
    return f"{key}-{settings.translate}-{asked}"


def no_instructions(model: str) -> Problem:
    """The problem of `instruction` or `language` for a model that takes no instructions."""
    return problems.BAD_REQUEST(
        "The model {model} takes no instructions. Leave out `options.instruction` and `options.language`.", model=model
    )


def _first(option: int | None, setting: int) -> int:
    return setting if option is None else option


def _problem(error: ValidationError) -> Problem:
    """The first error as a `bad-request` that names the member and what is allowed."""
    first = error.errors()[0]
    members = CaptionOptions.model_json_schema()["properties"]
    name = str(first["loc"][0]) if first["loc"] else None
    if name is None:
        return problems.BAD_REQUEST('`options` must be a JSON object, such as {"beams": 8}.')
    if name not in members:
        return problems.BAD_REQUEST(
            "`options` has no member {name}. Its members are {members}.",
            name=shown_name(name),
            members=", ".join(members),
        )
    if first["type"] == "value_error":
        return problems.BAD_REQUEST("`options.{name}`: {reason}", name=name, reason=first["ctx"]["error"].args[0])
    allowed = members[name]["anyOf"][0]
    if allowed["type"] == "string":
        return problems.BAD_REQUEST("`options.{name}` must be text.", name=name)
    return problems.BAD_REQUEST(
        "`options.{name}` must be a whole number from {minimum} to {maximum}.",
        name=name,
        minimum=allowed["minimum"],
        maximum=allowed["maximum"],
    )
