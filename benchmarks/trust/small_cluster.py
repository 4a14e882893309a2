"""An object store and a Ray cluster of several nodes, all on this machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BUCKET = "chaos"
STORE = 100 * 2**20  # bytes of each node's object store


@contextlib.contextmanager
def object_store() -> Iterator[Any]:
    """A stand-in for S3 on loopback, as a boto3 client; its address is in the environment."""
    import boto3

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "chaos", "AWS_SECRET_ACCESS_KEY": "chaos", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }  # fmt: skip
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        client = boto3.client("s3")
        for _ in range(600):
            with contextlib.suppress(Exception):
                client.create_bucket(Bucket=BUCKET)
                break
            time.sleep(0.5)
        yield client
    finally:
        server.kill()
        server.wait()


def keys(client: Any, prefix: str) -> list[str]:
    """Names of all objects that begin so."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return [each["Key"] for page in pages for each in page.get("Contents", [])]


def get(client: Any, key: str) -> bytes:
    """An object's bytes."""
    return bytes(client.get_object(Bucket=BUCKET, Key=key)["Body"].read())


class Machines:
    """A Ray cluster of several nodes, with those of its processes that may be killed."""

    def __init__(self, nodes: int) -> None:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_worker_niceness": "0",
                       "RAY_USAGE_STATS_ENABLED": "0"}  # fmt: skip
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False},
        )
        self.address = self._cluster.address
        self.nodes = [self._add() for _ in range(nodes)]

    def _add(self) -> Any:
        return self._cluster.add_node(num_cpus=1, object_store_memory=STORE)

    def workers(self) -> list[int]:
        """Process ids of all workers that code."""
        raylets = {str(node.all_processes["raylet"][0].process.pid) for node in self.nodes}
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                if parent in raylets and (folder / "cmdline").read_bytes().startswith(b"ray::_RayWorker"):
                    found.append(int(folder.name))
        return found

    def lose(self, node: Any) -> None:
        """Kill a node's raylet, and with it what runs there; another node takes its place."""
        os.kill(node.all_processes["raylet"][0].process.pid, signal.SIGKILL)
        self.nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)
        self.nodes.append(self._add())

    def close(self) -> None:
        """End all processes."""
        self._cluster.shutdown()
