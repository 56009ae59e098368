"""`/metrics`: the state of the service for Prometheus.

All of it is in the ledger, so every web server answers the same numbers: do not add those of several servers up. The
counters survive restarts of the processes, but not of a Redis without persistence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import RedisError

from common.jobs import Status
from common.ledger import LedgerState
from common.ledger.counters import SECONDS, SIZES
from common.ledger.metrics import LANES
from common.problems import KINDS, TYPE_PREFIX
from web.services import Services, get_services

blueprint = Blueprint("metrics", __name__)


@dataclass(frozen=True)
class Count:
    """A counter. `known` are label values that are reported as 0 before the first event, as `increase` needs it."""

    name: str
    help: str
    labels: tuple[str, ...]
    known: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Distribution:
    """A histogram. `known` are label values that are reported before the first event."""

    name: str
    help: str
    labels: tuple[str, ...]
    known: tuple[tuple[str, ...], ...]
    bounds: tuple[float, ...] = SECONDS


#: Labels of what is counted by lane: its kind, and the model that its jobs ask for, '' for none.
LANE_LABELS = ("lane", "model")
KNOWN_LANES = tuple((lane, "") for lane in LANES)


#: The counters by the first part of their fields in the ledger.
COUNTS = {
    "accepted": Count(
        "captiond_jobs_accepted",
        "Jobs that were accepted: queued, or answered from the cache.",
        LANE_LABELS,
        KNOWN_LANES,
    ),
    "cached": Count("captiond_cache_hits", "Jobs answered with a cached caption.", LANE_LABELS, KNOWN_LANES),
    "ended": Count(
        "captiond_jobs_ended",
        "Jobs that ended, by their last state. Pictures that a batch or an archive was refused end as failed.",
        ("state", *LANE_LABELS),
        tuple((status.value, *lane) for status in Status if status.terminal for lane in KNOWN_LANES),
    ),
    "failed": Count(
        "captiond_jobs_failed",
        "Failed jobs by the type of their problem.",
        ("problem",),
        tuple((slug,) for slug in KINDS),
    ),
    "problem": Count(
        "captiond_requests_refused",
        "Requests that were answered with a problem, by its type.",
        ("problem",),
        tuple((slug,) for slug in KINDS),
    ),
    "recovery": Count(
        "captiond_recovery_actions",
        "Jobs of lost workers that were queued again or failed; expired jobs, expired and overdue batches, and uploads "
        "without a job that were deleted or canceled.",
        ("action",),
        tuple(
            (action,)
            for action in ("requeued", "failed", "expired", "batch-expired", "batch-canceled", "upload-deleted")
        ),
    ),
    "chunk": Count(
        "captiond_chunks_ended",
        "Chunks of manifests whose results are written, and those that failed as a whole.",
        ("state",),
        (("done",), ("failed",)),
    ),
    "picture": Count(
        "captiond_manifest_pictures",
        "Pictures of the chunks of manifests that are done, with a caption or with an error.",
        ("result",),
        (("captioned",), ("failed",)),
    ),
    "webhook": Count(
        "captiond_webhook_attempts",
        "Attempts to deliver a webhook: delivered, postponed, given up, or dropped because the job was deleted.",
        ("outcome",),
        tuple((outcome,) for outcome in ("delivered", "postponed", "given-up", "dropped")),
    ),
}
#: The histograms likewise.
DISTRIBUTIONS = {
    "queue": Distribution(
        "captiond_queue_wait_seconds",
        "Seconds from the submission of a job to the claim of its first attempt, counted when it ends.",
        LANE_LABELS,
        KNOWN_LANES,
    ),
    "turn": Distribution(
        "captiond_turn_wait_seconds",
        "The queue wait of jobs whose owner had no other job waiting in the lane: how long other owners delay one.",
        LANE_LABELS,
        KNOWN_LANES,
    ),
    "job": Distribution(
        "captiond_job_seconds",
        "Seconds from the submission of a job to its end, unless canceled.",
        LANE_LABELS,
        KNOWN_LANES,
    ),
    "model": Distribution(
        "captiond_model_call_seconds",
        "Seconds of the model call, observed for each captioned picture.",
        ("model",),
        (),
    ),
    "batch": Distribution(
        "captiond_model_call_pictures",
        "Pictures in the model call, observed for each captioned picture.",
        ("model",),
        (),
        SIZES,
    ),
    "recovered": Distribution(
        "captiond_recovery_seconds",
        "Seconds from a lost worker's last lease extension to the return of its job to the queue.",
        (),
        ((),),
    ),
}


class LedgerCollector(Collector):
    """Reads the ledger for one answer. While Redis is away, the only metric is `captiond_redis_up`."""

    def __init__(self, services: Services) -> None:
        self._components = services.components

    def collect(self) -> Iterator[Metric]:
        """The metrics of the ledger, its workers and its outbox."""
        try:
            state = self._components.metrics.read()
            families = [*_gauges(state), *_counters(state.counters), *_histograms(state.counters)]
            families += [*self._webhooks(), *self._workers()]
        except RedisError:
            families = []
        yield _gauge("captiond_redis_up", "Whether Redis answers.", int(bool(families)))
        yield from families

    def _webhooks(self) -> Iterator[Metric]:
        outbox = self._components.outbox.status()
        yield _gauge("captiond_webhooks_waiting", "Webhooks that are not delivered yet.", outbox.waiting)
        yield _gauge("captiond_webhooks_given_up", "Webhooks given up within the retention time.", outbox.given_up)

    def _workers(self) -> Iterator[Metric]:
        now, workers = self._components.ledger.now(), self._components.workers.alive()
        yield _gauge("captiond_workers", "Workers with a heartbeat in the last seconds.", len(workers))
        info = GaugeMetricFamily(
            "captiond_worker_info", "A live worker and its model.", labels=("worker", "model", "model_version")
        )
        available = GaugeMetricFamily(
            "captiond_worker_available",
            "Whether the worker captions: 0 while the server of its model is unavailable.",
            labels=("worker", "model"),
        )
        age = GaugeMetricFamily(
            "captiond_worker_heartbeat_age_seconds", "Seconds since the worker's last heartbeat.", labels=("worker",)
        )
        memory = GaugeMetricFamily(
            "captiond_worker_memory_bytes", "Resident memory of the worker process.", labels=("worker",)
        )
        speed = GaugeMetricFamily(
            "captiond_worker_pictures_per_second",
            "Pictures per second of model time, a moving average.",
            labels=("worker",),
        )
        for worker in workers:
            info.add_metric((worker.name, worker.model.name, worker.model.version), 1)
            available.add_metric((worker.name, worker.model.name), int(worker.unavailable is None))
            age.add_metric((worker.name,), max(0.0, now - worker.heard_at))
            if worker.memory_bytes:
                memory.add_metric((worker.name,), worker.memory_bytes)
            if worker.pictures_per_second is not None:
                speed.add_metric((worker.name,), worker.pictures_per_second)
        yield from (info, available, age, memory, speed)


@blueprint.get("/metrics")
def show() -> Response:
    """All metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(LedgerCollector(get_services()))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=value)


def _gauges(state: LedgerState) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("captiond_jobs", "Stored jobs by state.", labels=("state",))
    for status, count in state.jobs.items():
        jobs.add_metric((status.value,), count)
    waiting = GaugeMetricFamily(
        "captiond_queue_jobs",
        "Jobs that can be claimed, by lane and the model that they ask for; `suspects` were held by a lost worker and "
        "run alone.",
        labels=LANE_LABELS,
    )
    oldest = GaugeMetricFamily(
        "captiond_queue_oldest_seconds", "Seconds that the oldest of these jobs has waited.", labels=LANE_LABELS
    )
    owners = GaugeMetricFamily("captiond_queue_owners", "API keys with such jobs.", labels=LANE_LABELS)
    for (kind, model), lane in state.queue.lanes.items():
        waiting.add_metric((kind, model), lane.jobs)
        oldest.add_metric((kind, model), lane.oldest_seconds)
        if kind in LANES:
            owners.add_metric((kind, model), lane.owners)
    chunks = GaugeMetricFamily(
        "captiond_chunks_waiting",
        "Chunks of manifests that no worker has claimed yet, by the model that they ask for.",
        labels=("model",),
    )
    for model, count in state.chunks.items():
        chunks.add_metric((model,), count)
    yield from (jobs, waiting, oldest, owners, chunks)
    yield _gauge(
        "captiond_queue_postponed_jobs",
        "Waiting jobs whose picture could not be loaded from its store.",
        state.queue.postponed,
    )
    yield _gauge("captiond_archives_waiting", "Archives that are not unpacked yet.", state.archives)
    yield _gauge(
        "captiond_lease_overdue_seconds",
        "Seconds since the earliest lease ended that no recovery has handled; 0 without one.",
        state.lease_overdue_seconds,
    )
    if state.memory:
        yield _gauge("captiond_redis_memory_bytes", "Memory that Redis uses.", state.memory.used)
        yield _gauge(
            "captiond_redis_memory_limit_bytes", "`maxmemory` of Redis, else its machine's memory.", state.memory.limit
        )


def _counters(fields: dict[str, int]) -> Iterator[Metric]:
    for key, count in COUNTS.items():
        values = dict.fromkeys(count.known, 0)
        for labels, value in _fields_of(key, fields, len(count.labels)):
            values[tuple(label.removeprefix(TYPE_PREFIX) for label in labels)] = value
        family = CounterMetricFamily(count.name, count.help, labels=count.labels)
        for labels, value in values.items():
            family.add_metric(labels, value)
        yield family


def _histograms(fields: dict[str, int]) -> Iterator[Metric]:
    for key, distribution in DISTRIBUTIONS.items():
        values: dict[tuple[str, ...], dict[str, int]] = {labels: {} for labels in distribution.known}
        number = len(distribution.labels)
        for (bound, *given), value in _fields_of(key, fields, 1 + max(1, number)):
            values.setdefault(tuple(given[:number]), {})[bound] = value
        family = HistogramMetricFamily(distribution.name, distribution.help, labels=distribution.labels)
        for labels, counted in values.items():
            sum_value = counted.pop("sum", 0) / 1000
            family.add_metric(labels, _buckets(distribution.bounds, counted), sum_value)
        yield family


def _buckets(bounds: Iterable[float], counted: dict[str, int]) -> list[tuple[str, float]]:
    """Cumulative buckets from the numbers of values in each; those of bounds of another version are kept."""
    numbers = defaultdict(int, {float(bound): number for bound, number in counted.items()})
    total, buckets = 0, []
    for bound in sorted({*bounds, *numbers, float("inf")}):
        total += numbers[bound]
        buckets.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
    return buckets


def _fields_of(key: str, fields: dict[str, int], labels: int) -> Iterator[tuple[tuple[str, ...], int]]:
    """The labels and values of the fields that begin with `key`.

    The last label may contain colons. It is missing, and then '', where it is the model of a lane that has none.
    """
    for field, value in fields.items():
        name, _, rest = field.partition(":")
        if name == key:
            given = rest.split(":", labels - 1)
            yield (*given, *[""] * (labels - len(given))), value
