"""Protocols of other software, so that it can ask captiond for captions. Each is a blueprint.

`pictures` reads the pictures of a request and `conversations` those of a chat, `models` says what the jobs ask for,
`captioning` creates the jobs and waits for the captions, and `errors` shows problems in a protocol's shape. A blueprint
is registered only if `CAPTIOND_COMPAT` names it.
"""

from __future__ import annotations

from flask import Blueprint, Flask

from common.settings import Settings
from web.compat import huggingface, label_studio, mcp, ollama, openai, photoprism

#: The blueprint of each protocol by its name in `CAPTIOND_COMPAT`.
PROTOCOLS: dict[str, Blueprint] = {
    "openai": openai.blueprint,
    "ollama": ollama.blueprint,
    "huggingface": huggingface.blueprint,
    "photoprism": photoprism.blueprint,
    "label-studio": label_studio.blueprint,
    "mcp": mcp.blueprint,
}


def register_protocols(app: Flask, settings: Settings) -> None:
    """Register the blueprints that the settings name."""
    for name, blueprint in PROTOCOLS.items():
        if name in settings.compat_protocols:
            app.register_blueprint(blueprint)
