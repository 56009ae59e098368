"""Not a peer but the limit: our engine alone, given all pictures at once, and answering with the seconds it took."""

from __future__ import annotations

import time

from flask import Flask, request

from benchmarks.peers.model import port
from benchmarks.peers.packing import unpacked
from common.settings import Settings
from worker import weights
from worker.captioner import StudentCaptioner

app = Flask(__name__)
settings = Settings()
captioner = StudentCaptioner(weights.load(settings), settings)


@app.post("/caption")
def caption() -> str:
    pictures = unpacked(request.get_data())
    started = time.perf_counter()
    for first in range(0, len(pictures), settings.max_batch):
        few = pictures[first : first + settings.max_batch]
        captioner.caption([captioner.prepare(each) for each in few])
    return str(time.perf_counter() - started)


if __name__ == "__main__":
    app.run(port=port())
