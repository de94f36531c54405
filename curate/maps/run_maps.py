"""Run the tasks of a map and put their parts in force one by one."""

from collections.abc import Callable, Generator, Sequence
from typing import Any

from curate.engine.base import Engine
from curate.ledger.ledger import Ledger
from curate.ledger.parts import Part
from curate.progress import Log


def run_tasks(
    function: Callable[[Any], list[Part]], tasks: Sequence[Any], ledger: Ledger, engine: Engine, log: Log, event: str
) -> Generator[tuple[Any, Any]]:
    """Run tasks and put the parts of each in force as it finishes; yield what `Engine.map` yields."""
    try:
        for task, result in engine.map(function, tasks):
            if isinstance(result, list):
                ledger.add(result)
                log.event(event, task=str(task), documents=result[0].rows, parts=len(result))
            yield task, result
    finally:
        ledger.commit()
