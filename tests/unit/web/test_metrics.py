"""`/metrics` is valid, the same on every web server, and shows what happened."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

import fakeredis
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from common.jobs import ModelInfo
from common.keyring import Scope
from common.ledger import Components, Ledger, Worker
from common.settings import Settings
from common.translation import Message
from tests.support.images import encoded
from tests.support.keys import add_key
from tests.unit.web.client import MODEL, Client
from web import create_app


def samples(client: Client, **headers: str) -> dict[str, float]:
    """All samples of `/metrics` by name and labels."""
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200
    return {
        sample.name + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def submit(client: Client) -> str:
    return str(client.post("/v1/jobs", data=encoded(), content_type="image/png").json["id"])


def test_a_captioned_and_a_waiting_job_are_shown(client: Client, caption: Callable[[str, str], None]) -> None:
    caption(submit(client), "a dog")
    submit(client)

    shown = samples(client)

    assert shown["captiond_jobs state=succeeded"] == shown["captiond_jobs state=queued"] == 1
    assert shown["captiond_jobs_accepted_total lane=interactive model="] == 2
    assert shown["captiond_queue_jobs lane=interactive model="] == 1
    assert shown["captiond_jobs_ended_total lane=interactive model= state=succeeded"] == 1
    assert shown[f"captiond_model_call_seconds_bucket le=0.25 model={MODEL.name}"] == 1
    assert shown[f"captiond_model_call_seconds_bucket le=0.1 model={MODEL.name}"] == 0
    assert shown[f"captiond_model_call_seconds_sum model={MODEL.name}"] == 0.2
    assert shown["captiond_job_seconds_bucket lane=interactive le=+Inf model="] == 1


def test_refused_requests_are_counted_by_their_problem(client: Client) -> None:
    client.post("/v1/jobs", data=b"no picture", content_type="image/png")
    client.get("/v1/jobs/unknown")

    shown = samples(client)

    assert shown["captiond_requests_refused_total problem=unsupported-image"] == 1
    assert shown["captiond_requests_refused_total problem=job-not-found"] == 1
    assert shown["captiond_requests_refused_total problem=queue-full"] == 0


def test_every_web_server_shows_the_same(client: Client, settings: Settings, redis: Redis) -> None:
    submit(client)
    client.get("/v1/jobs/unknown")

    other = create_app(settings, redis=redis).test_client()

    unequal = "captiond_queue_oldest_seconds lane=interactive model="
    assert samples(other) | {unequal: 0} == samples(client) | {unequal: 0}


def test_live_workers_are_shown(client: Client, components: Components) -> None:
    assert samples(client)["captiond_workers"] == 0

    components.workers.announce(Worker(name="host-1", model=MODEL, pictures_per_second=2.5, memory_bytes=600_000_000))

    shown = samples(client)
    assert shown["captiond_workers"] == 1
    assert shown["captiond_worker_memory_bytes worker=host-1"] == 600_000_000
    assert shown["captiond_worker_pictures_per_second worker=host-1"] == 2.5
    assert 0 <= shown["captiond_worker_heartbeat_age_seconds worker=host-1"] < 10
    assert shown[f"captiond_worker_info model={MODEL.name} model_version={MODEL.version} worker=host-1"] == 1


def test_a_worker_whose_model_s_server_is_unavailable_does_not_caption(client: Client, components: Components) -> None:
    away = Message("The model's server does not answer.")
    components.workers.announce(Worker(name="host-1", model=MODEL, unavailable=away))
    components.workers.announce(Worker(name="host-2", model=MODEL))

    shown = samples(client)

    assert shown[f"captiond_worker_available model={MODEL.name} worker=host-1"] == 0
    assert shown[f"captiond_worker_available model={MODEL.name} worker=host-2"] == 1
    assert shown["captiond_workers"] == 2


def test_without_redis_only_its_absence_is_shown(client: Client, server: fakeredis.FakeServer) -> None:
    assert samples(client)["captiond_redis_up"] == 1

    server.connected = False

    assert samples(client) == {"captiond_redis_up": 0}


def test_a_bucket_of_another_version_s_bounds_is_kept(client: Client, redis: Redis) -> None:
    redis.hset("metrics", mapping={"job:0.1:bulk": 1, "job:0.07:bulk": 2, "job:inf:bulk": 4, "job:sum:bulk": 1})

    shown = samples(client)

    buckets = {
        bound: shown[f"captiond_job_seconds_bucket lane=bulk le={bound} model="] for bound in ("0.05", "0.07", "0.1")
    }
    assert buckets == {"0.05": 0, "0.07": 2, "0.1": 3}
    assert shown["captiond_job_seconds_count lane=bulk model="] == 7


def test_jobs_that_ask_for_a_model_are_shown_by_it(
    client: Client, announce: Callable[[ModelInfo], object], ledger: Ledger
) -> None:
    announce(ModelInfo(name="llava:7b", version="1"))
    query = {"options": '{"model": "llava:7b"}'}
    client.post("/v1/jobs", data=encoded(), content_type="image/png", query_string=query)
    canceled = client.post("/v1/jobs", data=encoded(), content_type="image/png", query_string=query).json["id"]
    ledger.cancel(canceled)

    shown = samples(client)

    assert shown["captiond_jobs_accepted_total lane=interactive model=llava:7b"] == 2
    assert shown["captiond_jobs_ended_total lane=interactive model=llava:7b state=canceled"] == 1
    assert shown["captiond_queue_jobs lane=interactive model=llava:7b"] == 1
    assert shown["captiond_queue_jobs lane=interactive model="] == 0
    assert shown["captiond_chunks_waiting model=llava:7b"] == 0


def test_a_model_s_name_may_contain_any_character(client: Client, redis: Redis, ledger: Ledger) -> None:
    redis.hset("metrics", mapping={'model:0.1:a:b"\n': 1, 'model:sum:a:b"\n': 90})

    assert samples(client)['captiond_model_call_seconds_count model=a:b"\n'] == 1


def test_with_api_keys_the_metrics_need_the_scope_read(
    settings: Settings, redis: Redis, announce: Callable[[ModelInfo], None]
) -> None:
    keys = {scope: add_key(settings, f"key-{scope}", scope) for scope in (Scope.READ, Scope.SUBMIT)}
    client: Client = create_app(settings, redis=redis).test_client()

    status = {
        scope: client.get("/metrics", headers={"Authorization": f"Bearer {key}"}).status_code
        for scope, key in keys.items()
    }

    assert client.get("/metrics").status_code == 401
    assert status == {Scope.READ: 200, Scope.SUBMIT: 403}


def test_no_owner_is_shown(settings: Settings, redis: Redis) -> None:
    key = {"Authorization": f"Bearer {add_key(settings, 'alice')}"}
    client: Client = create_app(settings, redis=redis).test_client()
    client.post("/v1/jobs", data=encoded(), content_type="image/png", headers=key)

    assert "alice" not in client.get("/metrics", headers=key).text


def test_promtool_accepts_the_metrics(
    client: Client, caption: Callable[[str, str], None], announce: Callable[[ModelInfo], None]
) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    announce(MODEL)
    caption(submit(client), "a dog")

    check = subprocess.run(
        [promtool, "check", "metrics"], input=client.get("/metrics").data, capture_output=True, check=False
    )

    assert (check.returncode, check.stdout + check.stderr) == (0, b"")
