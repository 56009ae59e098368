"""captiond's engine without the service around it: the upper limit for the service's throughput.

One request carries all image files; the response is the time the engine took in seconds, without that of the transfer.
"""

from __future__ import annotations

import base64
import time

from flask import Flask, request

from benchmarks.peers.model import port
from captioning import weights
from captioning.student.captioner import StudentCaptioner
from common.settings import Settings

web = Flask(__name__)
settings = Settings()
captioner = StudentCaptioner(weights.load(settings), settings)


@web.post("/caption")
def caption() -> dict[str, float]:
    images = [base64.b64decode(image) for image in request.get_json()["images"]]
    started = time.perf_counter()
    for start in range(0, len(images), settings.max_batch):
        captioner.caption([captioner.prepare(image) for image in images[start : start + settings.max_batch]])
    return {"seconds": time.perf_counter() - started}


if __name__ == "__main__":
    web.run(port=port())
