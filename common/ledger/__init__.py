"""The ledger: the record of every job, in Redis. It is the truth; Celery is only the doorbell.

A job leaves the open states only by `commit`, `fail` or `cancel`, each a compare-and-set, so an accepted job
is captioned at least once and its result is written exactly once, whichever process dies. This package is
the only one that knows the keys:

```
job:{id}              hash   the members of `jobs.Job`, each as JSON, and beside them, for the ledger only:
                             _token         who holds the lease; a write with another token is refused
                             _lease_until   Unix time at which the lease ends
                             _ring_at       Unix time after which a waiting job's bell counts as lost
                             _rings         how often it has been rung
                             _cache         the cache key its caption was stored under
                             _idempotency   the key of the Idempotency-Key's entry that names it
                             _webhook       URL that is told when it, or its whole batch, has ended
                             _prefix        of the paths that it is told, where a proxy adds one
                             _owner         name of the API key that made it; not there without keys
jobs:{status}         zset   ids in that state, all with score 0: UUIDv7 sorts by age as text
jobs:all              zset   ids in every state, likewise
jobs:leased           zset   id -> end of its lease; an index of _lease_until
jobs:expiring         zset   id -> Unix time at which record and picture are deleted
jobs:{status}@{owner} zset   those of one owner, and their open jobs' number
jobs:all@{owner}      zset   likewise
batch:{id}            hash   created_at, expires_at, owner (empty without keys), with a
                             webhook also prefix, as a job's _prefix                        expires by itself
batch-jobs:{id}       list   its job ids in the order of submission                        expires by itself
batch-open:{id}       set    of a batch with a webhook: its jobs that are open, and `sending`
                             while more may come; the webhook is due when it is empty       expires by itself
known:{id}            string its owner (empty without keys); set when a job or batch is made, outlives it, so
                             that it answers 410 and not 404 to those who could see it
idempotency:{hash}    string `{"id", "sha256"}` of the job made under that Idempotency-Key  expires by itself
caption:{...}         string a caption already made for that picture, model and settings    expires by itself
                             (both with `@{owner}` behind, where there is one)
uploaded:{day}@{owner} string bytes that an owner sent on that day                          expires by itself
rate:*                       requests in this minute and the last, by key or address, as the package `limits`
                             keeps them for `web.rates`                                     expires by itself
webhook:{id}          hash   what is to be told about that job or batch; its id is the webhook's
                             type, url      of the event, and whom to tell
                             since          Unix time of the event
                             attempts       begun so far
                             why            what went wrong the last time
                             Gone when it was delivered; expires by itself when it was given up.
webhooks:to:{host}    zset   id -> Unix time from which it may be sent: its next attempt, or the end of the lease
                             of whoever sends it now
webhooks:hosts        zset   host -> when to look at its webhooks, never later than the earliest is due
webhooks:given-up     zset   id -> Unix time at which it was given up
webhooks:secret       string what webhooks are signed with, unless the settings say
workers               hash   name -> JSON of `workers.Worker`: who is alive and with which model
sweeping              string held by the one process that sweeps at the moment              expires by itself
tidying               string held for a minute after a look for pictures without a record   expires by itself
tidied                string how many looks there were: the next one's folder
jobs:ended            (a channel) the id of each job that reaches a terminal state
```
"""

from common.ledger.batches import Batches
from common.ledger.connection import connect
from common.ledger.endings import Endings
from common.ledger.ledger import Ledger
from common.ledger.orphans import Orphans
from common.ledger.outbox import Delivery, Outbox
from common.ledger.sweep import Swept
from common.ledger.transitions import Claim
from common.ledger.viewer import EVERYBODY, NOBODY, Viewer
from common.ledger.workers import Worker, Workers

__all__ = [
    "EVERYBODY",
    "NOBODY",
    "Batches",
    "Claim",
    "Delivery",
    "Endings",
    "Ledger",
    "Orphans",
    "Outbox",
    "Swept",
    "Viewer",
    "Worker",
    "Workers",
    "connect",
]
