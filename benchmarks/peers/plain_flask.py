"""The simplest server: one Flask process with a global model, which calls `generate` in the request."""

from __future__ import annotations

from flask import Flask, request

from benchmarks.peers.model import Generate, port

app = Flask(__name__)
model = Generate()


@app.post("/caption")
def caption() -> dict[str, str]:
    return {"caption": model([request.get_data()])[0]}


if __name__ == "__main__":
    app.run(port=port())
