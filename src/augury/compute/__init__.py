"""Work on many items at once: one `Pool` protocol with threads, processes or a cluster behind it.

`open_pool` opens the pool that the user asked for, `map_any_order` maps a function over items by
it, and `run_tasks` and `run_in_threads` run tasks of different functions on the same data.
"""

from augury.compute.connect import open_pool
from augury.compute.pool import Pool, RunTasks, WorkerDied, in_order, map_any_order, run_tasks
from augury.compute.processes import Processes, process_count
from augury.compute.threads import Threads, cores, run_in_threads, with_one_blas_thread
from augury.compute.timing import measure_time

__all__ = [
    "Pool",
    "Processes",
    "RunTasks",
    "Threads",
    "WorkerDied",
    "cores",
    "in_order",
    "map_any_order",
    "measure_time",
    "open_pool",
    "process_count",
    "run_in_threads",
    "run_tasks",
    "with_one_blas_thread",
]
