"""The configurations of other software in docs/integrations.md suit the running service, as far as can be shown."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlsplit

import openai
import requests
import yaml

from common.settings import PROJECT_ROOT, Settings
from tests.support.agent import call
from tests.support.guide import blocks, section
from tests.support.images import encoded, numbered
from tests.support.service import Service


def data_url(image: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"


def ask(base_url: str, messages: list[Any], **members: Any) -> str:
    """The answer to a chat, as OpenAI's client gets it."""
    with openai.OpenAI(base_url=base_url, api_key="KEY") as client:
        answer = client.chat.completions.create(messages=messages, **members)
    return str(answer.choices[0].message.content)


def test_frigate_gets_a_description_of_an_object(service: Service) -> None:
    override, config = map(yaml.safe_load, blocks("Frigate", "yaml"))
    (provider,) = config["genai"].values()
    base_url = urlsplit(provider["base_url"])
    compose = yaml.safe_load((PROJECT_ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    variable = provider["api_key"].strip("{}")

    assert base_url.hostname in compose["services"]
    assert base_url.hostname in compose["services"]["web"]["environment"]["CAPTIOND_HOSTS"].split(",")
    assert Settings(compat=override["services"]["web"]["environment"]["CAPTIOND_COMPAT"]).compat_protocols == ["openai"]
    assert variable in override["services"]["frigate"]["environment"]
    # As Frigate asks: frigate/genai/plugins/openai.py, `OpenAIClient._send`.
    frames = [{"type": "image_url", "image_url": {"url": data_url(image), "detail": "low"}} for image in numbered(3)]
    content = [{"type": "text", "text": "Analyze the sequence of images containing the person."}, *frames]
    messages = [{"role": "user", "content": content}]
    assert ask(service.url + base_url.path, messages, model=provider["model"], timeout=60)


def test_nextcloud_gets_the_caption_of_a_file(service: Service) -> None:
    rows = [row.strip("| ").split(" | ") for row in section("Nextcloud").splitlines() if row.startswith("|")]
    values = {name: value.strip("`") for name, value in rows}
    base_url = service.url + urlsplit(values["Service URL"]).path
    model = values["Default completion model to use"]

    with openai.OpenAI(base_url=base_url, api_key="KEY") as client:
        assert model in [each.id for each in client.models.list()]
    # As Nextcloud asks: integration_openai, lib/TaskProcessing/AnalyzeImagesProvider.php.
    image = {"type": "image_url", "image_url": {"url": data_url(encoded())}}
    messages = [
        {"role": "system", "content": "Take the user's question and answer it based on the provided images."},
        {"role": "user", "content": [image]},
        {"role": "user", "content": "What is in this picture?"},
    ]
    assert ask(base_url, messages, model=model, n=1, max_tokens=1000, user="alice")


def test_label_studio_s_labelling_configuration_and_settings_are_accepted(service: Service) -> None:
    (config,), (settings,) = blocks("Label Studio", "xml"), blocks("Label Studio", "sh")
    backend = f"{service.url}/label-studio"
    tasks = [{"id": 1, "data": {"image": data_url(encoded())}}]

    assert requests.post(f"{backend}/setup", json={"schema": config}, timeout=10).json().keys() == {"model_version"}
    answer = requests.post(f"{backend}/predict", json={"tasks": tasks, "label_config": config}, timeout=60)
    assert answer.json()["results"][0]["result"][0]["from_name"] == "caption"
    given = dict(line.split("#")[0].strip().split("=") for line in settings.splitlines())
    Settings(**{name.removeprefix("CAPTIOND_").lower(): value for name, value in given.items()})  # type: ignore[arg-type]
    assert all(name in {f"CAPTIOND_{field.upper()}" for field in Settings.model_fields} for name in given)


def test_an_agent_calls_the_tools(service: Service) -> None:
    (text,) = blocks("MCP", "json")
    server = json.loads(text)["mcpServers"]["captiond"]
    url, key = service.url + urlsplit(server["url"]).path, server["headers"]["Authorization"].removeprefix("Bearer ")
    images = [base64.b64encode(image).decode() for image in numbered(2)]

    one = call(url, "caption_image", {"image": images[0]}, key=key)
    many = call(url, "caption_batch", {"images": images}, key=key)

    captions = [each["caption"]["caption"] for each in many.structured_content["results"]]
    assert one.structured_content["caption"] == captions[0]
    assert all(len(caption.split()) >= 3 for caption in captions)
