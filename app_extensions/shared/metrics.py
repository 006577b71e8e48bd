"""Figures for a monitoring system. Each application registers a collector for its own; `prometheus_client` writes the text."""
from collections.abc import Iterable
from typing import Callable, Union

import prometheus_client
from prometheus_client.registry import Collector, CollectorRegistry

GAUGE, COUNTER = "gauge", "counter"


class Metric(prometheus_client.Metric):
    """One figure, or one per set of labels. Names follow Prometheus: base units, counters end in `_total`."""

    def __init__(self, name: str, help: str, kind: str = GAUGE) -> None:
        super().__init__(name[:-len("_total")] if kind == COUNTER else name, help, kind)
        self._sample_name = name

    def add(self, value: Union[int, float], **labels: str) -> "Metric":
        """Adds a sample; returns itself."""
        self.add_sample(self._sample_name, labels, value)
        return self


_collectors: dict[str, Callable[[], Iterable[Metric]]] = {}


class _Page(Collector):
    """What `prometheus_client` asks for the figures of now."""

    def collect(self) -> Iterable[Metric]:
        for name in sorted(_collectors):
            yield from _collectors[name]()


def register(name: str, collector: Callable[[], Iterable[Metric]]) -> None:
    """Has `render` ask `collector` too; call it in `AppConfig.ready()`. The same name replaces."""
    _collectors[name] = collector


_registry = CollectorRegistry()
_registry.register(_Page())


def render() -> str:
    """All figures of now as text/plain; version=0.0.4."""
    return prometheus_client.generate_latest(_registry).decode()
