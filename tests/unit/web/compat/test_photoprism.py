"""PhotoPrism's vision service. The answers are read by the JSON tags of PhotoPrism's Go structs.

Source: `internal/ai/vision/api_response.go` and `model.go` of github.com/photoprism/photoprism.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from common.jobs import ModelInfo
from common.settings import PROJECT_ROOT, Settings
from tests.support.contract import assert_valid_response
from tests.support.images import encoded
from tests.support.receiver import running_receiver, with_status
from tests.unit.web.client import MODEL, Client
from tests.unit.web.compat.requests import in_base64
from web import create_app

PATH = "/api/v1/vision/caption"

#: Types of the structs' fields by their JSON tags. Go refuses another type, and ignores other fields.
CAPTION = {"text": str, "source": str, "confidence": float}
MODEL_STRUCT = {"type": str, "default": bool, "name": str, "version": str, "resolution": int}
RESPONSE = {"id": str, "code": int, "error": str, "model": MODEL_STRUCT, "result": {"caption": CAPTION}}


def request_of(**members: Any) -> dict[str, Any]:
    """`ApiRequest` as PhotoPrism sends it for a caption."""
    return {
        "id": "b7d4d9a5-9a3b-4a3a-8d7b-7b3b0d7d7f0e",
        "model": "captiond:latest",
        "version": "latest",
        "suffix": "",
        "stream": False,
        "images": [f"data:image/jpeg;base64,{in_base64()}"],
        **members,
    }


def assert_fits(value: Any, struct: Any) -> None:
    """Fail unless Go decodes the JSON value into the struct, without ignoring a field."""
    if isinstance(struct, dict):
        assert value.keys() <= struct.keys()
        for name, member in value.items():
            assert_fits(member, struct[name])
    else:
        assert isinstance(value, struct)


@pytest.mark.usefixtures("worker")
def test_the_answer_fits_photoprism_s_structs(client: Client) -> None:
    sent = request_of()

    answer = client.post(PATH, json=sent)

    assert_valid_response(answer)
    assert_fits(answer.json, RESPONSE)
    assert answer.json == {
        "id": sent["id"],
        "code": 200,
        "model": {"type": "caption", "name": MODEL.name, "version": MODEL.version},
        "result": {"caption": {"text": "a red ball", "confidence": 0.3}},
    }


def test_the_guide_s_configuration_has_photoprism_s_fields_and_this_route() -> None:
    """Sources: `Model` in `model.go` and `Service` in `service.go`; the formats in `api_format.go`."""
    guide = (PROJECT_ROOT / "docs/integrations.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^## PhotoPrism$.*?^```yaml\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)

    (model,) = yaml.safe_load(block)["Models"]

    service = model.pop("Service")
    assert model == {"Type": "caption", "Name": "captiond", "Resolution": 720}
    assert urlsplit(service.pop("Uri")).path == PATH
    assert service.pop("Key").startswith("captiond_")
    assert service == {"FileScheme": "data", "RequestFormat": "vision", "ResponseFormat": "vision"}


@pytest.mark.usefixtures("worker")
def test_a_photograph_may_be_named_by_url(client: Client, settings: Settings, redis: Any) -> None:
    fetching = settings.model_copy(update={"fetch_urls": True, "allow_local_urls": True})
    downloading: Client = create_app(fetching, redis=redis).test_client()
    with running_receiver(with_status(200, encoded(), Content_Type="image/jpeg")) as server:
        answer = downloading.post(PATH, json=request_of(images=None, url=server.url("/dl/1")))

    assert answer.json["result"]["caption"]["text"] == "a red ball"


@pytest.mark.usefixtures("no_wait")
def test_a_model_with_instructions_is_told_the_configured_prompt(client: Client, announce: Callable[..., None]) -> None:
    announce(ModelInfo(name="gemma3:4b", version="sha256:2a", instructions=True))

    client.post(PATH, json=request_of(system="Be brief.", prompt="Describe the photo."))

    (job,) = client.get("/v1/jobs").json["jobs"]
    assert job["options"] == {"instruction": "Be brief.\nDescribe the photo."}


@pytest.mark.parametrize("members", [{"images": None}, {"images": {}}, {"images": [1]}, {"id": 7}])
def test_an_invalid_request_is_refused_in_photoprism_s_shape(client: Client, members: dict[str, Any]) -> None:
    answer = client.post(PATH, json=request_of(**members))

    assert_fits(answer.json, RESPONSE)
    assert answer.json["code"] == answer.status_code == 400
    assert answer.json["error"]
