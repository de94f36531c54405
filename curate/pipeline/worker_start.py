"""What a worker of a run does before its first task. Imports little by itself: workers start before all else."""

from curate.engine.base import prepare_worker


def load_worker() -> None:
    """Make a process a worker, with the kernels that are compiled already loaded while the driver plans."""
    from curate.pipeline.warm import load_kernels

    prepare_worker()
    load_kernels()
