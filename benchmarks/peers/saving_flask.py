"""The least that a web server for uploads can do: a Flask view that saves the body as a file, served by waitress."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import waitress
from flask import Flask, Response, request

from web.services import THREADS

app = Flask(__name__)
folder = Path(os.environ["BENCHMARK_FOLDER"])


@app.post("/v1/jobs")
def save() -> Response:
    (folder / str(uuid.uuid4())).write_bytes(request.get_data())
    return Response(status=202)


if __name__ == "__main__":
    waitress.serve(app, host="127.0.0.1", port=int(os.environ["BENCHMARK_PORT"]), threads=THREADS)
