"""How many processors there are to share work among."""

import os


def num_processors() -> int:
    """Processors that this process may use, which a container or `taskset` may have made fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
