"""The ledger: all job records and the queue, in Redis. The Celery broker carries only notifications.

A job leaves the open states only by `finish` or `cancel`. Each is one Lua script that compares and writes atomically,
so an accepted job is captioned at least once and its result is written exactly once, whichever process dies. No other
package knows the Redis keys. Below, SCOPE is empty for all jobs, `@{owner}` for one owner's, `#{id}` for one batch's.
Times are Unix times in seconds.

LANE is `interactive` for single jobs, `bulk` for jobs of batches, and `chunks` for chunks of manifests. What asks for a
model is in a lane of its own, such as `bulk:{model}`; MODEL is `:{model}` for it, and empty otherwise. A worker treats
the lane without a model and that of its own model as one: next is the owner whose last turn, in either, is the longest
ago.

```
job:{id}              hash   the fields of `jobs.Job`, each as JSON (times as numbers), and private ones:
                             _schema        schema version of the record, `submission.SCHEMA_VERSION`
                             _token         fencing token of the claim; a write with another token is rejected
                             _postponed     number of times its image could not be loaded
                             _cache         key of its cached caption
                             _idempotency   key of the idempotency entry that names this job
                             _webhook       URL notified when the job, or its whole batch, has ended
                             _webhook_host  host name of that URL
                             _prefix        path prefix of the `urls` in the webhook, where a proxy adds one
                             _traceparent   `traceparent` of its submission, if the request had one
                             _model         name of the model that it asks for, as in `options`; absent without
                             _first         set if its owner had no other job waiting in its lane when it was created
                             _queued_at     time at which it was queued again by a request, for its durations
                             _owner         name of the API key that created it; absent without keys
index:{status}SCOPE   zset   job ids in that state, all with score 0: UUIDv7 ids sort by age as text
index:allSCOPE        zset   job ids in any state, likewise
queue:LANE@{owner}    zset   an owner's waiting job ids in that lane, all with score 0 (owner empty without keys).
                             In the lanes of chunks the owner is a batch, with `{id}/{number}` -> number
turns:LANE            zset   owner with waiting jobs -> turn: the number that `turn` had when the owner was served last,
                             or came. The lowest is next
turn                  string number of turns so far, in all lanes
passed                hash   model of workers -> their interactive claims since their last bulk claim, while they could
                             have claimed both
queue:suspectsMODEL   zset   ids of waiting jobs that a lost worker had held, score 0; each runs alone
queue:models          set    models for which jobs or chunks wait or have waited a short time ago
queue:delayed         zset   id of a postponed job -> time at which it returns to its lane
leases                zset   job id -> time at which its lease ends
expiring              zset   job id -> time at which its record and image are deleted
deadlines             zset   id of a job with Cancel-After -> time at which it is canceled unless it has ended
batch:{id}            hash   created_at, expires_at, owner (empty without keys)
                             sealed            0 while it takes jobs, then 1
                             version           number of changes of its ended jobs
                             name, options     as in `jobs.Batch`, the latter as JSON
                             model             name of the model that `options` ask for; absent without
                             cancel_after      time at which it is canceled, as in `deadlines:batches`
                             canceled_reason   why it was canceled
                             webhook, webhook_host, prefix, traceparent, as for a job
                             archive_filename, archive_status, archive_error (JSON), as in `jobs.Archive`
                             archive_bytes     size of the archive
                             archive_token     fencing token of the claim
                             archive_attempts  claims since the last one that recorded a job
                             manifest          URL of the manifest
                             manifest_format, manifest_output, manifest_status, manifest_error (JSON),
                             as in `manifest_records.Manifest`
                             manifest_token, manifest_attempts, as for an archive
                             manifest_position        JSON of where the manifest is cut next
                             manifest_chunks          number of chunks that were cut
                             manifest_chunks_done, manifest_chunks_failed, manifest_chunks_canceled   of them
                             manifest_captioned, manifest_failed          pictures of chunks that have ended
batchesSCOPE          zset   batch ids of everybody or of an owner, all with score 0
expiring:batches      zset   batch id -> time at which its record and archive are deleted
deadlines:batches     zset   batch id -> time at which it is canceled
archives              zset   id of a batch whose archive is not unpacked -> time from which it may be claimed, such as
                             the end of the current worker's lease
manifests             zset   id of a batch whose manifest is not cut to its end -> time as in `archives`
chunk:{id}/{number}   hash   a chunk of a batch's manifest, numbered from 0
                             span        JSON of the rows that it consists of
                             model       that of its batch; absent without
                             status      `processing`, `done`, `failed` or `canceled`; absent while it waits
                             token       fencing token of the claim
                             attempts    claims whose worker was lost, and the current one
                             captioned, failed    numbers of pictures, once it has ended
                             error       JSON of why it failed
chunksMODEL           zset   `{id}/{number}` of a chunk that was claimed -> time as in `archives`
known:{id}            string owner (empty without keys) of a batch or of a deleted job, so that the API
                             answers 410 instead of 404 to those who could see it               has a TTL
idempotency:{hash}    string `{"id", "sha256"}` of the job created with that Idempotency-Key     has a TTL
                             (with `"while_open": true` if a later job may take the key once this one has ended)
                             (ends with `@{owner}` if there is an owner), or of the item of a batch with
                             that custom_id (ends with `#{id}`)
caption:{...}         string cached caption for an image, a model, settings and options,
                             without the options' template                                      has a TTL
                             (ends with `@{owner}` if there is an owner)
uploaded:{day}@{owner} string bytes that an owner uploaded on that day                          has a TTL
rate:*                       requests in this minute and the last, by key or address, written by the package
                             `limits` for `web.auth.rates`                                      has a TTL
webhook:{id}          hash   webhook event of the job or batch with that id, which is also the webhook's id
                             type, url      event type and target URL
                             since          time of the event
                             attempts       delivery attempts started
                             why            reason of the last failure
                             Deleted after delivery; has a TTL after it was given up.
webhooks:to:{host}    zset   webhook id -> time from which it may be sent: its next attempt, or the end of the current
                             sender's lease
webhooks:hosts        zset   host -> time of its next check, never later than its earliest due webhook
webhooks:given-up     zset   webhook id -> time at which it was given up
webhooks:secret       string generated signing secret, used unless the settings contain one
api-keys              string entries of the API keys that `captiond keys` made, one a line; used by `common.keyring`
workers               hash   worker name -> JSON of `workers.Worker`: live workers and their models
models                hash   model name -> JSON of `workers.KnownModel`: models that workers have or had
recovering            string lock of the process that is running a recovery                     has a TTL
tidying               string lock for a minute after a scan for unreferenced uploads            has a TTL
tidied                string number of scans, which selects the next folder
metrics               hash   counters that `web.metrics` describes: NAME:LABEL…, and for histograms NAME:BOUND:LABEL
                             (number of values in that bucket) and NAME:sum:LABEL (their sum in thousandths). Labels
                             may be the name of a lane
schema                string `submission.SCHEMA_VERSION`, so that an older version can refuse to start
probe                 string written by the readiness probe of the web servers                  has a TTL
jobs:ended            (a channel) the id of each job that reaches a terminal state
```
"""

from common.ledger.archives import ArchiveClaim, Archives
from common.ledger.batches import CANCELED_BY_DEADLINE, Batches, NewBatch, NewManifest
from common.ledger.chunks import ChunkClaim, Chunks
from common.ledger.completions import Completions
from common.ledger.components import Components
from common.ledger.connection import connect
from common.ledger.counters import Counters
from common.ledger.leases import Claim, ClaimResult, Result
from common.ledger.ledger import Ledger
from common.ledger.manifests import ManifestClaim, Manifests
from common.ledger.metrics import LedgerState, Metrics
from common.ledger.outbox import Delivery, Outbox
from common.ledger.principal import ANONYMOUS, UNRESTRICTED, Principal
from common.ledger.queries import Origin
from common.ledger.recovery import RecoveryResult
from common.ledger.schema import SchemaError
from common.ledger.submission import NewJob
from common.ledger.tasks import TaskClaim
from common.ledger.unreferenced import UnreferencedUploads
from common.ledger.workers import Worker, Workers

__all__ = [
    "ANONYMOUS",
    "CANCELED_BY_DEADLINE",
    "UNRESTRICTED",
    "ArchiveClaim",
    "Archives",
    "Batches",
    "ChunkClaim",
    "Chunks",
    "Claim",
    "ClaimResult",
    "Completions",
    "Components",
    "Counters",
    "Delivery",
    "Ledger",
    "LedgerState",
    "ManifestClaim",
    "Manifests",
    "Metrics",
    "NewBatch",
    "NewJob",
    "NewManifest",
    "Origin",
    "Outbox",
    "Principal",
    "RecoveryResult",
    "Result",
    "SchemaError",
    "TaskClaim",
    "UnreferencedUploads",
    "Worker",
    "Workers",
    "connect",
]
