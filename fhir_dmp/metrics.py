"""What is counted while serving, and where it is told: on a port of its own, never beside the records. https://prometheus.io/docs/.

Labels are names of acts, outcomes, queues and months: a bounded list, and no word of what a record holds. Worker processes count into files of
a folder that the library is told of (``PROMETHEUS_MULTIPROC_DIR``); who listens adds them up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that tells the library where workers count."""

ACTS = Counter("dmp_acts", "Acts that were described for the log, by name and outcome.", ["act", "outcome"])
LOG_ROWS = Counter("dmp_log_rows", "Rows of the log that were made durable.", ["of"])
LOG_BYTES = Counter("dmp_log_bytes", "Bytes of those rows, without indexes and before compression.", ["of"])
LOG_SECONDS = Histogram(
    "dmp_log_flush_seconds",
    "How long one group of rows took to become durable.",
    ["of"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
WAITING = Gauge("dmp_waiting", "Answers that wait for a group to be written.", ["of"], multiprocess_mode="livesum")
SEAL_FAULTS = Counter(
    "dmp_log_seal_faults", "Times that what is stored of the log's seals did not fit: see fhir-dmp audit verify."
)
TURNED_AWAY = Counter("dmp_turned_away", "Requests that were turned away because too many waited.", ["of"])

_log = structlog.get_logger(__name__)


class LogSize(Struct, frozen=True):
    """What one month of the log takes: rows, bytes of rows, and bytes on disk with the indexes."""

    month: str
    rows: int
    size: int
    disk: int


class _LogSizes(Collector):
    """Asks the database for the size of the log whenever somebody looks."""

    def __init__(self, sizes: Callable[[], Iterable[LogSize]]) -> None:
        self._sizes = sizes

    def collect(self) -> Iterable[Metric]:
        """Return the gauges of each month; none while the database does not answer."""
        rows = GaugeMetricFamily(
            "dmp_log_month_rows", "Rows of the log, by month; of many, told from a sample.", labels=["month"]
        )
        size = GaugeMetricFamily("dmp_log_month_bytes", "Bytes of the log, its rows packed.", labels=["month"])
        disk = GaugeMetricFamily(
            "dmp_log_month_disk_bytes", "Bytes of the log on disk, with indexes.", labels=["month"]
        )
        each_row = GaugeMetricFamily("dmp_log_month_bytes_per_row", "Mean bytes of a row.", labels=["month"])
        up = GaugeMetricFamily("dmp_database_up", "Whether the database answered.")
        try:
            found = list(self._sizes())
        except Exception:  # noqa: BLE001 - whatever it is, the page says so and shows the rest
            _log.warning("log-size-unknown")
            up.add_metric([], 0)
            return [up]
        up.add_metric([], 1)
        for month in found:
            rows.add_metric([month.month], month.rows)
            size.add_metric([month.month], month.size)
            disk.add_metric([month.month], month.disk)
            each_row.add_metric([month.month], month.size / month.rows if month.rows else 0)
        return [up, rows, size, disk, each_row]


class _Workers(Collector):
    """Adds up what the workers counted; those that ended wait for nothing any more."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._whole = MultiProcessCollector(None, path=str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        """Return the sums over all workers."""
        for path in self._folder.glob("gauge_live*_*.db"):
            pid = path.stem.rpartition("_")[2]
            if not Path("/proc", pid).exists():
                mark_process_dead(int(pid), path=str(self._folder))  # type: ignore[no-untyped-call]
        found: Iterable[Metric] = self._whole.collect()  # type: ignore[no-untyped-call]
        return found


@contextmanager
def exposed(host: str, port: int, folder: Path, sizes: Callable[[], Iterable[LogSize]]) -> Iterator[None]:
    """Answer at ``host:port`` with what workers count into the folder and the size of the log; port 0: nowhere.

    A port that is taken is told and gone without: whoever looks for metrics misses them, and nobody misses a record.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.db"):
        old.unlink()
    registry = CollectorRegistry()
    registry.register(_Workers(folder))
    registry.register(_LogSizes(sizes))
    try:
        server, thread = start_http_server(port, host, registry) if port else (None, None)
    except OSError as fault:
        _log.warning("metrics-not-served", host=host, port=port, fault=fault.strerror)
        server, thread = None, None
    try:
        yield
    finally:
        if server is not None and thread is not None:
            server.shutdown()
            server.server_close()
            thread.join()
