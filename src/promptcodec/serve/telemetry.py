"""What a service counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Telemetry:
    """Counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        prefix = "promptcodec"
        self._requests = Counter(
            f"{prefix}_requests", "Answered requests.", ["route", "method", "status"], registry=self._registry
        )
        self._durations = Histogram(
            f"{prefix}_request_seconds", "From a request's header to the end of its answer.", ["route"],
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._work = Histogram(
            f"{prefix}_work_seconds", "Of a worker on one job.", ["operation"], buckets=_SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self._ended = Counter(
            f"{prefix}_workers_ended", "Workers that were replaced: over time, short of memory, or ended.", ["reason"],
            registry=self._registry,
        )  # fmt: skip

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request by the template of its path."""
        self._requests.labels(route, method, str(status)).inc()
        self._durations.labels(route).observe(seconds)

    def worked(self, operation: str, seconds: float) -> None:
        """Count a job."""
        self._work.labels(operation).observe(seconds)

    def worker_ended(self, reason: str) -> None:
        """Count a worker that had to be replaced."""
        self._ended.labels(reason).inc()

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Report a number that is read when it is asked for."""
        Gauge(f"promptcodec_{name}", text, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """Return all numbers in Prometheus' text format."""
        return generate_latest(self._registry)
