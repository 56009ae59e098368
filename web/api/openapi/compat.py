"""Operations in the protocols of other software."""

from __future__ import annotations

from common import problems
from web.api.openapi import components
from web.api.openapi.components import Component, operation, response
from web.api.openapi.schemas import STRING, Schema, object_schema

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
    problems.CAPTION_PENDING,
    problems.NOT_CAPTIONED,
    problems.CAPTION_FAILED,
    problems.WORKER_LOST,
)

#: The error of Hugging Face's, Ollama's and other protocols.
ERROR = object_schema("An error.", error=STRING)
#: A picture in base64.
BASE64: Schema = {"type": "string", "description": "A picture in base64."}


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


PATHS = {
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
}
