"""`python -m web`: serves the application with waitress."""

from __future__ import annotations

import logging
import sys

from common import exposure, folders, logs
from common.folders import FolderError
from common.ledger import SchemaError
from common.listening import ListenError
from common.settings import from_environment
from web import server, shutdown
from web.app import create_app

if __name__ == "__main__":
    settings = from_environment()
    try:
        folders.prepare(settings)
    except FolderError as error:
        sys.exit(str(error))
    if (why := exposure.refusal(settings)) is not None:
        sys.exit(why)
    logs.configure(settings)
    app = create_app(settings)
    try:
        app.extensions["captiond"].components.ledger.start()
    except SchemaError as error:
        sys.exit(str(error))
    stopping = app.extensions["captiond"].stopping
    shutdown.on_signals(stopping)
    if settings.insecure and not app.extensions["captiond"].keyring.needed:
        logging.getLogger("web").warning("Without API keys, whoever reaches %s may use the service.", settings.host)
    try:
        serving = server.make(app, settings)
    except ListenError as error:
        sys.exit(str(error))
    shutdown.serve(serving, stopping)
