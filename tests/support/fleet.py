"""A fleet: two web servers, three workers, three Redis servers with Sentinels and an S3 store, each on its own machine.

All programs but the store run in containers of their own, from the images of the compose file. A relay on the machines
of Redis and the store delays what others exchange with these.
"""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Mapping
from typing import Any

from redis import RedisError

from common.ledger import Components, connect
from common.settings import Settings, variable
from tests.support.compose import options
from tests.support.machines import Machine, Network
from tests.support.podman import Container
from tests.support.replication import REPLICATED, SERVICE, RedisNode, monitoring
from tests.support.service import Client, wait_until

#: Seconds of latency in each direction.
LATENCY = 0.005
REDIS_PORT, RELAY_PORT, SENTINEL_PORT, STORE_PORT, STORE_RELAY_PORT, WEB_PORT = 6379, 6380, 26379, 5000, 5001, 8080


class RedisContainer(RedisNode):
    """A Redis server or Sentinel in a container, with its files in a folder of the machine."""

    def __init__(
        self, machine: Machine, name: str, image: str, port: int, directives: Mapping[str, str], sentinel: bool = False
    ) -> None:
        folder = machine.folder / name
        super().__init__(folder, "redis-server", directives, sentinel=sentinel, host=machine.address, port=port)
        self._container = machine.container(name, f"--volume={folder}:{folder}", image, *self.command)

    def start(self) -> None:
        """Start the container and wait until the server answers."""
        self._container.start()
        wait_until(self.answers, self.log, timeout=20)

    def kill(self) -> None:
        """End the server with SIGKILL. The container does not start again by itself."""
        self._container.kill()

    def log(self) -> str:
        return self._container.logs()


class RedisMachine:
    """A machine with a Redis server, which others reach with latency, and a Sentinel."""

    def __init__(self, machine: Machine, image: str, primary: str) -> None:
        self._machine = machine
        address = machine.address
        announced = {"replica-announce-ip": address, "replica-announce-port": str(RELAY_PORT)}
        directives = {**REPLICATED, **announced, "auto-aof-rewrite-percentage": "0"}
        if address != primary:
            directives["replicaof"] = f"{primary} {RELAY_PORT}"
        monitor = {"sentinel announce-ip": address, **monitoring(primary, RELAY_PORT, quorum=2)}
        self.redis = RedisContainer(machine, "redis", image, REDIS_PORT, directives)
        self.sentinel = RedisContainer(machine, "sentinel", image, SENTINEL_PORT, monitor, sentinel=True)

    def start(self) -> None:
        """Start Redis, the relay through which others reach it, and the Sentinel."""
        self.redis.start()
        start_relay(self._machine, RELAY_PORT, REDIS_PORT)
        self.sentinel.start()


class Fleet:
    """All machines. `images` are those of `compose.build_images`; `settings` also reach Redis from this machine."""

    def __init__(self, network: Network, images: Mapping[str, str], **settings: Any) -> None:
        self._images = images
        machines = [network.machine(f"redis-{number}") for number in range(3)]
        self.redis = [RedisMachine(machine, images["redis"], machines[0].address) for machine in machines]
        self.store = network.machine("store")
        self._web_machines = [network.machine(f"web-{number}") for number in range(2)]
        self.worker_machines = [network.machine(f"worker-{number}") for number in range(3)]
        self.workers: list[Container] = []
        sentinels = ",".join(f"{machine.address}:{SENTINEL_PORT}" for machine in machines)
        settings |= {"redis_url": f"sentinel://{sentinels}/{SERVICE}/0", "uploads_url": "s3://captiond/uploads"}
        self.settings = Settings(**settings)
        self._environment = {
            **{variable(name): str(value) for name, value in settings.items()},
            "AWS_ENDPOINT_URL": f"http://{self.store.address}:{STORE_RELAY_PORT}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "OMP_NUM_THREADS": "1",
        }

    def start(self) -> None:
        """Start everything, and wait until images are accepted and three workers are alive."""
        for redis in self.redis:
            redis.start()
        self.store.start([sys.executable, "-m", "moto.server", "-H", "0.0.0.0", "-p", str(STORE_PORT)])
        start_relay(self.store, STORE_RELAY_PORT, STORE_PORT)
        wait_until(self._create_bucket, self.store.log)
        wait_until(self._replicated, self.redis[0].sentinel.log)
        webs = [self._start(machine, "web") for machine in self._web_machines]
        self.workers = [self._start(machine, "worker") for machine in self.worker_machines]
        wait_until(lambda: all(client.get("/readyz")[0] == 200 for client in self.clients()), webs[0].logs)
        workers = Components(connect(self.settings.redis_location), self.settings).workers
        wait_until(lambda: len(workers.alive()) == len(self.workers), self.workers[0].logs)

    def replace_worker(self, number: int) -> int:
        """Stop the container of a worker with SIGTERM and start another. Return the exit code of the first."""
        exit_code = self.workers[number].stop()
        self.workers[number].remove()
        self.workers[number] = self._start(self.worker_machines[number], "worker")
        return exit_code

    def clients(self) -> list[Client]:
        """A client of each web server."""
        return [Client(f"http://{machine.address}:{WEB_PORT}") for machine in self._web_machines]

    def primary(self) -> RedisNode:
        """The Redis that a Sentinel names as primary."""
        for machine in self.redis:
            try:
                with machine.sentinel.client() as client:
                    address, _port = client.sentinel_get_master_addr_by_name(SERVICE)
            except RedisError:
                continue
            return next(each.redis for each in self.redis if each.redis.host == address)
        raise LookupError("No Sentinel answers.")

    def _start(self, machine: Machine, service: str) -> Container:
        container = machine.container(service, *options(service, self._environment), self._images[service])
        container.start()
        return container

    def _create_bucket(self) -> bool:
        url = f"http://{self.store.address}:{STORE_RELAY_PORT}/captiond"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=5):
                return True
        except OSError:
            return False

    def _replicated(self) -> bool:
        """Whether all replicas are connected, and each Sentinel knows the replicas and the other Sentinels."""
        try:
            for machine in self.redis:
                with machine.sentinel.client() as client:
                    state = client.sentinel_master(SERVICE)
                if (state["num-slaves"], state["num-other-sentinels"]) != (2, 2):
                    return False
            with self.redis[0].redis.client() as client:
                return bool(client.info("replication")["connected_slaves"] == 2)
        except RedisError:
            return False


def start_relay(machine: Machine, port: int, target_port: int) -> None:
    """Let other machines reach `target_port` of a machine at `port`, with latency."""
    machine.start([sys.executable, "-m", "tests.support.relay", str(port), str(target_port), str(LATENCY)])
