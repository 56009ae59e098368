"""The rules, the dashboard and the guide name metrics that exist, and each alert fires when it should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from common.jobs import ModelInfo
from common.ledger import Worker
from common.problems import KINDS
from common.settings import PROJECT_ROOT, Settings
from tests.support.redis import InfoRedis
from web import create_app

MONITORING = PROJECT_ROOT / "deploy" / "monitoring"
GUIDE = "docs/operations.md"

groups = yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))["groups"]
RULES = [rule for group in groups for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
PANELS: list[dict[str, Any]] = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]

Series = dict[str, str]


def promtool(*arguments: object) -> str:
    """Run promtool, which must succeed; returns its output."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    process = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of all samples of `/metrics`, of a service with a worker, a model and an ordinary Redis."""
    redis = InfoRedis(server=fakeredis.FakeServer(), decode_responses=True)
    app = create_app(Settings(data=tmp_path_factory.mktemp("data"), broker_url="memory://"), redis=redis)
    model = ModelInfo(name="demo", version="1")
    app.extensions["captiond"].workers.announce(
        Worker(name="w", model=model, pictures_per_second=1.0, memory_bytes=1_000_000)
    )
    redis.hset("metrics", mapping={"model:0.1:demo": 1, "batch:1:demo": 1})
    families = text_string_to_metric_families(app.test_client().get("/metrics").text)
    return {sample.name for family in families for sample in family.samples}


@pytest.mark.parametrize("query", [*QUERIES, *(rule["expr"] for rule in RULES)])
def test_every_query_names_metrics_that_exist(shown: set[str], query: str) -> None:
    names = set(re.findall(r"captiond[a-z0-9_:]+", query.replace('job="captiond"', "")))

    assert names <= shown | RECORDED
    assert names or query.startswith("up{")
    assert set(re.findall(r"[a-z]+(?:-[a-z]+)+", "".join(re.findall(r'problem=~"([^"]*)"', query)))) <= set(KINDS)


def test_the_guide_lists_exactly_the_metrics(shown: set[str]) -> None:
    text = (PROJECT_ROOT / GUIDE).read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`captiond_[^|]*) \|", text, re.MULTILINE)

    documented = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}

    assert documented == {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_runbook_entry(alert: str) -> None:
    page, _, anchor = ALERTS[alert]["annotations"]["runbook_url"].partition("#")

    assert page == GUIDE and anchor == alert.lower()
    assert f"\n#### {alert}\n" in (PROJECT_ROOT / page).read_text(encoding="utf-8")


def test_promtool_accepts_rules_and_configuration() -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "rules", MONITORING / "alerts.yml")
    promtool("check", "config", MONITORING / "prometheus.yml")


def histogram(name: str, labels: str, **counts: str) -> Series:
    """The buckets of a histogram by their bounds."""
    bounds = {name: name.removeprefix("le").replace("_", ".") for name in counts} | {"inf": "+Inf"}
    comma = "," if labels else ""
    return {f'captiond_{name}_bucket{{{labels}{comma}le="{bounds[key]}"}}': series for key, series in counts.items()}


#: For each alert, series with a value a minute that make it fire, and similar ones that do not.
CASES: dict[str, tuple[list[Series], list[Series]]] = {
    "CaptiondDispatchSlow": (
        [histogram("queue_wait_seconds", 'lane="interactive"', le5="0+90x60", le10="0+100x60", inf="0+100x60")],
        [
            histogram("queue_wait_seconds", 'lane="interactive"', le5="0+100x60", le10="0+100x60", inf="0+100x60"),
            histogram("queue_wait_seconds", 'lane="bulk"', le5="0+90x60", le10="0+100x60", inf="0+100x60"),
        ],
    ),
    "CaptiondRecoverySlow": (
        [
            histogram("recovery_seconds", "", le60="0+0x60", le120="0+1x60", inf="0+1x60"),
            {"captiond_lease_overdue_seconds": "31+0x60"},
        ],
        [
            histogram("recovery_seconds", "", le20="0+0x60", le40="0+1x60", le60="0+1x60", inf="0+1x60"),
            {"captiond_lease_overdue_seconds": "2+0x60"},
        ],
    ),
    "CaptiondUnfair": (
        [histogram("turn_wait_seconds", 'lane="bulk"', le60="0+9x60", le120="0+10x60", inf="0+10x60")],
        [histogram("turn_wait_seconds", 'lane="bulk"', le60="0+10x60", le120="0+10x60", inf="0+10x60")],
    ),
    "CaptiondNoWorker": ([{"captiond_workers": "0+0x60"}], [{"captiond_workers": "1+0x60"}]),
    "CaptiondModelAway": (
        [
            {
                'captiond_queue_jobs{lane="bulk",model="blip"}': "3+0x60",
                'captiond_worker_info{model="other"}': "1+0x60",
            },
            {'captiond_chunks_waiting{model="blip"}': "3+0x60"},
        ],
        [
            {'captiond_queue_jobs{lane="bulk",model="blip"}': "3+0x60", 'captiond_worker_info{model="blip"}': "1+0x60"},
            {'captiond_queue_jobs{lane="bulk",model=""}': "3+0x60"},
            {'captiond_queue_jobs{lane="bulk",model="blip"}': "0+0x60"},
        ],
    ),
    "CaptiondModelServerAway": (
        [
            {
                'captiond_worker_available{worker="a",model="vlm"}': "0+0x60",
                'captiond_worker_available{worker="b",model="vlm"}': "0+0x60",
                'captiond_worker_available{worker="c",model="demo"}': "1+0x60",
            },
        ],
        [
            {
                'captiond_worker_available{worker="a",model="vlm"}': "0+0x60",
                'captiond_worker_available{worker="b",model="vlm"}': "1+0x60",
            },
            {'captiond_worker_available{worker="a",model="vlm"}': "1+0x52 0+0x8"},
        ],
    ),
    "CaptiondOldestJob": (
        [
            {'captiond_queue_oldest_seconds{lane="interactive"}': "301+60x60"},
            {'captiond_queue_oldest_seconds{lane="suspects"}': "301+60x60"},
            {'captiond_queue_oldest_seconds{lane="bulk"}': "21601+60x60"},
        ],
        [
            {'captiond_queue_oldest_seconds{lane="interactive"}': "299+0x60"},
            {'captiond_queue_oldest_seconds{lane="bulk"}': "3600+60x60"},
        ],
    ),
    "CaptiondRefusals": (
        [{'captiond_requests_refused_total{problem="queue-full"}': "0+60x60"}],
        [
            {'captiond_requests_refused_total{problem="queue-full"}': "0+1x60"},
            {'captiond_requests_refused_total{problem="damaged-image"}': "0+60x60"},
        ],
    ),
    "CaptiondRedisMemory": (
        [{"captiond_redis_memory_bytes": "81+0x60", "captiond_redis_memory_limit_bytes": "100+0x60"}],
        [{"captiond_redis_memory_bytes": "79+0x60", "captiond_redis_memory_limit_bytes": "100+0x60"}],
    ),
    "CaptiondStoreAway": (
        [{"captiond_redis_up": "0+0x60"}, {"captiond_queue_postponed_jobs": "3+0x60"}],
        [{"captiond_redis_up": "1+0x60"}, {"captiond_queue_postponed_jobs": "0+0x60"}],
    ),
    "CaptiondWebhooksGivenUp": (
        [{'captiond_webhook_attempts_total{outcome="given-up"}': "0+0x40 1+0x20"}],
        [{'captiond_webhook_attempts_total{outcome="postponed"}': "0+1x60"}],
    ),
    "CaptiondWebDown": ([{'up{job="captiond"}': "0+0x60"}], [{'up{job="captiond"}': "1+0x60"}]),
}


def test_every_alert_has_a_case() -> None:
    assert set(CASES) == set(ALERTS)


def test_the_alerts_fire_when_they_should(tmp_path: Path) -> None:
    tests = [
        {
            "name": f"{alert} {'fires' if fires else 'does not fire'} with {series}",
            "interval": "1m",
            # Two web servers answer the same numbers.
            "input_series": [
                {"series": with_instance(name, instance), "values": values}
                for name, values in series.items()
                for instance in "ab"
            ],
            "promql_expr_test": [
                {
                    "expr": f'count by (alertname) (ALERTS{{alertname="{alert}",alertstate="firing"}})',
                    "eval_time": "55m",
                    "exp_samples": expected(alert, fires),
                }
            ],
        }
        for alert, cases in CASES.items()
        for fires, examples in zip((True, False), cases, strict=True)
        for series in examples
    ]
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(MONITORING / "alerts.yml")], "tests": tests}))

    promtool("test", "rules", file)


def with_instance(series: str, instance: str) -> str:
    name, brace, labels = series.partition("{")
    return f'{name}{{instance="{instance}"' + (f",{labels}" if brace else "}")


def expected(alert: str, fires: bool) -> list[dict[str, Any]]:
    """One firing alert for both web servers, except for `CaptiondWebDown`, which is about one of them."""
    value = 2 if alert == "CaptiondWebDown" else 1
    return [{"labels": f'{{alertname="{alert}"}}', "value": value}] if fires else []


def test_rates_are_not_added_up_over_web_servers(tmp_path: Path) -> None:
    def series(model: str, instance: str) -> dict[str, str]:
        name = f'captiond_model_call_seconds_count{{model="{model}",instance="{instance}"}}'
        return {"series": name, "values": "0+60x20"}

    test = {
        "interval": "1m",
        "input_series": [series(model, instance) for model in ("one", "two") for instance in "ab"],
        "promql_expr_test": [
            {
                "expr": "captiond:pictures_per_second",
                "eval_time": "15m",
                "exp_samples": [{"labels": "captiond:pictures_per_second", "value": 2}],
            }
        ],
    }
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(MONITORING / "alerts.yml")], "tests": [test]}))

    promtool("test", "rules", file)


def test_the_dashboard_shows_every_metric(shown: set[str]) -> None:
    queried = {name for query in QUERIES for name in re.findall(r"captiond_[a-z0-9_]+", query)}

    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in queried} == {
        re.sub(r"_(bucket|count|sum)$", "", name) for name in shown
    }
