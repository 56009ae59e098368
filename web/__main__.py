"""`python -m web`: serve the application with waitress."""

from __future__ import annotations

import logging
import sys

from common import exposure, folders, logs, tracing
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
    if (reason := exposure.refusal(settings)) is not None:
        sys.exit(str(reason))
    logs.configure(settings, "web")
    tracing.configure(settings, "web")
    app = create_app(settings)
    services = app.extensions["captiond"]
    try:
        services.components.ledger.prepare()
    except SchemaError as error:
        sys.exit(str(error))
    shutdown.install_signal_handlers(services.stopping)
    if settings.insecure and not services.keyring.needed:
        logging.getLogger("web").warning(
            "No API keys exist: every client that can connect to %s may use the service.", settings.host
        )
    try:
        http_server = server.create_server(app, settings)
    except ListenError as error:
        sys.exit(str(error))
    shutdown.serve(http_server, services.stopping)
