"""Clients of other software ask the running service: real Redis, real worker, demo model."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import huggingface_hub
import ollama
import openai
import psutil
import requests

from tests.support.images import drawing, encoded, numbered
from tests.support.service import Service


@contextmanager
def openai_client(service: Service, **options: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service.url}/openai/v1", api_key="none", **options) as client:
        yield client


def ask_openai(client: openai.OpenAI, *images: bytes, **members: Any) -> str:
    parts: list[Any] = [{"type": "text", "text": "Describe this."}]
    for image in images:
        url = f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"
        parts.append({"type": "image_url", "image_url": {"url": url, "detail": "low"}})
    answer = client.chat.completions.create(
        model="captiond", messages=[{"role": "user", "content": parts}], max_tokens=100, temperature=0.5, **members
    )
    return str(answer.choices[0].message.content)


def jobs_of(service: Service, image: bytes) -> list[dict[str, Any]]:
    """The jobs for a picture."""
    sha256 = hashlib.sha256(image).hexdigest()
    jobs = service.get("/v1/jobs?limit=200")[1]["jobs"]
    return [job for job in jobs if job["input"] and job["input"]["sha256"] == sha256]


def test_all_protocols_give_the_caption_of_the_api(service: Service) -> None:
    image = encoded(drawing("teal", (220, 310)))
    caption = service.settled(service.post_image(image)[1]["id"])["output"]["caption"]

    with openai_client(service) as client:
        by_openai = ask_openai(client, image)
    with ollama.Client(service.url) as client:
        by_ollama = client.generate("captiond", "Describe this.", images=[image]).response
    by_huggingface = huggingface_hub.InferenceClient(f"{service.url}/huggingface/image-to-text").image_to_text(image)
    huggingface_hub.close_session()
    # As PhotoPrism sends it, see tests/unit/web/compat/test_photoprism.py.
    data_url = f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"
    by_photoprism = requests.post(
        f"{service.url}/api/v1/vision/caption", json={"id": "1", "images": [data_url]}, timeout=60
    ).json()

    assert by_openai == by_ollama == by_huggingface.generated_text == caption
    assert by_photoprism["result"]["caption"]["text"] == caption
    assert {job["status"] for job in jobs_of(service, image)} == {"succeeded"}


def test_several_captions_and_the_frames_of_an_event(service: Service) -> None:
    image, *frames = encoded(drawing("maroon", (220, 310))), *numbered(4)
    with openai_client(service) as client:
        url = f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"
        answer = client.chat.completions.create(
            model="demo",
            messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}],
            n=4,
        )
        event = ask_openai(client, *frames)

    assert len({choice.message.content for choice in answer.choices}) == 4
    assert 1 <= len(event.splitlines()) <= 4
    assert len(set(event.splitlines())) == len(event.splitlines())


def test_many_clients_at_once_are_all_answered(service: Service) -> None:
    images = [encoded(drawing("plum", (200 + number, 300))) for number in range(20)]

    with openai_client(service, max_retries=5) as client, ThreadPoolExecutor(10) as threads:
        captions = list(threads.map(lambda image: ask_openai(client, image), images))

    assert all(len(caption.split()) >= 3 for caption in captions)


def test_a_client_whose_requests_time_out_gets_the_caption_of_its_first_job(service: Service) -> None:
    """The worker is stopped for longer than the client waits."""
    image = encoded(drawing("orchid", (230, 310)))
    worker = psutil.Process(service.worker_pid())
    worker.suspend()
    resumption = threading.Timer(2.5, worker.resume)
    resumption.start()

    try:
        with openai_client(service, timeout=1, max_retries=8) as client:
            caption = ask_openai(client, image)
    finally:
        resumption.join()

    (job,) = [job for job in jobs_of(service, image) if not job["cached"]]
    assert caption == job["output"]["caption"]
