"""The cores that this process may use, and how long it has run."""

import os
import time
from pathlib import Path

IMPORTED = time.monotonic()


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def process_seconds() -> float:
    """Seconds since the kernel started this process; where that is unknown, since this module was imported."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])  # the name may contain spaces
        return round(time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"), 3)
    except (OSError, AttributeError, ValueError, IndexError):  # not Linux
        return round(time.monotonic() - IMPORTED, 3)
