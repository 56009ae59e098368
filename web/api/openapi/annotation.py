"""Operations for Label Studio, and the endpoint of the Model Context Protocol."""

from __future__ import annotations

from common import problems
from web.api.openapi import components
from web.api.openapi.compat import CAPTION_PROBLEMS, ERROR, caption_operation
from web.api.openapi.components import Component, json_body, operation, response
from web.api.openapi.schemas import STRING, Schema, nullable, object_schema

#: A value of a task's data is text for the picture; other values are whatever the project has.
TASK = object_schema("A task.", id={"type": "integer"}, data={"type": "object"})
CONFIG: Schema = {"type": "string", "description": "The project's labelling configuration, in XML."}
REGION = object_schema(
    "The caption in a text area.",
    from_name=STRING,
    to_name=STRING,
    type={"const": "textarea"},
    value=object_schema("The text.", text={"type": "array", "items": STRING}),
)
PREDICTION = object_schema(
    "A prediction.",
    model_version=STRING,
    score=nullable({"type": "number", "description": "The confidence."}),
    result={"type": "array", "items": REGION},
)
PREDICTIONS = object_schema(
    "A prediction for each task, or an empty array while it has none.",
    results={"type": "array", "items": {"anyOf": [PREDICTION, {"type": "array", "items": PREDICTION, "maxItems": 0}]}},
    model_version=STRING,
)
MODEL_VERSION = object_schema("The model.", model_version=STRING)

MESSAGE: Schema = {
    "type": "object",
    "description": "A message of JSON-RPC 2.0.",
}
RPC_ERROR = object_schema(
    "An error of JSON-RPC 2.0.",
    jsonrpc={"const": "2.0"},
    error=object_schema("The error.", code={"type": "integer"}, message=STRING),
)
#: Status with which the SDK refuses messages, and why.
RPC_REFUSALS = {
    400: "The message cannot be read",
    404: "No such method",
    406: "The client does not accept `application/json`",
}


def _mcp() -> Component:
    described = operation(
        "mcp",
        "Answer a message of the Model Context Protocol (Streamable HTTP without sessions).",
        {200: response("The answer.", MESSAGE), 202: response("A notification was received.")},
        *CAPTION_PROBLEMS,
        body=json_body(MESSAGE),
        error=RPC_ERROR,
    )
    for status, reason in RPC_REFUSALS.items():
        described["responses"][str(status)] = response(reason, RPC_ERROR)
    return described


PATHS = {
    "/label-studio/health": {
        "get": operation(
            "labelStudioHealth",
            "Tell Label Studio that the URL and the key are right.",
            {200: response("Both are.", object_schema("The health.", status={"const": "UP"}))},
            *components.COMMON_PROBLEMS,
            error=ERROR,
        )
    },
    "/label-studio/setup": {
        "post": operation(
            "labelStudioSetup",
            "Check a project's labelling configuration, and tell the version of the model.",
            {200: response("The model.", MODEL_VERSION)},
            *components.WRITE_PROBLEMS,
            problems.NOT_READY,
            body=json_body(object_schema("A project.", schema=CONFIG)),
            error=ERROR,
        )
    },
    "/label-studio/predict": {
        "post": caption_operation(
            "labelStudioPredict",
            "Captions for tasks. Those without one yet get it when they are asked for again.",
            {200: response("The predictions.", PREDICTIONS)},
            json_body(object_schema("Tasks.", tasks={"type": "array", "items": TASK}, label_config=CONFIG)),
        )
    },
    "/label-studio/webhook": {
        "post": operation(
            "labelStudioWebhook",
            "Ignore an event of Label Studio.",
            {200: response("It was ignored.", {"type": "object"})},
            *components.WRITE_PROBLEMS,
            body=json_body({"type": "object", "description": "An event."}),
            error=ERROR,
        )
    },
    "/mcp": {"post": _mcp()},
}
