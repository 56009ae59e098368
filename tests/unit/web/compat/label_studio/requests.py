"""Requests as Label Studio sends them."""

from __future__ import annotations

from typing import Any

from tests.unit.web.client import Client

CONFIG = '<View><Image name="photo" value="$image"/><TextArea name="caption" toName="photo"/></View>'


def task(task_id: int, image: object) -> dict[str, Any]:
    """A task with a picture, with the members that matter and one that does not."""
    return {"id": task_id, "data": {"image": image}, "is_labeled": False}


def predict(client: Client, *tasks: object, config: object = CONFIG) -> Any:
    """Ask for predictions of tasks; returns the response."""
    request = {"tasks": tasks, "project": "1.1700000000", "label_config": config, "params": {"context": None}}
    return client.post("/label-studio/predict", json=request)
