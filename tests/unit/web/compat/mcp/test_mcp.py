"""Agents have pictures captioned by the tools of the MCP server, as its SDK's own client sees them."""

from __future__ import annotations

import json
from collections.abc import Callable

import fakeredis
import pytest
from mcp import MCPError

from common.settings import Settings
from tests.support.agent import LEGACY, MODERN, call, connected
from tests.support.images import numbered
from tests.support.keys import add_key
from tests.unit.web.client import MODEL, Client
from tests.unit.web.compat.requests import in_base64


@pytest.mark.usefixtures("worker")
class TestTools:
    @pytest.mark.parametrize("mode", [MODERN, LEGACY])
    def test_a_picture_is_captioned_in_each_revision_of_the_protocol(self, url: str, client: Client, mode: str) -> None:
        result = call(url, "caption_image", {"image": in_base64()}, mode=mode)

        (job,) = client.get("/v1/jobs").json["jobs"]
        expected = {"job": job["id"], "caption": "a red ball", "confidence": 0.3, "alternatives": []}
        assert (result.is_error, result.structured_content) == (False, expected)
        assert json.loads(result.content[0].text) == expected

    def test_an_agent_is_told_the_tools_and_their_options(self, url: str) -> None:
        image, batch = connected(url, lambda client: client.list_tools()).tools

        assert (image.name, batch.name) == ("caption_image", "caption_batch")
        assert image.input_schema["required"] == ["image"]
        assert "template" in image.input_schema["properties"]["options"]["properties"]
        assert batch.description.startswith("Describe up to 100 pictures")

    def test_options_are_those_of_the_api(self, url: str) -> None:
        options = {"template": "a photo of {caption}"}

        result = call(url, "caption_image", {"image": in_base64(), "options": options})

        assert result.structured_content["caption"] == "a photo of a red ball"

    def test_of_several_pictures_a_broken_one_does_not_keep_the_others_from_their_captions(self, url: str) -> None:
        images = [*map(in_base64, numbered(2)), "AAAA", "https://example.com/a.jpg"]

        *captioned, broken, remote = call(url, "caption_batch", {"images": images}).structured_content["results"]

        assert [each["caption"]["caption"] for each in captioned] == ["a red ball", "a red ball"]
        assert broken["error"].startswith("The file is not a picture")
        assert remote["error"].startswith("This service does not download pictures")

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ({}, "Argument image: Field required"),
            ({"image": "AAAA"}, "The file is not a picture in a supported format."),
            ({"image": in_base64(), "options": {"beamz": 1}}, "`options` has no member 'beamz'."),
        ],
    )
    def test_an_agent_can_read_what_is_wrong(self, url: str, arguments: dict[str, object], sentence: str) -> None:
        result = call(url, "caption_image", arguments)

        assert result.is_error
        assert result.content[0].text.startswith(sentence)

    def test_an_unknown_tool_is_an_error_of_the_protocol(self, url: str) -> None:
        with pytest.raises(MCPError, match="There is no tool 'paint'"):
            call(url, "paint", {})


@pytest.mark.usefixtures("no_wait")
def test_an_agent_gets_a_caption_that_was_not_ready_the_next_time(
    url: str, client: Client, announce: Callable[..., None], caption: Callable[[str, str], None]
) -> None:
    announce(MODEL)
    first, second = map(in_base64, numbered(2))
    assert "Send the same request again" in call(url, "caption_image", {"image": first}).content[0].text
    (job,) = client.get("/v1/jobs").json["jobs"]
    caption(job["id"], "a red ball")

    ready, waiting = call(url, "caption_batch", {"images": [first, second]}).structured_content["results"]

    assert ready["caption"]["caption"] == "a red ball"
    assert "Send the same request again" in waiting["error"]


class TestAccess:
    @pytest.mark.usefixtures("worker")
    def test_a_tool_acts_for_the_owner_of_its_key(
        self, start: Callable[[], str], client: Client, settings: Settings
    ) -> None:
        secrets = {name: add_key(settings, name) for name in ("alice", "bob")}
        client.application.extensions["captiond"].keyring.reload()

        call(start(), "caption_image", {"image": in_base64()}, key=secrets["alice"])

        seen = {
            name: len(client.get("/v1/jobs", headers={"Authorization": f"Bearer {secret}"}).json["jobs"])
            for name, secret in secrets.items()
        }
        assert seen == {"alice": 1, "bob": 0}

    def test_without_its_key_an_agent_is_told_to_send_one(self, start: Callable[[], str], settings: Settings) -> None:
        add_key(settings, "alice")

        with pytest.raises(MCPError, match="Send an API key as `Authorization: Bearer KEY`"):
            call(start(), "caption_image", {"image": in_base64()})

    def test_an_outage_is_an_error_of_the_protocol_without_details(
        self, url: str, server: fakeredis.FakeServer
    ) -> None:
        server.connected = False

        with pytest.raises(MCPError, match="The job store is unavailable"):
            call(url, "caption_image", {"image": in_base64()}, mode=LEGACY)


def test_there_is_no_stream_of_events(client: Client) -> None:
    assert client.get("/mcp", headers={"Accept": "text/event-stream"}).status_code == 405


@pytest.mark.parametrize("headers", [{"Content-Type": "text/plain"}, {"Accept": "text/html"}])
def test_a_message_that_is_no_json_is_refused_as_an_error_of_the_protocol(
    client: Client, headers: dict[str, str]
) -> None:
    answer = client.post("/mcp", data="{}", headers={"MCP-Protocol-Version": "2026-07-28", **headers})

    assert (answer.status_code, answer.json["error"]["code"]) == (400, -32600)
    assert answer.json["error"]["message"] == "An MCP client must send its message as JSON, and accept JSON."
