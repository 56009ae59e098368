"""The servers that the service benchmark compares: starts each as processes, sends images, reads its peak memory."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.clients import TIMEOUT, Load, send
from cli.serve import free_port
from common import strict_json

#: Seconds a server may take to load the model and answer.
START_TIMEOUT = 180.0

#: Environment variables for a process, in addition to those of this one.
Variables = Mapping[str, object]


@dataclass(frozen=True)
class Contender:
    """A running server.

    `url` accepts images, which `encode` converts to a request body of `content_type`. `ready_url` answers when the
    server is ready.
    """

    name: str
    url: str
    ready_url: str
    processes: Sequence[subprocess.Popen[bytes]]
    log: Path
    encode: Callable[[bytes], bytes] = bytes
    content_type: str = "image/jpeg"

    def caption(self, images: Sequence[bytes], clients: int) -> Load:
        """Caption all images with `clients` clients and return the latencies."""
        return send(self.url, [self.encode(image) for image in images], clients, content_type=self.content_type)

    def wait_ready(self) -> None:
        """Wait until `ready_url` answers a GET with any status but 503.

        Raises RuntimeError with the end of the log when a process ended, TimeoutError after `START_TIMEOUT`.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            if any(process.poll() is not None for process in self.processes):
                raise RuntimeError(f"{self.name} ended before it was ready:\n{self.log.read_text()[-2000:]}")
            if time.monotonic() > deadline:
                tail = self.log.read_text()[-2000:]
                raise TimeoutError(f"{self.name} is not ready after {START_TIMEOUT:.0f} s:\n{tail}")
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.ready_url, timeout=5):
                return True
        except urllib.error.HTTPError as error:
            return error.code != 503  # a route that accepts only POST answers a GET with 404 or 405
        except OSError:
            return False

    def peak_megabytes(self) -> float:
        """Sum of the peak resident memory of its processes and their descendants."""
        return sum(_peak_kilobytes(process.pid) for process in self._process_tree()) / 1024

    def stop(self) -> None:
        """Terminate its processes, kill those that still run after a minute, and kill remaining descendants."""
        tree = self._process_tree()
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for descendant in tree:
            if descendant.is_running():
                descendant.kill()

    def _process_tree(self) -> list[psutil.Process]:
        roots = [psutil.Process(process.pid) for process in self.processes if process.poll() is None]
        return [process for root in roots for process in (root, *root.children(recursive=True))]


class EngineOnly(Contender):
    """The engine without a service around it: many clients' images are sent in one request."""

    def caption(self, images: Sequence[bytes], clients: int) -> Load:
        requests = [[image] for image in images] if clients == 1 else [images]
        runs = [(self._seconds(request), len(request)) for request in requests]
        return Load([seconds for seconds, count in runs for _ in range(count)], sum(seconds for seconds, _ in runs))

    def _seconds(self, images: Sequence[bytes]) -> float:
        body = strict_json.dumps({"images": [base64.b64encode(image).decode() for image in images]}).encode()
        request = urllib.request.Request(self.url, data=body, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            return float(json.load(response)["seconds"])


def captiond(name: str, folder: Path, variables: Variables) -> Contender:
    """The whole captiond service, with its data and log in `folder`."""
    port, log = free_port(), folder / f"{name}.log"
    command = ["-m", "cli.main", "serve", "--port", str(port), "--data", str(folder / name)]
    base = f"http://127.0.0.1:{port}"
    return Contender(name, f"{base}/v1/jobs", f"{base}/readyz/captioning", [_launch(command, log, variables)], log)


def peer(name: str, module: str, folder: Path, variables: Variables, *, redis: Path) -> Contender:
    """One of `benchmarks.peers`. `redis` is the socket of the Redis that plain_celery uses as broker (database 5)."""
    port, log, path = free_port(), folder / f"{name}.log", f"benchmarks.peers.{module}"
    variables = {**variables, "BENCHMARK_PORT": port}
    processes = []
    if module == "plain_celery":
        variables["BENCHMARK_BROKER"] = f"redis+socket://{redis}?virtual_host=5"
        worker = ["-m", "celery", "-A", path, "worker", "--pool", "solo", "--loglevel", "WARNING"]
        processes.append(_launch(worker, log, variables))
    processes.append(_launch(["-m", path], log, variables))
    url = f"http://127.0.0.1:{port}/caption"
    if module == "litserve_peer":
        return Contender(name, url, url, processes, log, encode=_as_json, content_type="application/json")
    return (EngineOnly if module == "engine" else Contender)(name, url, url, processes, log)


def _as_json(image: bytes) -> bytes:
    return strict_json.dumps({"image": base64.b64encode(image).decode()}).encode()


def _launch(command: Sequence[str], log: Path, variables: Variables) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    with log.open("ab") as file:
        return subprocess.Popen([sys.executable, *command], env=environment, stdout=file, stderr=subprocess.STDOUT)


def _peak_kilobytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
