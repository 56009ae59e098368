"""The shapes of the API's JSON, made from the models that are that JSON."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from common.jobs import Batch, Job, Status
from common.problems import KINDS

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
PATH: Schema = {"type": "string", "format": "uri-reference"}


def ref(name: str) -> Schema:
    """The shape of that name among the document's components."""
    return {"$ref": f"#/components/schemas/{name}"}


def closed(description: str, **properties: Schema) -> Schema:
    """An object that always has all of `properties`."""
    return {"type": "object", "description": description, "properties": properties, "required": list(properties)}


def maybe(schema: Schema) -> Schema:
    """`schema`, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def schemas() -> dict[str, Schema]:
    """Every named shape."""
    _, made = models_json_schema(
        [(Job, "serialization"), (Batch, "serialization")], ref_template="#/components/schemas/{model}"
    )
    shapes: dict[str, Schema] = made["$defs"]
    _add(shapes["Job"], urls=closed("Paths from the root of the host.", self=PATH, cancel=PATH, image=maybe(PATH)))
    _add(
        shapes["Batch"],
        status={"type": "string", "enum": ["in_progress", "completed"]},
        urls=closed("Paths from the root of the host.", self=PATH, results=PATH, cancel=PATH),
    )
    shapes["Problem"] = closed(
        "An RFC 9457 problem. `type` never changes its meaning; `detail` is for people and says what to do.",
        type={"type": "string", "format": "uri-reference", "enum": [kind.type for kind in KINDS.values()]},
        title=TEXT,
        status={"type": "integer", "minimum": 400, "maximum": 599},
        detail=TEXT,
    )
    shapes["JobList"] = closed(
        "Jobs, newest first, and the cursor of those that follow.",
        jobs={"type": "array", "items": ref("Job")},
        next=maybe(TEXT),
    )
    shapes["Result"] = closed(
        "What became of one picture of a batch.",
        custom_id=maybe(TEXT),
        id=TEXT,
        status=ref("Status"),
        caption=maybe(TEXT),
        score=maybe({"type": "number"}),
        error=maybe(ref("Failure")),
    )
    shapes["AnnouncedModel"] = closed(
        "A model, and how many workers have it.", **shapes["ModelInfo"]["properties"], workers=COUNT
    )
    shapes["Models"] = closed(
        "The models that live workers announce.",
        models={"type": "array", "items": ref("AnnouncedModel")},
        captioning=maybe(ref("ModelInfo")),
        notice=maybe({**TEXT, "description": "What a person should know about the model that captions."}),
    )
    shapes["Alive"] = closed("The web server answers.", status={"const": "ok"})
    shapes["Ready"] = closed(
        "A picture sent now would be captioned. By which model, and by how many workers, is told to those who could "
        "send one: with a key where keys are needed, else under a host name of the service.",
        status={"const": "ready"},
    )
    shapes["Ready"]["properties"] |= {"model": ref("ModelInfo"), "workers": COUNT}
    events = [*(f"job.{status}" for status in Status if status.terminal), "batch.completed"]
    shapes["Event"] = closed(
        "What a webhook says: `data` is what the API answers at `data.urls.self`.",
        type={**TEXT, "enum": events},
        timestamp={**TEXT, "format": "date-time"},
        data={"anyOf": [ref("Job"), ref("Batch")]},
    )
    return dict(sorted(shapes.items()))


def _add(schema: Schema, **properties: Schema) -> None:
    """Describe what a model's `body` adds to its fields."""
    schema["properties"].update(properties)
    schema["required"] = list(schema["properties"])
