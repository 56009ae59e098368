"""Not a peer but the limit: our engine alone, given the files of all pictures at once. It answers with the seconds that
it took, without those of the way to it.
"""

from __future__ import annotations

import base64
import time

from flask import Flask, request

from benchmarks.peers.model import port
from captioning import weights
from captioning.captioner import StudentCaptioner
from common.settings import Settings

web = Flask(__name__)
settings = Settings()
captioner = StudentCaptioner(weights.load(settings), settings)


@web.post("/caption")
def caption() -> dict[str, float]:
    pictures = [base64.b64decode(image) for image in request.get_json()["images"]]
    started = time.perf_counter()
    for first in range(0, len(pictures), settings.max_batch):
        captioner.caption([captioner.prepare(each) for each in pictures[first : first + settings.max_batch]])
    return {"seconds": time.perf_counter() - started}


if __name__ == "__main__":
    web.run(port=port())
