"""Label Studio's labelling configurations: which text area is for the caption of which picture.

A configuration is XML with an object tag for what is shown and a control tag for what is asked, such as `Image` and
`TextArea` (https://labelstud.io/tags/image, https://labelstud.io/tags/textarea).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from common import problems
from common.jobs import Job, ModelInfo


@dataclass(frozen=True)
class CaptionArea:
    """A text area for captions: its name, that of its picture, and the member of a task's data that is the picture."""

    name: str
    picture_name: str
    data_key: str

    def prediction(self, job: Job) -> dict[str, Any]:
        """A captioned job as Label Studio's prediction (https://labelstud.io/guide/predictions)."""
        assert job.output is not None and job.model is not None
        return {
            "model_version": model_version(job.model),
            "score": job.output.confidence,
            "result": [
                {
                    "from_name": self.name,
                    "to_name": self.picture_name,
                    "type": "textarea",
                    "value": {"text": [job.caption]},
                }
            ],
        }


def caption_area(config: Any) -> CaptionArea:
    """The first text area for a picture in a labelling configuration. Raises `bad-request` if it has none."""
    if not isinstance(config, str) or "<!DOCTYPE" in config:
        raise problems.BAD_REQUEST("The labelling configuration must be text, and have no DOCTYPE.")
    try:
        tags = list(ElementTree.fromstring(config).iter())
    except ElementTree.ParseError as error:
        raise problems.BAD_REQUEST("The labelling configuration is no valid XML.") from error
    pictures = {
        tag.get("name"): value.removeprefix("$")
        for tag in tags
        if tag.tag.lower() == "image" and (value := tag.get("value"))
    }
    for tag in tags:
        name, picture = tag.get("name"), tag.get("toName")
        if tag.tag.lower() == "textarea" and name and picture and picture in pictures:
            return CaptionArea(name, picture, pictures[picture])
    raise problems.BAD_REQUEST("The labelling configuration needs an Image, and a TextArea for it.")


def model_version(model: ModelInfo) -> str:
    """The model as Label Studio shows it: its name and twelve digits of its digest.

    A task without a prediction of this version is asked for again.
    """
    return f"{model.name} {model.version.removeprefix('sha256:')[:12]}"
