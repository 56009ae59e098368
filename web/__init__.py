"""The web tier: saves uploads, records jobs and rings; never waits for the model, never imports torch."""

from web.app import create_app

__all__ = ["create_app"]
