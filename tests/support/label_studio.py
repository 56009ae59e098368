"""Runs the real Label Studio, which is installed into a virtual environment of its own: it needs an older redis-py."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from cli.serve import free_port
from tests.support.service import wait_until

VERSION = "1.23.2"
#: Kept between runs, because it has a gigabyte.
ENVIRONMENT = Path(f"/var/tmp/captiond-label-studio-{VERSION}")
TOKEN = "0123456789abcdef0123456789abcdef01234567"
#: Seconds for the migrations of a new database.
START_TIMEOUT = 400
#: Label Studio calls nobody, may call services of this machine, and accepts `TOKEN`, which is of an older kind.
SETTINGS = {
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
    "COLLECT_ANALYTICS": "False",
    "LATEST_VERSION_CHECK": "False",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "USE_DEFAULT_BANNED_SUBNETS": "false",
}


class LabelStudio:
    """A running Label Studio, and its HTTP API as its administrator uses it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Token {TOKEN}"

    def request(self, method: str, path: str, **content: Any) -> Any:
        """Send a request; returns its JSON. Raises `requests.HTTPError`, whose message is the answer."""
        answer = self._session.request(method, self.url + path, timeout=100, **content)
        if not answer.ok:
            raise requests.HTTPError(answer.text)
        return answer.json()

    def create_project(self, config: str, images: list[bytes]) -> int:
        """Create a project with a task for each of the uploaded images; returns its id."""
        project: int = self.request("POST", "/api/projects", json={"title": "Photos", "label_config": config})["id"]
        if not images:
            return project
        files = [(f"file{number}", (f"{number}.jpg", image)) for number, image in enumerate(images)]
        self.request("POST", f"/api/projects/{project}/import", files=files)
        return project

    def connect(self, project: int, url: str, password: str) -> Any:
        """Connect a project to a machine-learning backend; returns the backend as JSON."""
        backend = {
            "project": project,
            "url": url,
            "title": "captiond",
            "auth_method": "BASIC_AUTH",
            "basic_auth_user": "anybody",
            "basic_auth_pass": password,
        }
        return self.request("POST", "/api/ml", json=backend)

    def retrieve_predictions(self, project: int) -> list[list[dict[str, Any]]]:
        """Retrieve predictions for all tasks, as the button of that name does; returns those of each task."""
        path = f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}"
        self.request("POST", path, json={"selectedItems": {"all": True, "excluded": []}})
        tasks = self.request("GET", f"/api/tasks?project={project}&fields=all&ordering=id")["tasks"]
        return [task["predictions"] for task in tasks]

    def close(self) -> None:
        self._session.close()


@contextmanager
def running_label_studio(data: Path) -> Iterator[LabelStudio]:
    """Install Label Studio unless it is, and run it with an empty database."""
    program = ENVIRONMENT / "bin/label-studio"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        install = [str(ENVIRONMENT / "bin/pip"), "install", "--quiet", f"label-studio=={VERSION}"]
        subprocess.run(install, check=True)
    port = free_port()
    command = [str(program), "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
    user = ["--username", "admin@example.com", "--password", "label-studio", "--user-token", TOKEN]
    environment = {"PATH": os.environ["PATH"], "HOME": str(data), **SETTINGS}
    with (data / "label-studio.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--data-dir", str(data), *user], env=environment, cwd=data, stdout=log, stderr=subprocess.STDOUT
        )
    label_studio = LabelStudio(f"http://127.0.0.1:{port}")
    try:
        wait_until(
            lambda: process.poll() is not None or _is_up(label_studio.url),
            (data / "label-studio.log").read_text,
            START_TIMEOUT,
        )
        assert process.poll() is None, (data / "label-studio.log").read_text()
        yield label_studio
    finally:
        label_studio.close()
        process.kill()
        process.wait()


def _is_up(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=5).ok
    except requests.RequestException:
        return False
