"""LitServe with its dynamic batching, calling `generate` on each batch. Requests are JSON with the image as base64."""

from __future__ import annotations

import base64

import litserve

from benchmarks.peers.model import Generate, port

BATCH = 8
#: Seconds that a batch waits to fill, and that a client waits for its answer.
BATCH_TIMEOUT, TIMEOUT = 0.05, 600


class CaptionAPI(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:
        self.generate = Generate()

    def decode_request(self, request: dict[str, str]) -> bytes:
        return base64.b64decode(request["image"])

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def predict(self, inputs: list[bytes]) -> list[str]:
        return self.generate(inputs)

    def unbatch(self, output: list[str]) -> list[str]:
        return output

    def encode_response(self, output: str) -> dict[str, str]:
        return {"caption": output}


if __name__ == "__main__":
    api = CaptionAPI(max_batch_size=BATCH, batch_timeout=BATCH_TIMEOUT, api_path="/caption")
    server = litserve.LitServer(api, accelerator="cpu", timeout=TIMEOUT)
    server.run(host="127.0.0.1", port=port(), generate_client_file=False, log_level="warning")
