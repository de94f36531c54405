"""Tasks for workers. Nothing is imported that a worker would have to load with them."""

import os
import time


def greedy(task):
    """Needs much memory, the first time that it is tried, or always."""
    path, always = task
    tried = path.exists()
    path.touch()
    if always or not tried:
        bytearray(1 << 62)
    return "done"


def late(task):
    """Takes a while for all but the first task."""
    time.sleep(0.3 if task > 1 else 0)
    return -task


def doubled(task):
    """Twice as much."""
    return 2 * task


def parent_of(task):
    """The process that started this one, a while later."""
    time.sleep(0.5)
    return os.getppid()
