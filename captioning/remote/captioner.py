"""The captioner of a model that a server runs."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

from captioning.remote.sentences import instruction_of
from captioning.remote.server import Server
from common.images.sandbox import sandbox
from common.jobs import ModelInfo, Output
from common.options import SearchOptions
from common.problems import Problem
from common.served_model import ServedModel
from common.settings import Settings

#: Longest side in pixels of the JPEG that is sent. Models of this kind see at most about a megapixel.
IMAGE_SIZE = 1024

log = logging.getLogger(__name__)


class RemoteCaptioner:
    """Captions images by asking a server about each of them. Beams and number of captions do not apply to it."""

    device, precision, loaded = "server", "", True

    def __init__(self, model: ServedModel, settings: Settings) -> None:
        self.server = Server(model, settings.model_key)
        version = hashlib.sha256(f"{model.protocol}:{model.name}".encode()).hexdigest()
        self.model = ModelInfo(name=model.name, version=f"sha256:{version}", instructions=True)
        self._settings = settings
        log.info("Captioning with %s, which a server runs.", model.name)

    def prepare(self, data: bytes) -> bytes:
        """Return a JPEG of at most `IMAGE_SIZE` x `IMAGE_SIZE` pixels."""
        return sandbox().thumbnail(data, self._settings.max_pixels, IMAGE_SIZE)

    def caption(self, images: Sequence[bytes], search: SearchOptions | None = None) -> list[Output | Problem]:
        instruction = instruction_of(search or SearchOptions.of(self._settings), self._settings)
        return [self._caption(image, instruction) for image in images]

    def _caption(self, image: bytes, instruction: str) -> Output | Problem:
        try:
            return Output(caption=self.server.caption(image, instruction))
        except Problem as problem:
            return problem
