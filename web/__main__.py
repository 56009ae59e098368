"""`python -m web`: serves the application with waitress."""

from __future__ import annotations

import logging
import sys

import waitress

from common import exposure
from common.settings import Settings
from web.app import create_app
from web.services import THREADS

#: Bytes a request may have beside the largest batch.
REQUEST_OVERHEAD = 2**20
#: Seconds after which a silent client is dropped.
SILENCE = 60

if __name__ == "__main__":
    settings = Settings()
    if (why := exposure.refusal(settings)) is not None:
        sys.exit(why)
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    waitress.serve(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        threads=THREADS,
        max_request_body_size=settings.max_batch_bytes + REQUEST_OVERHEAD,
        channel_timeout=SILENCE,
        clear_untrusted_proxy_headers=not settings.trusted_proxies,
        ident=None,
    )
