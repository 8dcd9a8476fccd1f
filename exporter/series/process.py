"""What the processes of a server show."""

from __future__ import annotations

from collections.abc import Sequence

from exporter import metrics
from exporter.metrics import Series
from exporter.quantities import Instance
from exporter.readings import ProcessReading


def samples(instances: Sequence[Instance], reading: ProcessReading | None) -> dict[Series, float]:
    """The running instances. ``reading`` is where this program measured them itself, None where gateways did."""
    if not instances:
        return {}
    memory = [sum(process.resident_memory_bytes for process in instance) for instance in instances]
    fds = [process.open_fds for instance in instances for process in instance]
    threads = [process.threads for instance in instances for process in instance]
    found: dict[Series, float] = {
        metrics.RESIDENT_MEMORY.series(): sum(memory),
        metrics.RESIDENT_MEMORY_MAX.series(): max(memory),
        metrics.PROCESSES.series(): len(fds),
        # An instance is as old as the oldest of its processes; the newest instance shows the last restart.
        metrics.START_TIME.series(): max(min(process.start_time for process in instance) for instance in instances),
    }
    for family, counts in ((metrics.OPEN_FDS, fds), (metrics.THREADS, threads)):
        if None not in counts:
            found[family.series()] = sum(count for count in counts if count is not None)
    if reading is not None and reading.proportional_memory_bytes is not None:
        found[metrics.PROPORTIONAL_MEMORY.series()] = reading.proportional_memory_bytes
    return found
