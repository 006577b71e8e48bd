"""Figures for a monitoring system, in Prometheus' text format. Each application registers a collector for its own."""
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Callable, Union

Number = Union[int, float]
GAUGE, COUNTER = "gauge", "counter"


@dataclass
class Metric:
    """One figure, or one per set of labels. Names follow Prometheus: base units, counters end in `_total`."""

    name: str
    help: str
    kind: str = GAUGE
    samples: list[tuple[dict[str, str], Number]] = field(default_factory=list)

    def add(self, value: Number, **labels: str) -> "Metric":
        """Adds a sample; returns itself."""
        self.samples.append((labels, value))
        return self


Collector = Callable[[], Iterable[Metric]]
_collectors: dict[str, Collector] = {}


def register(name: str, collector: Collector) -> None:
    """Has `render` ask `collector` too; call it in `AppConfig.ready()`. The same name replaces."""
    _collectors[name] = collector


def render() -> str:
    """All figures of now as text/plain; version=0.0.4."""
    lines = []
    for name in sorted(_collectors):
        for metric in _collectors[name]():
            lines.append(f"# HELP {metric.name} {_escaped(metric.help)}")
            lines.append(f"# TYPE {metric.name} {metric.kind}")
            for labels, value in metric.samples:
                inner = ",".join(f'{key}="{_quoted(text)}"' for key, text in labels.items())
                lines.append(f"{metric.name}{'{' + inner + '}' if inner else ''} {_number(value)}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(str(text)).replace('"', '\\"')


def _number(value: Number) -> str:
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "+Inf" if value > 0 else "-Inf"
        return repr(value)
    return str(int(value))
