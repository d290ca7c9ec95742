"""What a finished pipeline counted, as a flat dictionary."""

from typing import Any


def counters(result: Any) -> dict[str, int]:
    """Sums of all counters of a pipeline result, by name.

    Committed values where the runner knows them, attempted ones otherwise; an empty dictionary for a runner that offers
    no metrics.
    """
    try:
        found = result.metrics().query()["counters"]
    except (AttributeError, NotImplementedError, ValueError):
        return {}
    sums: dict[str, int] = {}
    for entry in found:
        value = entry.committed if entry.committed is not None else entry.attempted
        sums[entry.key.metric.name] = sums.get(entry.key.metric.name, 0) + int(value or 0)
    return dict(sorted(sums.items()))
