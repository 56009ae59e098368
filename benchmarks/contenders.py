"""Starts what is measured as processes of their own, has them caption, and asks how much memory they hold."""

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
PATIENCE = 180.0

#: Environment variables that are added to a process's own.
Variables = Mapping[str, object]


@dataclass(frozen=True)
class Contender:
    """A running server: where pictures go, how they are written, where it says that it is ready, its processes."""

    name: str
    url: str
    ready: str
    processes: Sequence[subprocess.Popen[bytes]]
    log: Path
    write: Callable[[bytes], bytes] = bytes
    kind: str = "image/jpeg"

    def caption(self, pictures: Sequence[bytes], clients: int) -> Load:
        """How long it takes to caption all pictures for so many clients."""
        return send(self.url, [self.write(picture) for picture in pictures], clients, kind=self.kind)

    def wait_ready(self) -> None:
        """Wait until a request is answered, whatever the answer to a GET is.

        Raises RuntimeError with the end of its log when a process ended, TimeoutError after `PATIENCE`.
        """
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if any(process.poll() is not None for process in self.processes):
                raise RuntimeError(f"{self.name} ended before it was ready:\n{self.log.read_text()[-2000:]}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} is not ready after {PATIENCE:.0f} s:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.ready, timeout=5):
                return True
        except urllib.error.HTTPError as error:
            return error.code != 503  # an address that takes only POST answers 404 or 405, and is there
        except OSError:
            return False

    def peak_megabytes(self) -> float:
        """The most memory that its processes, and theirs, have held."""
        return sum(_peak_kilobytes(each.pid) for each in self._family()) / 1024

    def stop(self) -> None:
        """End its processes, by force those that do not within a minute, and what they leave behind."""
        family = self._family()
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for each in family:
            if each.is_running():
                each.kill()

    def _family(self) -> list[psutil.Process]:
        tops = [psutil.Process(process.pid) for process in self.processes if process.poll() is None]
        return [each for top in tops for each in (top, *top.children(recursive=True))]


class EngineOnly(Contender):
    """The engine with nothing around it, which gets what one client or many send as one piece of work."""

    def caption(self, pictures: Sequence[bytes], clients: int) -> Load:
        pieces = [[picture] for picture in pictures] if clients == 1 else [pictures]
        taken = [(self._seconds(piece), len(piece)) for piece in pieces]
        return Load([seconds for seconds, count in taken for _ in range(count)], sum(seconds for seconds, _ in taken))

    def _seconds(self, pictures: Sequence[bytes]) -> float:
        body = strict_json.dumps({"images": [base64.b64encode(picture).decode() for picture in pictures]}).encode()
        posted = urllib.request.Request(self.url, data=body, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(posted, timeout=TIMEOUT) as response:
            return float(json.load(response)["seconds"])


def captiond(name: str, folder: Path, variables: Variables) -> Contender:
    """Our whole service, with its data and log in `folder`."""
    port, log = free_port(), folder / f"{name}.log"
    command = ["-m", "cli.main", "serve", "--port", str(port), "--data", str(folder / name)]
    home = f"http://127.0.0.1:{port}"
    return Contender(name, f"{home}/v1/jobs", f"{home}/readyz", [_launch(command, log, variables)], log)


def peer(name: str, module: str, folder: Path, variables: Variables, *, redis: Path) -> Contender:
    """One of `benchmarks.peers`; the one that needs a broker takes a database of this Redis, named by its socket."""
    port, log, place = free_port(), folder / f"{name}.log", f"benchmarks.peers.{module}"
    variables = {**variables, "BENCHMARK_PORT": port}
    processes = []
    if module == "plain_celery":
        variables["BENCHMARK_BROKER"] = f"redis+socket://{redis}?virtual_host=5"
        worker = ["-m", "celery", "-A", place, "worker", "--pool", "solo", "--loglevel", "WARNING"]
        processes.append(_launch(worker, log, variables))
    processes.append(_launch(["-m", place], log, variables))
    url = f"http://127.0.0.1:{port}/caption"
    if module == "lit":
        return Contender(name, url, url, processes, log, write=_as_json, kind="application/json")
    return (EngineOnly if module == "engine" else Contender)(name, url, url, processes, log)


def _as_json(picture: bytes) -> bytes:
    return strict_json.dumps({"image": base64.b64encode(picture).decode()}).encode()


def _launch(command: Sequence[str], log: Path, variables: Variables) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    with log.open("ab") as file:
        return subprocess.Popen([sys.executable, *command], env=environment, stdout=file, stderr=subprocess.STDOUT)


def _peak_kilobytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
