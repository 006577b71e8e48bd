"""Metrics for a monitoring system. Each app registers a collector for its own metrics; `prometheus_client` writes the text."""
from collections.abc import Iterable
from typing import Callable, Union

import prometheus_client
from prometheus_client.registry import Collector, CollectorRegistry

GAUGE, COUNTER = "gauge", "counter"


class Metric(prometheus_client.Metric):
    """One metric, with one value or one per set of labels. Names follow Prometheus: base units, counters end in `_total`."""

    def __init__(self, name: str, help: str, kind: str = GAUGE) -> None:
        super().__init__(name[:-len("_total")] if kind == COUNTER else name, help, kind)
        self._sample_name = name

    def add(self, value: Union[int, float], **labels: str) -> "Metric":
        """Add a sample. Returns the metric itself."""
        self.add_sample(self._sample_name, labels, value)
        return self


_collectors: dict[str, Callable[[], Iterable[Metric]]] = {}


class _Page(Collector):
    """Gives `prometheus_client` the current metrics of all collectors."""

    def collect(self) -> Iterable[Metric]:
        for name in sorted(_collectors):
            yield from _collectors[name]()


def register(name: str, collector: Callable[[], Iterable[Metric]]) -> None:
    """Add a collector to `render`. Call this in `AppConfig.ready()`. A collector replaces an earlier one with the same name."""
    _collectors[name] = collector


_registry = CollectorRegistry()
_registry.register(_Page())


def render() -> str:
    """All current metrics as text/plain; version=0.0.4."""
    return prometheus_client.generate_latest(_registry).decode()
