"""Work spread over cores: threads of this process, other processes, or a cluster."""

from augury.compute.processes import WorkerDied, enough, in_order, spread, timed

__all__ = ["WorkerDied", "enough", "in_order", "spread", "timed"]
