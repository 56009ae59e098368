"""The web tier: stores uploads, creates jobs and notifies the workers. It never runs the model nor imports torch."""

from web.app import create_app

__all__ = ["create_app"]
