"""What Prometheus reads: the requests of this process, and the figures of the whole service from the database."""

import threading
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.deps import Parts
from shared.store.counters import CounterName
from shared.store.monitoring import Figures, figures

# However many ask however often, the database is asked this seldom.
FIGURES_HOLD_S = 5.0
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

# Prometheus has no use for the moment at which each series was made.
disable_created_metrics()


def new_registry() -> tuple[CollectorRegistry, Histogram]:
    """What one API process exposes by itself, and the histogram of its requests."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    durations = Histogram(
        "actrobust_http_request_duration_seconds", "Time until the answer of this API process began.",
        ["method", "route", "status"], registry=registry, buckets=BUCKETS_S,
    )  # fmt: skip
    return registry, durations


class ServiceFigures(Collector):
    """The figures of the whole service: every API process tells the same."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = threading.Lock()
        self._held: Figures | None = None
        self._read_at_s = 0.0

    def collect(self) -> Iterator[Metric]:
        """Raises: ServiceUnavailableError."""
        now = self._figures()
        yield _by("actrobust_jobs", "Jobs by state.", "state", now.jobs)
        yield _by("actrobust_experiments", "Experiments by state, deleted ones left out.", "state", now.experiments)
        yield _by("actrobust_queue_depth", "Jobs that wait, by what they ask for.", "device", now.queue_depth)
        yield GaugeMetricFamily(
            "actrobust_oldest_waiting_job_age_seconds", "Since the oldest waiting job was posted; 0 when none waits.",
            now.oldest_waiting_s,
        )  # fmt: skip
        yield _by("actrobust_worker_slots", "Training processes that are alive.", "device", now.slots)
        yield GaugeMetricFamily("actrobust_worker_slots_busy", "Those of them that train.", now.slots_busy)
        yield GaugeMetricFamily("actrobust_reconcilers", "Reconcilers that are alive.", now.reconcilers)
        yield GaugeMetricFamily(
            "actrobust_jobs_overdue", "Jobs of silent workers that should have been taken back.", now.jobs_overdue
        )
        yield CounterMetricFamily(
            "actrobust_epochs_trained", "Epochs of single networks.", now.counters[CounterName.EPOCHS_TRAINED]
        )
        yield CounterMetricFamily(
            "actrobust_lease_losses", "Jobs taken back from lost workers.", now.counters[CounterName.LEASE_LOSSES]
        )
        is_up = self._parts.broker.answers()
        yield GaugeMetricFamily("actrobust_broker_up", "Whether the broker answers this process.", int(is_up))

    def _figures(self) -> Figures:
        with self._lock:
            if self._held is None or time.monotonic() - self._read_at_s > FIGURES_HOLD_S:
                with self._parts.database.read() as session:
                    self._held = figures(session, self._parts.settings)
                self._read_at_s = time.monotonic()
            return self._held


def _by(name: str, description: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, description, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family
