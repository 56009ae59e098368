"""The ledger: the record of every job, and the queue, in Redis. It is the truth; the broker carries only notifications.

A job leaves the open states only by `finish` or `cancel`, each one script that compares and writes in one step, so an
accepted job is captioned at least once and its result is written exactly once, whichever process dies. This package is
the only one that knows the keys. SCOPE is nothing for everybody's jobs, `@{owner}` for one owner's, `#{id}` for one
batch's; LANE is `interactive` for single jobs and `bulk` for those of batches.

```
job:{id}              hash   the members of `jobs.Job`, each as JSON (times as Unix times), and for the ledger only:
                             _schema        version of these fields, `submission.SCHEMA`
                             _token         of the claim; a write with another token is refused
                             _postponed     how often its image could not be had
                             _cache         the cache key its caption was stored under
                             _idempotency   the key of the Idempotency-Key's entry that names it
                             _webhook       URL that is told when it, or its whole batch, has ended
                             _webhook_host  that URL's host
                             _prefix        of the paths that it is told, where a proxy adds one
                             _owner         name of the API key that made it; not there without keys
index:{status}SCOPE   zset   ids in that state, all with score 0: UUIDv7 sorts by age as text
index:allSCOPE        zset   ids in every state, likewise
queue:LANE@{owner}    zset   ids of an owner's jobs that wait in that lane, all with score 0 (owner empty without keys)
turns:LANE            zset   owner with jobs in that lane -> turn: the lowest is next, and a claim raises it by one;
                             who joins begins at the lowest
queue:passed          string interactive claims since the last one from the bulk lane, while both had jobs
queue:suspects        zset   ids of waiting jobs that were held when a worker was lost, score 0; each runs alone
queue:delayed         zset   id of a postponed job -> Unix time from which it waits in its lane again
leases                zset   id -> Unix time at which its lease ends
expiring              zset   id -> Unix time at which record and picture are deleted
batch:{id}            hash   created_at, expires_at, owner (empty without keys); with a
                             webhook also webhook, webhook_host, prefix, as a job's, and
                             sealed once all its jobs were sent                             expires by itself
known:{id}            string its owner (empty without keys); of a batch, or of a job that was deleted, so that it
                             answers 410 and not 404 to those who could see it              expires by itself
idempotency:{hash}    string `{"id", "sha256"}` of the job made under that Idempotency-Key  expires by itself
caption:{...}         string a caption already made for that picture, model and settings    expires by itself
                             (both with `@{owner}` behind, where there is one)
uploaded:{day}@{owner} string bytes that an owner sent on that day                          expires by itself
rate:*                       requests in this minute and the last, by key or address, as the package `limits`
                             keeps them for `web.auth.rates`                                     expires by itself
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
recovering            string held by the one process that recovers at the moment            expires by itself
tidying               string held for a minute after a look for pictures without a record   expires by itself
tidied                string how many looks there were: the next one's folder
schema                string version of all this, `submission.SCHEMA`, so that an older version can refuse to start
jobs:ended            (a channel) the id of each job that reaches a terminal state
```
"""

from common.ledger.batches import Batches
from common.ledger.completions import Completions
from common.ledger.components import Components
from common.ledger.connection import connect
from common.ledger.leases import Claim, Claimed, Result
from common.ledger.ledger import Ledger
from common.ledger.outbox import Delivery, Outbox
from common.ledger.principal import EVERYBODY, NOBODY, Principal
from common.ledger.recovery import Recovered
from common.ledger.schema import SchemaError
from common.ledger.submission import NewJob
from common.ledger.unreferenced import UnreferencedUploads
from common.ledger.workers import Worker, Workers

__all__ = [
    "EVERYBODY",
    "NOBODY",
    "Batches",
    "Claim",
    "Claimed",
    "Completions",
    "Components",
    "Delivery",
    "Ledger",
    "NewJob",
    "Outbox",
    "Principal",
    "Recovered",
    "Result",
    "SchemaError",
    "UnreferencedUploads",
    "Worker",
    "Workers",
    "connect",
]
