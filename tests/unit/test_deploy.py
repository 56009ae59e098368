"""The files of deploy/ are valid, offline, and agree with what the code promises about probes and shutdown."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from common.settings import PROJECT_ROOT, Settings, variable
from web import shutdown
from worker.runtime import DRAIN_TIMEOUT

KUBERNETES = PROJECT_ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
UNITS = sorted((PROJECT_ROOT / "deploy" / "systemd").glob("*.service"))
PROGRAMS = Path(sys.executable).parent

Manifest = dict[str, Any]


@cache
def rendered(overlay: str) -> list[Manifest]:
    command = [str(PROGRAMS / "kubectl"), "kustomize", str(KUBERNETES / "overlays" / overlay)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return list(yaml.safe_load_all(output))


def find(overlay: str, kind: str, name: str) -> Manifest:
    (found,) = (item for item in rendered(overlay) if (item["kind"], item["metadata"]["name"]) == (kind, name))
    return found


def pod(overlay: str, name: str) -> Manifest:
    spec: Manifest = find(overlay, "Deployment", name)["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("overlay", OVERLAYS)
class TestKubernetes:
    def test_the_manifests_are_valid(self, overlay: str) -> None:
        for manifest in rendered(overlay):
            if not manifest["apiVersion"].startswith("keda.sh/"):  # its schemas are not among those of Kubernetes
                kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)

    @pytest.mark.parametrize("name", ["web", "worker"])
    def test_pods_may_run_in_a_restricted_namespace(self, overlay: str, name: str) -> None:
        spec = pod(overlay, name)
        (container,) = spec["containers"]

        assert spec["securityContext"]["runAsNonRoot"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/data", "/tmp"}

    def test_the_grace_periods_exceed_what_a_shutdown_takes(self, overlay: str) -> None:
        (web,) = pod(overlay, "web")["containers"]
        before = int(web["lifecycle"]["preStop"]["exec"]["command"][1])

        assert pod(overlay, "web")["terminationGracePeriodSeconds"] >= before + shutdown.GRACE_PERIOD + 5
        assert pod(overlay, "worker")["terminationGracePeriodSeconds"] >= 2 * DRAIN_TIMEOUT

    def test_probes_of_the_web_server_use_its_health_checks(self, overlay: str) -> None:
        (web,) = pod(overlay, "web")["containers"]

        assert web["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert web["readinessProbe"]["httpGet"]["path"] == "/readyz"

    def test_the_settings_exist(self, overlay: str) -> None:
        (settings,) = (item["data"] for item in rendered(overlay) if item["kind"] == "ConfigMap")

        assert set(settings) <= {variable(name) for name in Settings.model_fields}

    def test_workers_are_scaled_by_the_age_of_the_queue(self, overlay: str) -> None:
        scaled = find(overlay, "ScaledObject", "worker")
        (trigger,) = scaled["spec"]["triggers"]
        service = find(overlay, "Service", "web")
        host = f"{service['metadata']['name']}.{service['metadata']['namespace']}:{service['spec']['ports'][0]['port']}"

        assert trigger["type"] == "metrics-api"
        assert trigger["metadata"]["url"] == f"http://{host}/v1/queue"
        assert trigger["metadata"]["valueLocation"] == "oldest_seconds"
        assert scaled["spec"]["scaleTargetRef"]["name"] == find(overlay, "Deployment", "worker")["metadata"]["name"]
        assert (
            trigger["authenticationRef"]["name"]
            == find(overlay, "TriggerAuthentication", "captiond")["metadata"]["name"]
        )


def test_the_gpu_overlay_gives_each_worker_a_gpu() -> None:
    (worker,) = pod("gpu", "worker")["containers"]

    assert worker["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert worker["image"] == "captiond-worker:cuda"


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
class TestSystemd:
    @pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
    def test_the_unit_is_valid_and_confined(self, unit: Path, tmp_path: Path) -> None:
        """Checked with an interpreter of this machine, because the unit's program is not installed here."""
        installed = tmp_path / unit.name
        installed.write_text(unit.read_text().replace("/opt/captiond/.venv/bin/captiond", sys.executable))
        verified = subprocess.run(["systemd-analyze", "verify", "--man=no", installed], capture_output=True, text=True)
        rated = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--threshold=25", installed],
            capture_output=True,
            text=True,
        )

        assert (verified.returncode, verified.stderr) == (0, "")
        assert rated.returncode == 0, rated.stdout

    def test_it_has_time_to_stop(self, unit: Path) -> None:
        (period,) = (line for line in unit.read_text().splitlines() if line.startswith("TimeoutStopSec="))

        assert int(period.partition("=")[2]) > 45 + shutdown.GRACE_PERIOD
