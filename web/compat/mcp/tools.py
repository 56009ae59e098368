"""The tools of the MCP server: `caption_image` and `caption_batch`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolResult, TextContent, Tool, ToolAnnotations
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from common import problems
from common.jobs import Job
from common.options import CaptionOptions
from common.problems import Problem, shown_name
from web.compat.captioning import caption_available, caption_pictures
from web.compat.pictures import Picture, read_pictures
from web.language import current_language
from web.services import Services, get_services
from web.submission import accepted_options

#: Pictures of one call of `caption_batch`.
MAX_BATCH = 100

#: A picture as an agent names it.
Image = Annotated[
    str,
    Field(
        description="The picture: an https URL, if the service downloads pictures; else its content, as a `data:` URL "
        "or in base64."
    ),
]
#: Caption options, which `accepted_options` checks with sentences of its own.
Options = Annotated[dict[str, Any] | None, WithJsonSchema(CaptionOptions.model_json_schema())]


class CaptionImage(BaseModel):
    """Arguments of `caption_image`."""

    model_config = ConfigDict(extra="forbid")

    image: Image
    options: Options = None


class CaptionBatch(BaseModel):
    """Arguments of `caption_batch`."""

    model_config = ConfigDict(extra="forbid")

    images: list[Image] = Field(min_length=1, max_length=MAX_BATCH)
    options: Options = None


class Caption(BaseModel):
    """The caption of a picture."""

    job: str = Field(description="Id of the job, for the service's own API and page.")
    caption: str
    confidence: float | None = Field(description="Chance that the caption is right, from 0 to 1, if it is known.")
    alternatives: list[str] = Field(description="Further captions, the likeliest first.")

    @classmethod
    def of(cls, job: Job) -> Caption:
        """The caption of a job that has one."""
        assert job.caption is not None and job.output is not None
        return cls(
            job=job.id,
            caption=job.caption,
            confidence=job.output.confidence,
            alternatives=[each.caption for each in job.output.alternatives],
        )


class Outcome(BaseModel):
    """What became of one picture: its caption, or why there is none yet."""

    caption: Caption | None = None
    error: str | None = None


class Outcomes(BaseModel):
    """What became of the pictures, in their order."""

    results: list[Outcome]


def caption_image(arguments: CaptionImage) -> Caption:
    """Describe a picture in one sentence."""
    services = get_services()
    options = accepted_options(services, arguments.options)
    (job,) = caption_pictures(services, read_pictures(services, [arguments.image]), options)
    return Caption.of(job)


def caption_batch(arguments: CaptionBatch) -> Outcomes:
    """Describe up to 100 pictures, each in one sentence.

    Pictures whose captions are not ready in time have an error that says so: call this tool again with them.
    """
    services = get_services()
    options = accepted_options(services, arguments.options)
    pictures = [partial(_read, services, image) for image in arguments.images]
    return Outcomes(
        results=[
            Outcome(error=_sentence(result)) if isinstance(result, Problem) else Outcome(caption=Caption.of(result))
            for result in caption_available(services, pictures, options)
        ]
    )


@dataclass(frozen=True)
class _Tool:
    """A tool: the function, whose docstring is its description, and the models of its arguments and its result."""

    call: Callable[[Any], BaseModel]
    arguments: type[BaseModel]
    result: type[BaseModel]

    @property
    def description(self) -> Tool:
        """The tool as agents see it."""
        return Tool(
            name=self.call.__name__,
            description=inspect.getdoc(self.call),
            input_schema=self.arguments.model_json_schema(),
            output_schema=self.result.model_json_schema(mode="serialization"),
            annotations=ToolAnnotations(destructive_hint=False, idempotent_hint=True),
        )


TOOLS = {
    "caption_image": _Tool(caption_image, CaptionImage, Caption),
    "caption_batch": _Tool(caption_batch, CaptionBatch, Outcomes),
}


def call_tool(name: str, arguments: dict[str, Any]) -> CallToolResult:
    """Call a tool. A problem is a result that the agent can read; raises `MCPError` for an unknown tool."""
    tool = TOOLS.get(name)
    if tool is None:
        raise MCPError(INVALID_PARAMS, f"There is no tool {shown_name(name)}.")
    try:
        result = tool.call(_validated(tool.arguments, arguments))
    except Problem as problem:
        get_services().components.counters.count(f"problem:{problem.kind.slug}")
        return CallToolResult(content=[TextContent(text=_sentence(problem))], is_error=True)
    # As text, too, for clients that do not know structured content.
    return CallToolResult(
        content=[TextContent(text=result.model_dump_json())], structured_content=result.model_dump(mode="json")
    )


def _read(services: Services, image: str) -> Picture:
    (picture,) = read_pictures(services, [image])
    return picture


def _validated(model: type[BaseModel], arguments: dict[str, Any]) -> BaseModel:
    try:
        return model.model_validate(arguments)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise problems.BAD_REQUEST("Argument {name}: {reason}", name=name, reason=first["msg"]) from error


def _sentence(problem: Problem) -> str:
    return problem.message.translated(current_language())
