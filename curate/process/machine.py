"""What this process may use of the machine, and how long it has run."""

import os
import time
from pathlib import Path

IMPORTED = time.monotonic()


def available_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def process_seconds() -> float:
    """Seconds since this process was started, as the kernel knows it; elsewhere since it was imported."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])  # behind a name with blanks
        return round(time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"), 3)
    except (OSError, AttributeError, ValueError, IndexError):  # not Linux
        return round(time.monotonic() - IMPORTED, 3)
