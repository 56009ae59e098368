"""The services of docker-compose.yml run in containers: workers are killed and upgraded, and no job is lost."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from common.jobs import Status
from common.settings import Settings
from tests.support.audit import JobAudit, distinct_images
from tests.support.compose import ComposeProject
from tests.support.podman import obstacle, podman
from tests.support.service import Client, wait_until

pytestmark = pytest.mark.skipif(bool(obstacle()), reason=f"Containers cannot run here: the test {obstacle()}.")

#: Images of each of the three batches.
IMAGES = 50
#: A short lease, so that the jobs of a killed worker soon go to another.
ENVIRONMENT = {"CAPTIOND_LEASE_SECONDS": "3", "CAPTIOND_MODEL": "demo", "CAPTIOND_PRECISION": "fp32"}


@pytest.fixture(scope="module")
def project(container_images: Mapping[str, str]) -> Iterator[ComposeProject]:
    running = ComposeProject(f"captiond-test-{os.getpid()}", container_images, ENVIRONMENT)
    try:
        yield running
    finally:
        running.remove()


def test_captions_survive_a_killed_and_an_upgraded_worker(project: ComposeProject) -> None:
    redis, web, worker = project.start("redis"), project.start("web"), project.start("worker")
    url = f"redis://{project.addresses['redis']}:6379/0"
    client = Client(f"http://127.0.0.1:{project.ports['web']}")
    audit = JobAudit(client, Settings(redis_url=url), Path(project.volume_folder("redis")))
    images = distinct_images(3 * IMAGES)
    audit.send(images[:IMAGES])
    wait_until(audit.settled, worker.logs)

    audit.send(images[IMAGES : 2 * IMAGES])
    wait_until(lambda: audit.counts()[Status.PROCESSING])
    worker.kill()
    wait_until(lambda: worker.pid, worker.logs)

    audit.send(images[2 * IMAGES :])
    successor = project.start("worker", "worker-2")
    assert worker.stop() == 0

    outcome = audit.finish("containers: a worker killed, another upgraded", {})
    assert outcome.ok and outcome.succeeded == 3 * IMAGES
    assert max(job.attempts for job in audit.jobs()) == 2
    assert [container.stop() for container in (web, successor, redis)] == [0, 0, 0]


def test_a_worker_without_redis_is_unhealthy(container_images: Mapping[str, str]) -> None:
    options = ["--rm", "--network=none", "--env=CAPTIOND_REDIS_URL=redis://127.0.0.1:1/0"]
    check = ["run", *options, container_images["worker"]]

    assert podman(*check, "python", "-m", "worker.health", check=False).returncode == 1
    assert podman(*check, "python", "-m", "worker.health", "--liveness", check=False).returncode == 0


def test_the_image_has_no_root_user_no_pip_and_nothing_writable(container_images: Mapping[str, str]) -> None:
    def run(*command: str) -> str:
        return podman("run", "--rm", "--network=none", container_images["web"], *command).stdout.strip()

    assert run("id", "-u") == "1000"
    assert run("find", "/app", "/opt", "-writable", "-not", "-type", "l") == ""
    assert run("find", "/opt/captiond", "/app", "-name", "pip", "-o", "-name", "tests", "-o", "-name", ".git") == ""
