"""`PATCH /v1/jobs`: captions that people write."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from tests.support.images import numbered
from tests.unit.web.client import Client
from web.api.edits import MAX_CAPTION_LENGTH, MAX_EDITS

#: An id that no job has.
UNKNOWN = "019ddc1a-53f0-7c52-a5f0-2b8e6a9d1c33"


@pytest.fixture
def jobs(client: Client, caption: Callable[[str, str], None]) -> list[str]:
    """Two jobs with captions and one that waits."""
    ids = [client.post("/v1/jobs", data={"image": (io.BytesIO(image), "a.jpg")}).json["id"] for image in numbered(3)]
    for job in ids[:2]:
        caption(job, "a red ball")
    return ids


class TestOne:
    def test_the_edited_caption_is_beside_the_model_s_until_it_is_removed(
        self, client: Client, jobs: list[str]
    ) -> None:
        before = client.get(f"/v1/jobs/{jobs[0]}")

        edited = client.patch(f"/v1/jobs/{jobs[0]}", json={"caption": "my ball"})

        assert edited.status_code == 200
        assert edited.json["edited"]["caption"] == "my ball"
        assert edited.json["edited"]["at"] >= edited.json["completed_at"]
        assert edited.json["output"]["caption"] == "a red ball"
        assert client.get(f"/v1/jobs/{jobs[0]}").json == edited.json
        assert client.patch(f"/v1/jobs/{jobs[0]}", json={"caption": None}).json == before.json

    def test_an_edit_changes_the_etag(self, client: Client, jobs: list[str]) -> None:
        path = f"/v1/jobs/{jobs[0]}"
        etag = client.get(path).headers["ETag"]

        client.patch(path, json={"caption": "my ball"})

        assert client.get(path, headers={"If-None-Match": etag}).status_code == 200

    def test_white_space_of_a_pasted_caption_becomes_single_spaces(self, client: Client, jobs: list[str]) -> None:
        answer = client.patch(f"/v1/jobs/{jobs[0]}", json={"caption": "  my\r\n\tball\u00a0! "})

        assert answer.json["edited"]["caption"] == "my ball\u00a0!"

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"caption": ""},
            {"caption": " \n "},
            {"caption": 5},
            {"caption": "a" * (MAX_CAPTION_LENGTH + 1)},
            {"caption": "bell \x07"},
            {"caption": "half a pair \ud800"},
            {"caption": "noncharacter \uffff"},
            {"caption": "a", "other": 1},
            ["caption"],
        ],
        ids=str,
    )
    def test_what_is_no_caption_is_refused(self, client: Client, jobs: list[str], body: object) -> None:
        answer = client.patch(f"/v1/jobs/{jobs[0]}", json=body)

        assert (answer.status_code, answer.json["type"]) == (400, "/problems/bad-request")
        assert client.get(f"/v1/jobs/{jobs[0]}").json["edited"] is None

    def test_the_longest_caption_is_accepted(self, client: Client, jobs: list[str]) -> None:
        answer = client.patch(f"/v1/jobs/{jobs[0]}", json={"caption": "ä" * MAX_CAPTION_LENGTH})

        assert len(answer.json["edited"]["caption"]) == MAX_CAPTION_LENGTH

    def test_a_job_that_has_not_succeeded_is_a_conflict(self, client: Client, jobs: list[str]) -> None:
        answer = client.patch(f"/v1/jobs/{jobs[2]}", json={"caption": "my ball"})

        assert (answer.status_code, answer.json["type"]) == (409, "/problems/not-captioned")


class TestMany:
    def test_captions_are_set_and_removed_together(self, client: Client, jobs: list[str]) -> None:
        client.patch(f"/v1/jobs/{jobs[1]}", json={"caption": "my ball"})

        answer = client.patch("/v1/jobs", json={"captions": {jobs[1]: None, jobs[0]: "another ball"}})

        edits = [(job["id"], job["edited"] and job["edited"]["caption"]) for job in answer.json["jobs"]]
        assert edits == [(jobs[1], None), (jobs[0], "another ball")]

    @pytest.mark.parametrize(("other", "slug"), [(2, "not-captioned"), (None, "job-not-found")])
    def test_nothing_changes_if_one_cannot_be_changed(
        self, client: Client, jobs: list[str], other: int | None, slug: str
    ) -> None:
        refused = UNKNOWN if other is None else jobs[other]

        answer = client.patch("/v1/jobs", json={"captions": {jobs[0]: "my ball", refused: "my cat"}})

        assert answer.json["type"] == f"/problems/{slug}"
        assert refused in answer.json["detail"]
        assert client.get(f"/v1/jobs/{jobs[0]}").json["edited"] is None

    @pytest.mark.parametrize(
        "captions",
        [
            {},
            [],
            None,
            {"job": "a"},
            {UNKNOWN: 5},
            {f"019ddc1a-53f0-7c52-a5f0-{number:012x}": "a" for number in range(MAX_EDITS + 1)},
        ],
        ids=["none", "a list", "null", "no id", "no text", "too many"],
    )
    def test_an_invalid_request_is_refused(self, client: Client, captions: object) -> None:
        answer = client.patch("/v1/jobs", json={"captions": captions})

        assert (answer.status_code, answer.json["type"]) == (400, "/problems/bad-request")
