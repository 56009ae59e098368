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
from common.problems import Problem
from common.translation import _

if TYPE_CHECKING:
    from common.settings import Settings

#: The part of a template that the caption replaces.
PLACEHOLDER = "{caption}"
#: Characters of a template.
MAX_TEMPLATE_LENGTH = 500
#: Upper bounds that protect the worker. A search with both takes three times as long as the longest one with the
#: default settings. For eight images of the deployed student it needs 370 MB beside the model, 140 MB more.
MAX_BEAMS, MAX_TOKENS = 10, 64
#: Captions of an image, the best one included, if its options do not say. With few beams there are fewer.
DEFAULT_CAPTIONS = 3
#: Characters of an unknown member's name in an error message.
MAX_SHOWN_NAME_LENGTH = 40

#: Characters that XML, and thus an XMP sidecar, cannot contain.
_NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def check_template(template: str) -> str:
    """Return `template`. Raises `ValueError`, with a sentence, if it is not one that a caption can be put into."""
    if template.count(PLACEHOLDER) != 1:
        raise ValueError(
            _("It must have {placeholder} exactly once, such as 'a photo of {placeholder}'.", placeholder=PLACEHOLDER)
        )
    if len(template) > MAX_TEMPLATE_LENGTH:
        raise ValueError(_("It must not have more than {limit} characters.", limit=MAX_TEMPLATE_LENGTH))
    if _NOT_IN_XML.search(template):
        raise ValueError(_("It must not have control characters or invalid Unicode."))
    return template


def fill_template(template: str | None, caption: str) -> str:
    """Put a caption into a template that `check_template` accepts; without a template, return the caption."""
    return template.replace(PLACEHOLDER, caption) if template is not None else caption


_TEMPLATE_SCHEMA = {"type": "string", "maxLength": MAX_TEMPLATE_LENGTH, "pattern": re.escape(PLACEHOLDER)}

#: A template that `check_template` accepts.
Template = Annotated[StrictStr, AfterValidator(check_template), WithJsonSchema(_TEMPLATE_SCHEMA)]


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

    Lengths are in tokens, with start and end token; `captions` is the number of captions of each image.
    """

    beams: int
    min_length: int
    max_length: int
    captions: int

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
    search = SearchOptions.of(settings, options)
    lengths = f"length{search.min_length}-{search.max_length}-{settings.length_penalty:g}"
    key = f"{settings.precision}-beams{search.beams}-captions{search.captions}-{lengths}-{settings.prompt}"
    return f"{key}-{settings.translate}" if settings.translate else key


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
            name=repr(name[:MAX_SHOWN_NAME_LENGTH]),
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
