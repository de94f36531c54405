"""Prepare a run's worker before its first task. Imports little, since workers start before anything else."""

from curate.engine.base import prepare_worker


def load_worker() -> None:
    """Prepare a worker, and load compiled kernels while the driver plans."""
    from curate.pipeline.warm import load_kernels

    prepare_worker()
    load_kernels()
