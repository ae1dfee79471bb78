"""Work spread over cores: threads of this process, other processes, or a cluster."""

from augury.compute.processes import WorkerDied, in_order, process_count, spread, timed

__all__ = ["WorkerDied", "in_order", "process_count", "spread", "timed"]
