"""The web tier: saves uploads, records jobs, notifies the workers; never waits for the model nor imports torch."""

from web.app import create_app

__all__ = ["create_app"]
