"""Operations in the protocols of other software."""

from __future__ import annotations

from collections.abc import Iterable

from common import problems
from common.options import MAX_BEAMS
from web.api.openapi import components
from web.api.openapi.components import Component, json_body, operation, response
from web.api.openapi.schemas import COUNT, DATE_TIME, STRING, Schema, nullable, object_schema

#: Problems of a request for captions.
CAPTION_PROBLEMS = (
    *components.WRITE_PROBLEMS,
    *components.IMAGE_PROBLEMS,
    *components.ADMISSION_PROBLEMS,
    *components.JOB_PROBLEMS,
    problems.FETCHING_OFF,
    problems.FETCHING_BUSY,
    problems.FETCH_FAILED,
    problems.URL_NOT_ALLOWED,
    problems.MODEL_NOT_FOUND,
    problems.CAPTION_PENDING,
    problems.JOB_CANCELED,
    problems.CAPTION_FAILED,
    problems.WORKER_LOST,
)


def request_schema(description: str, required: Iterable[str] = (), **properties: Schema) -> Schema:
    """A JSON object of a request. Foreign clients may send further members, which are ignored."""
    return {**object_schema(description, **properties), "required": list(required)}


#: The error of Hugging Face's and Ollama's protocols.
ERROR = object_schema("An error.", error=STRING)
OPENAI_ERROR = object_schema(
    "An error.",
    error=object_schema("What is wrong.", message=STRING, type=STRING, param=nullable(STRING), code=STRING),
)
PHOTOPRISM_ERROR = object_schema("An error.", code=COUNT, error=STRING, result={"type": "object"})
BASE64: Schema = {"type": "string", "description": "A picture in base64, or a `data:` URL."}
MODEL: Schema = {"type": "string", "description": "A model of the service, or `captiond` for any."}
STREAM: Schema = {"type": "boolean", "description": "Whether the answer is a stream, with each caption in one piece."}

CHAT = request_schema(
    "A chat. Its last pictures are captioned.",
    ["messages"],
    model=MODEL,
    messages={
        "type": "array",
        "items": request_schema("A message.", ["role"], role=STRING, content={"type": ["string", "array", "null"]}),
    },
    n={"type": "integer", "minimum": 1, "maximum": MAX_BEAMS, "description": "Number of captions."},
    stream=STREAM,
)
COMPLETION = object_schema(
    "The captions.",
    id=STRING,
    object=STRING,
    created=COUNT,
    model=STRING,
    choices={
        "type": "array",
        "items": object_schema(
            "A caption.",
            index=COUNT,
            message=object_schema("The caption.", role=STRING, content=STRING, refusal={"type": "null"}),
            logprobs={"type": "null"},
            finish_reason=STRING,
        ),
    },
    usage=object_schema("Numbers of words.", prompt_tokens=COUNT, completion_tokens=COUNT, total_tokens=COUNT),
)
OPENAI_MODELS = object_schema(
    "The models.",
    object=STRING,
    data={
        "type": "array",
        "items": object_schema("A model.", id=STRING, object=STRING, created=COUNT, owned_by=STRING),
    },
)

DETAILS = object_schema(
    "What Ollama says of a model's file.",
    parent_model=STRING,
    format=STRING,
    family=STRING,
    families={"type": "array", "items": STRING},
    parameter_size=STRING,
    quantization_level=STRING,
)
TAGS = object_schema(
    "The models.",
    models={
        "type": "array",
        "items": object_schema(
            "A model.", name=STRING, model=STRING, modified_at=DATE_TIME, size=COUNT, digest=STRING, details=DETAILS
        ),
    },
)
SHOWN = object_schema(
    "What a model can do.",
    modelfile=STRING,
    parameters=STRING,
    template=STRING,
    details=DETAILS,
    model_info={"type": "object"},
    capabilities={"type": "array", "items": STRING},
    modified_at=DATE_TIME,
)


def ollama_answer(**text: Schema) -> dict[int, Component]:
    """The responses with captions in Ollama's protocol: an object, or a stream of them. `text` contains the caption."""
    durations = ("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count")
    schema = object_schema("The captions.", model=STRING, created_at=DATE_TIME, **text, done={"type": "boolean"})
    schema["properties"] |= {"done_reason": STRING, **dict.fromkeys((*durations, "eval_duration"), COUNT)}
    component = response("The captions. Durations are in nanoseconds.", schema)
    component["content"]["application/x-ndjson"] = {"schema": STRING}
    return {200: component}


def caption_operation(
    operation_id: str, summary: str, responses: dict[int, Component], body: Component, error: Schema = ERROR
) -> Component:
    """An operation that captions pictures and waits for the captions."""
    return operation(
        operation_id,
        summary,
        responses,
        *CAPTION_PROBLEMS,
        parameters=[components.PREFER],
        body=body,
        error=error,
    )


def list_operation(operation_id: str, summary: str, schema: Schema, error: Schema = ERROR) -> Component:
    """An operation that tells what the service has."""
    return operation(
        operation_id, summary, {200: response("The answer.", schema)}, *components.COMMON_PROBLEMS, error=error
    )


PATHS = {
    "/openai/v1/models": {
        "get": list_operation("openaiModels", "List the models, as OpenAI does.", OPENAI_MODELS, OPENAI_ERROR)
    },
    "/openai/v1/chat/completions": {
        "post": caption_operation(
            "openaiChatCompletions",
            "Caption the pictures of a chat, as OpenAI does.",
            {
                200: {
                    **response("The captions.", COMPLETION),
                    "content": {
                        "application/json": {"schema": COMPLETION},
                        "text/event-stream": {"schema": STRING},
                    },
                }
            },
            json_body(CHAT),
            OPENAI_ERROR,
        )
    },
    "/api/version": {
        "get": list_operation(
            "ollamaVersion",
            "The version of Ollama's API that this service follows.",
            object_schema("The version.", version=STRING),
        )
    },
    "/api/tags": {"get": list_operation("ollamaTags", "List the models, as Ollama does.", TAGS)},
    "/api/show": {
        "post": operation(
            "ollamaShow",
            "Say what a model can do, as Ollama does.",
            {200: response("The model.", SHOWN)},
            *components.WRITE_PROBLEMS,
            problems.MODEL_NOT_FOUND,
            body=json_body(request_schema("The model.", model=MODEL)),
            error=ERROR,
        )
    },
    "/api/generate": {
        "post": caption_operation(
            "ollamaGenerate",
            "Caption pictures, as Ollama does.",
            ollama_answer(response=STRING),
            json_body(
                request_schema(
                    "The pictures.",
                    model=MODEL,
                    prompt=STRING,
                    system=STRING,
                    images={"type": "array", "items": BASE64},
                    stream=STREAM,
                )
            ),
        )
    },
    "/api/chat": {
        "post": caption_operation(
            "ollamaChat",
            "Caption the pictures of a chat, as Ollama does.",
            ollama_answer(message=object_schema("The captions.", role=STRING, content=STRING)),
            json_body(
                request_schema(
                    "A chat. Its last pictures are captioned.",
                    model=MODEL,
                    messages={
                        "type": "array",
                        "items": request_schema(
                            "A message.",
                            ["role"],
                            role=STRING,
                            content=STRING,
                            images={"type": "array", "items": BASE64},
                        ),
                    },
                    stream=STREAM,
                )
            ),
        )
    },
    "/huggingface/image-to-text": {
        "post": caption_operation(
            "huggingfaceImageToText",
            "Caption a picture, as Hugging Face's task `image-to-text` does.",
            {
                200: response(
                    "The caption.",
                    {"type": "array", "items": object_schema("A caption.", generated_text=STRING), "minItems": 1},
                )
            },
            {
                "required": True,
                "content": {
                    "application/json": {"schema": object_schema("The picture.", inputs=BASE64)},
                    "application/octet-stream": {"schema": components.IMAGE_FILE},
                },
            },
        )
    },
    "/api/v1/vision/caption": {
        "post": caption_operation(
            "photoprismCaption",
            "Caption a photograph for PhotoPrism.",
            {
                200: response(
                    "The caption.",
                    object_schema(
                        "The caption.",
                        id=STRING,
                        code=COUNT,
                        model=object_schema("The model.", type=STRING, name=STRING, version=STRING),
                        result=object_schema(
                            "The result.",
                            caption=request_schema(
                                "The caption.",
                                ["text"],
                                text=STRING,
                                confidence={"type": "number", "minimum": 0, "maximum": 1},
                            ),
                        ),
                    ),
                )
            },
            json_body(
                request_schema(
                    "The photograph.",
                    id=STRING,
                    model=MODEL,
                    system=STRING,
                    prompt=STRING,
                    url=STRING,
                    images={"type": "array", "items": BASE64},
                )
            ),
            PHOTOPRISM_ERROR,
        )
    },
}
