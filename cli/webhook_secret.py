"""`captiond webhook-secret`: prints the secrets that sign webhooks, which a receiver needs to verify them."""

from __future__ import annotations

from redis import RedisError

from cli.output import warn
from cli.redis_server import running_url
from common.ledger import Components, connect
from common.settings import Settings
from common.translation import _


def webhook_secret(settings: Settings) -> int:
    """Print the secrets, one per line. Create the service's own secret if none exists yet."""
    try:
        secrets = Components(connect(running_url(settings)), settings).outbox.secrets()
    except RedisError as error:
        warn(_("Redis does not answer ({reason}). Start the service, or set CAPTIOND_REDIS_URL.", reason=str(error)))
        return 1
    print("\n".join(secrets))
    return 0
