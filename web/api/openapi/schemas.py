"""JSON schemas of the API. Those of jobs and batches are generated from the pydantic models."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from common.exports.tables import QUALITY_FIELDS
from common.jobs import Batch, Job, Status
from common.ledger import Worker
from common.manifest_records import ResultFormat, Shard
from common.problems import KINDS

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
DATE_TIME: Schema = {"type": "string", "format": "date-time"}
PATH: Schema = {"type": "string", "format": "uri-reference"}


def ref(name: str) -> Schema:
    """A reference to the component schema `name`."""
    return {"$ref": f"#/components/schemas/{name}"}


def object_schema(description: str, **properties: Schema) -> Schema:
    """An object all of whose `properties` are required."""
    return {"type": "object", "description": description, "properties": properties, "required": list(properties)}


def nullable(schema: Schema) -> Schema:
    """`schema`, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def schemas() -> dict[str, Schema]:
    """All component schemas by name."""
    _, definitions = models_json_schema(
        [(model, "serialization") for model in (Job, Batch, Shard, Worker)],
        ref_template="#/components/schemas/{model}",
    )
    by_name: dict[str, Schema] = definitions["$defs"]
    urls = "Paths relative to the root of the host."
    _add_properties(by_name["Job"], urls=object_schema(urls, self=PATH, cancel=PATH, retry=PATH, image=nullable(PATH)))
    actions = dict.fromkeys(("items", "seal", "jobs", "results", "cancel", "retry"), PATH)
    _add_properties(by_name["Batch"], urls=object_schema(urls, self=PATH, **actions))
    by_name["Problem"] = object_schema(
        "An RFC 9457 problem. The meaning of a `type` never changes; `detail` tells a person what to do.",
        type={"type": "string", "format": "uri-reference", "enum": [kind.type for kind in KINDS.values()]},
        title=STRING,
        status={"type": "integer", "minimum": 400, "maximum": 599},
        detail=STRING,
    )
    by_name["JobList"] = object_schema(
        "Jobs. `next` is the cursor of the next page, or null.",
        jobs={"type": "array", "items": ref("Job")},
        next=nullable(STRING),
    )
    by_name["EditedJobs"] = object_schema(
        "Jobs whose captions were edited.", jobs={"type": "array", "items": ref("Job")}
    )
    by_name["BatchList"] = object_schema(
        "Batches, newest first. `next` is the cursor of the next page, or null.",
        batches={"type": "array", "items": ref("Batch")},
        next=nullable(STRING),
    )
    by_name["Shards"] = object_schema(
        "The files of results of a manifest, in its order. `output` is the URL of their folder, `next` the cursor of "
        "the next page, or null.",
        output=STRING,
        format={"enum": [*ResultFormat]},
        shards={"type": "array", "items": ref("Shard")},
        next=nullable(STRING),
    )
    by_name |= _exports(by_name["Output"])
    by_name["AnnouncedModel"] = object_schema(
        "A model, and the number of live workers that have loaded it.",
        **by_name["ModelInfo"]["properties"],
        workers=COUNT,
    )
    notice = "That only a demo captions pictures which ask for no model, or why these wait now; or null."
    by_name["Models"] = object_schema(
        "The models that `options.model` can name: those of live workers, and those whose last worker sent a heartbeat "
        "within the retention time. `captioning` is the model of the worker with the latest heartbeat.",
        models={"type": "array", "items": ref("AnnouncedModel")},
        captioning=nullable(ref("ModelInfo")),
        notice=nullable({**STRING, "description": notice}),
    )
    reason = {**STRING, "description": "Why the model's server cannot caption now, or null."}
    _add_properties(
        by_name["Worker"],
        heard_at=DATE_TIME,
        started_at=DATE_TIME,
        alive={"type": "boolean"},
        unavailable=nullable(reason),
    )
    by_name["Workers"] = object_schema(
        "The worker processes, including those that were lost a short time ago.",
        workers={"type": "array", "items": ref("Worker")},
    )
    seconds = {
        "type": "number",
        "minimum": 0,
        "description": "Seconds for which the oldest job has waited that can be claimed; 0 without one.",
    }
    waiting = {"waiting": COUNT, "oldest_seconds": seconds}
    by_name["Lane"] = object_schema("The jobs that wait in a lane.", **waiting)
    by_name["Queue"] = object_schema(
        "The jobs of all API keys that wait, or those of them that workers with a model may claim. Jobs that are tried "
        "again after a failure may be in no lane.",
        **waiting,
        lanes=object_schema("Single jobs, and jobs of batches.", interactive=ref("Lane"), bulk=ref("Lane")),
    )
    by_name["Alive"] = object_schema("The web server is alive.", status={"const": "ok"})
    by_name["Ready"] = object_schema("Pictures are accepted now.", status={"const": "ready"})
    by_name["Captioning"] = object_schema(
        "A worker can caption pictures now. `model` and `workers` are present if the request has an API key, or, if "
        "no API keys exist, if it uses a host name of the service.",
        status={"const": "ready"},
    )
    by_name["Captioning"]["properties"] |= {"model": ref("ModelInfo"), "workers": COUNT}
    events = [*(f"job.{status}" for status in Status if status.terminal), "batch.completed"]
    by_name["Event"] = object_schema(
        "The body of a webhook request. `data` is the job or batch, as `data.urls.self` returns it.",
        type={**STRING, "enum": events},
        timestamp={**STRING, "format": "date-time"},
        data={"anyOf": [ref("Job"), ref("Batch")]},
    )
    return dict(sorted(by_name.items()))


def _exports(output: Schema) -> dict[str, Schema]:
    """The schemas of the exports in JSON."""
    integer: Schema = {"type": "integer"}
    quality = {name: output["properties"][name] for name in QUALITY_FIELDS}
    translated = output["properties"]["translated"]
    result = object_schema(
        "The state of one picture of a batch, with its caption or its error once it is finished. `caption` is the "
        "edited caption where there is one; `score` is that of `model_caption`, `translated` null for an edited "
        "caption, and `model` the name of the model that captioned.",
        custom_id=nullable(STRING),
        id=STRING,
        status=ref("Status"),
        caption=nullable(STRING),
        model_caption=nullable(STRING),
        edited={"type": "boolean"},
        **quality,
        translated=translated,
        model=nullable(STRING),
        width=nullable(integer),
        height=nullable(integer),
        error=nullable(ref("Failure")),
    )
    row = object_schema(
        "A line of `metadata.jsonl`: the path of a picture, relative to that file, and its caption.",
        file_name=STRING,
        text=STRING,
    )
    coco_image = object_schema(
        "A picture; its id is its position in the batch.", id=integer, file_name=STRING, width=integer, height=integer
    )
    coco_annotation = object_schema(
        "A caption.",
        id=integer,
        image_id=integer,
        caption=STRING,
        **quality,
        translated=translated,
        model=nullable(STRING),
    )
    coco = object_schema(
        "COCO captions.",
        info={"type": "object"},
        licenses={"type": "array", "items": {"type": "object"}},
        images={"type": "array", "items": coco_image},
        annotations={"type": "array", "items": coco_annotation},
    )
    task = object_schema(
        "A task of Label Studio's template for captions. `captioning` is the path of the picture below Label Studio's "
        "local files.",
        data=object_schema("The picture, and the id of its job.", captioning=STRING, job=STRING),
        predictions={"type": "array", "items": {"type": "object"}},
    )
    task["properties"]["annotations"] = {"type": "array", "items": {"type": "object"}}
    return {"Result": result, "ImageFolderRow": row, "CocoCaptions": coco, "LabelStudioTask": task}


def _add_properties(schema: Schema, **properties: Schema) -> None:
    """Add the members that a model's `body` method adds to its fields."""
    schema["properties"].update(properties)
    schema["required"] = list(schema["properties"])
