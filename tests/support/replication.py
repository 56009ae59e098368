"""A replicated Redis: a primary, replicas and Sentinels as real processes, with TLS and passwords if wanted."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import trustme
from redis import Redis, RedisError

from cli.redis_server import find_server
from cli.serve import free_port
from common.sentinel import NO_RETRY
from tests.support.service import wait_until

#: Name under which the Sentinels monitor the primary.
SERVICE = "main"
#: Milliseconds without an answer after which a Sentinel considers the primary lost.
DOWN_AFTER_MS = 1000
#: Milliseconds after which a Sentinel tries a failover again.
FAILOVER_TIMEOUT_MS = 6000
#: Directives of the Redis servers.
REPLICATED = {"appendonly": "yes", "save": '""', "repl-diskless-sync-delay": "0"}


class Tls:
    """A certificate authority, and a certificate for this machine."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1", "localhost")
        self.ca, self.certificate, self.key = (str(folder / name) for name in ("ca.pem", "cert.pem", "key.pem"))
        authority.cert_pem.write_to_path(self.ca)
        certificate.cert_chain_pems[0].write_to_path(self.certificate)
        certificate.private_key_pem.write_to_path(self.key)

    def directives(self, port: int) -> dict[str, str]:
        """Redis' directives to listen on `port` with TLS only."""
        files = {"tls-cert-file": self.certificate, "tls-key-file": self.key, "tls-ca-cert-file": self.ca}
        return {"port": "0", "tls-port": str(port), "tls-replication": "yes", "tls-auth-clients": "no", **files}


class RedisNode:
    """One Redis server or Sentinel with a configuration file, which it rewrites when its role changes.

    It listens on `host` and `port`, by default a free one, and on the loopback address.
    """

    def __init__(
        self,
        folder: Path,
        program: str,
        directives: Mapping[str, str],
        tls: Tls | None = None,
        *,
        sentinel: bool = False,
        host: str = "127.0.0.1",
        port: int | None = None,
    ) -> None:
        folder.mkdir(parents=True)
        self.folder, self.host, self.port = folder, host, port or free_port()
        self._tls = tls
        listening = tls.directives(self.port) if tls else {"port": str(self.port)}
        # The first address is also that of outgoing connections.
        bind = " ".join(dict.fromkeys([self.host, "127.0.0.1"]))
        lines = {"bind": bind, "protected-mode": "no", "dir": str(folder), **listening, **directives}
        configuration = folder / "redis.conf"
        configuration.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
        self.command = [program, str(configuration), *(["--sentinel"] if sentinel else [])]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=subprocess.STDOUT)
        wait_until(self.answers, self.log, timeout=20)

    def kill(self) -> None:
        """End the process with SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def client(self, **options: Any) -> Redis:
        """A client of this node alone."""
        tls: dict[str, Any] = {"ssl": True, "ssl_ca_certs": self._tls.ca} if self._tls else {}
        return Redis(self.host, self.port, decode_responses=True, socket_timeout=2, retry=NO_RETRY, **tls, **options)

    def answers(self) -> bool:
        """Whether the process answers, if only with an error about a missing password."""
        try:
            with self.client() as client:
                return bool(client.ping())
        except RedisError as error:
            return "authentic" in str(error).lower() or "NOAUTH" in str(error)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-3000:]


class Link:
    """A TCP connection of a replica to its primary, through a proxy that can stop forwarding, as a network may."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._forwards = threading.Event()
        self._forwards.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self) -> None:
        """Forward nothing any more. What was sent and not received is lost."""
        self._forwards.clear()

    def close(self) -> None:
        """End all threads. Call it after both ends have ended."""
        self._forwards.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                inside, _address = self._listener.accept()
                try:
                    outside = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    inside.close()
                    continue
                for source, target in ((inside, outside), (outside, inside)):
                    threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with source, contextlib.suppress(OSError):
            while data := source.recv(2**16):
                self._forwards.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)


class ReplicatedRedis:
    """A primary, `replicas` and `sentinels`. `directives` are further ones of the Redis servers.

    With `links`, each replica reaches the primary through a `Link`. The Sentinels replace such an address by that of
    the primary about ten seconds after their start.
    """

    def __init__(
        self,
        folder: Path,
        *,
        replicas: int = 2,
        sentinels: int = 3,
        password: str = "",
        sentinel_password: str = "",
        tls: Tls | None = None,
        directives: Mapping[str, str] | None = None,
        links: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        program = server_with_tls(folder) if tls else find_server() or "redis-server"
        self._password, self._sentinel_password, self._tls = password, sentinel_password, tls
        own = {**REPLICATED, "aof-use-rdb-preamble": "no", **(directives or {})}
        if password:
            own |= {"requirepass": password, "masterauth": password}
        primary = RedisNode(folder / "redis-0", program, own, tls)
        self.nodes = [primary]
        self.links = [Link(primary.port) for _ in range(replicas if links else 0)]
        for number in range(replicas):
            port = self.links[number].port if links else primary.port
            directives = {**own, "replicaof": f"127.0.0.1 {port}"}
            self.nodes.append(RedisNode(folder / f"redis-{number + 1}", program, directives, tls))
        monitor = monitoring(primary.host, primary.port, sentinels // 2 + 1)
        if password:
            monitor |= {"sentinel auth-pass": f"{SERVICE} {password}"}
        if sentinel_password:
            monitor |= {"requirepass": sentinel_password}
        self.sentinels = [
            RedisNode(folder / f"sentinel-{n}", program, monitor, tls, sentinel=True) for n in range(sentinels)
        ]

    @property
    def url(self) -> str:
        """The URL for `CAPTIOND_REDIS_URL`."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.sentinels)
        credentials = f":{quote(self._password, safe='')}@" if self._password else ""
        options = [f"ssl_ca_certs={self._tls.ca}"] if self._tls else []
        if self._sentinel_password:
            options.append(f"sentinel_password={self._sentinel_password}")
        return f"sentinel://{credentials}{hosts}/{SERVICE}/0" + (f"?{'&'.join(options)}" if options else "")

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        """Start all processes, wait until replicas and Sentinels know each other, and end the processes after that."""
        try:
            self._start()
            yield self
        finally:
            self._stop()

    def _start(self) -> None:
        for node in self.nodes:
            node.start()
        options: dict[str, Any] = {"password": self._password} if self._password else {}
        with self.nodes[0].client(**options) as primary:
            wait_until(lambda: primary.info("replication")["connected_slaves"] == len(self.nodes) - 1, timeout=30)
        for node in self.sentinels:
            node.start()
        wait_until(lambda: all(self._knows_all(node) for node in self.sentinels), timeout=30)

    def primary(self) -> RedisNode:
        """The node that the first Sentinel names as primary."""
        with self._sentinel_client(self.sentinels[0]) as client:
            _host, port = client.sentinel_get_master_addr_by_name(SERVICE)
        return next(node for node in self.nodes if node.port == int(port))

    def _stop(self) -> None:
        for node in (*self.sentinels, *self.nodes):
            if node.process is not None:
                node.kill()
        for link in self.links:
            link.close()

    def _sentinel_client(self, node: RedisNode) -> Redis:
        options: dict[str, Any] = {"password": self._sentinel_password} if self._sentinel_password else {}
        return node.client(**options)

    def _knows_all(self, node: RedisNode) -> bool:
        with self._sentinel_client(node) as client:
            state = client.sentinel_master(SERVICE)
        others = int(state["num-other-sentinels"])
        return others == len(self.sentinels) - 1 and int(state["num-slaves"]) == len(self.nodes) - 1


def monitoring(host: str, port: int, quorum: int) -> dict[str, str]:
    """A Sentinel's directives to monitor this primary. `quorum` Sentinels must agree that it is lost."""
    return {
        "sentinel monitor": f"{SERVICE} {host} {port} {quorum}",
        "sentinel down-after-milliseconds": f"{SERVICE} {DOWN_AFTER_MS}",
        "sentinel failover-timeout": f"{SERVICE} {FAILOVER_TIMEOUT_MS}",
    }


def server_with_tls(folder: Path) -> str:
    """Path of a Redis server built with TLS; the bundled one is not. Raises `LookupError`.

    On Debian, `redis-sentinel` is the same program as `redis-server`, and does what its name says.
    """
    candidates = [shutil.which("redis-server"), shutil.which("valkey-server")]
    if sentinel := shutil.which("redis-sentinel"):
        link = folder / "redis-server"
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.realpath(sentinel))
        candidates.append(str(link))
    for program in filter(None, candidates):
        refused = subprocess.run([program, "--tls-port", "x"], capture_output=True, text=True, check=False)
        if "argument couldn't be parsed" in refused.stdout + refused.stderr:
            return program
    raise LookupError("No Redis server with TLS is installed.")
