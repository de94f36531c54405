"""Who is dropped of a finished run, by some or all of its dimensions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.display import fields_of
from curate.errors import CurateError, did_you_mean
from curate.inspect.documents import open_run
from curate.ledger.names import STAGES
from curate.who.cells import add_columns
from curate.who.dimensions import chosen
from curate.who.documents import from_index
from curate.who.rates import ALL, Who, who


@dataclass(frozen=True, slots=True)
class RunWho:
    """Who a run drops, and why columns of the input's files are missing."""

    run: str
    unread: str | None
    result: Who

    def to_json(self) -> dict[str, object]:
        """The fields, those of the result among them."""
        return {"run": self.run, "unread": self.unread} | fields_of(self.result)


def who_of_run(folder: Path, by: Sequence[str] = (), stage: str | None = None) -> RunWho:
    """The drop rates of a run's groups.

    Errors: RunError for a folder that is no finished run; CurateError for a dimension or stage that it has not.
    """
    if stage not in (None, ALL, *STAGES):
        raise CurateError(f"--stage: no stage {stage!r}{did_you_mean(str(stage), STAGES)}")
    with open_run(folder) as run:
        available, inputs = from_index(run.recipe, run.ledger, run.connection)
        picked = chosen(available, by) if by else list(available.values())
        add_columns(run.connection, [dimension for dimension in picked if dimension.name not in available])
        result = who(run.connection, picked, list(available))
    return RunWho(str(folder), inputs.unread, result)
