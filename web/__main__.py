"""`python -m web`: serves the application with waitress."""

from __future__ import annotations

import logging
import sys

from common import exposure
from common.settings import Settings
from web import server, shutdown
from web.app import create_app

if __name__ == "__main__":
    settings = Settings()
    if (why := exposure.refusal(settings)) is not None:
        sys.exit(why)
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    app = create_app(settings)
    stopping = app.extensions["captiond"].stopping
    shutdown.on_signals(stopping)
    if settings.insecure and not app.extensions["captiond"].keyring.needed:
        logging.getLogger("web").warning("Without API keys, whoever reaches %s may use the service.", settings.host)
    shutdown.serve(server.make(app, settings), stopping)
