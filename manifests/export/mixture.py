"""Several runs in given shares: a YAML file says which, and how much of each a training sees.

    name: web-and-code
    tokens: 10B                # of the whole training; default: as many as there are without repeating any source
    max_epochs: 4
    sources:
      web:  {run: runs/web, weight: 0.7}
      code: {run: runs/code, weight: 0.3}
    replay: {run: runs/last-year, share: 5%}

Repeating data up to four times costs little against fresh data (Muennighoff et al. 2023, arXiv 2305.16264), and replay
of an earlier corpus keeps a continued training from forgetting it (Ibrahim et al. 2024, arXiv 2403.08763).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from curate.engine.base import Engine, InProcess
from curate.errors import RecipeError
from curate.manifests.export.sources import (
    MESSAGES,
    SHARE_SEED,
    TRAIN,
    VALIDATION,
    Shard,
    Source,
    counts_by_split,
    mapped,
    open_source,
    places,
    read_ids,
    taken,
)  # fmt: skip
from curate.recipe.load import parse_fields, read_fields
from curate.recipe.section import Section
from curate.recipe.values import ProperShare, Tokens

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
REPLAY = "replay"


class MixedRun(Section):
    """One run of a mixture."""

    run: str = Field(description="a run directory, from the folder of this file")
    weight: float | None = Field(default=None, gt=0, description="its part of the tokens, against the other weights")
    tokens: Tokens | None = Field(default=None, description="how many of its tokens a training sees")

    @model_validator(mode="after")
    def _one_of_two(self) -> "MixedRun":
        if (self.weight is None) == (self.tokens is None):
            raise ValueError("has a weight or tokens, one of the two")
        return self


class Replay(Section):
    """A part of an earlier run."""

    run: str = Field(description="a run directory, from the folder of this file")
    share: ProperShare = Field(description="of all tokens of the mixture")


class Mixture(Section):
    """What a training sees of several runs."""

    name: Annotated[str, Field(pattern=NAME)]
    tokens: Tokens | None = Field(default=None, description="of the whole training; null: without repeating a source")
    max_epochs: float = Field(default=4.0, gt=0, description="more passes over a source than these are refused")
    sources: Annotated[dict[Annotated[str, Field(pattern=NAME)], MixedRun], Field(min_length=1)]
    replay: Replay | None = None

    @model_validator(mode="after")
    def _of_one_kind(self) -> "Mixture":
        kinds = {source.tokens is None for source in self.sources.values()}
        if len(kinds) > 1:
            raise ValueError("sources: give all of them a weight, or all of them tokens")
        if kinds == {False} and self.tokens is not None:
            raise ValueError("tokens: is the sum of the sources' tokens; leave it out, or give the sources weights")
        if len({name.lower() for name in self.sources}) < len(self.sources):
            raise ValueError("sources: two names differ in case alone, which some file systems do not tell apart")
        for name in self.sources:
            if name.lower() in {f"{other.lower()}_{VALIDATION}" for other in self.sources}:
                raise ValueError(f"sources: {name} is what trainers call a second split; choose another name")
        if REPLAY in self.sources and self.replay:
            raise ValueError(f"sources: {REPLAY} is what the replayed run is called; choose another name")
        return self


def open_sources(path: Path, validation: float = 0.0, engine: Engine | None = None) -> tuple[Source, ...]:
    """What an export is made of: one run (a folder), or the runs of a mixture (a YAML file).

    `validation` is the share of the documents that are not trained on, which a mixture does not count.

    Errors: RunError where a run cannot be exported; RecipeError for a mixture that cannot be.
    """
    if path.is_dir() or path.suffix not in (".yaml", ".yml"):
        return (open_source(path),)
    return mixed(read_mixture(path), path.parent, validation, engine or InProcess())


def read_mixture(path: Path) -> Mixture:
    """A mixture's file.

    Errors: RecipeError naming the file, the field and what would have been right.
    """
    fields = read_fields(path, "a mixture is a mapping of fields such as name and sources")
    return parse_fields(fields, Mixture, str(path), "the mixture")


def mixed(mixture: Mixture, folder: Path, validation: float, engine: Engine) -> tuple[Source, ...]:
    """The sources of a mixture with weights that sum to 1, and the epochs that a training makes over each.

    Both are of what is trained on: of the documents that are not held out for validation.

    Errors: RecipeError for more epochs than are allowed, a source with nothing to train on, chats of unlike kinds.
    """
    opened = {name: open_source(folder / one.run, name) for name, one in mixture.sources.items()}
    there = _tokens_to_train_on(opened.values(), validation, engine)
    for name in (name for name, tokens in there.items() if not tokens):
        what = f"--validation {validation:.6g} leaves nothing of {name} to train on" if validation else f"{name}: empty"
        raise RecipeError(f"{mixture.name}: {what}; leave it out of the mixture")
    earlier = _placed(mixture.replay, folder, validation, engine) if mixture.replay else None
    replayed = mixture.replay.share if mixture.replay else 0.0
    targets = {name: float(one.tokens or 0) for name, one in mixture.sources.items()}
    if not any(targets.values()):
        weights = {name: one.weight or 0.0 for name, one in mixture.sources.items()}
        total = sum(weights.values())
        fresh = min(there[name] / weight for name, weight in weights.items()) * total
        if earlier:
            fresh = min(fresh, int(earlier.tokens.sum()) / replayed * (1 - replayed))
        if mixture.tokens is not None:
            fresh = mixture.tokens * (1 - replayed)
        targets = {name: fresh * weight / total for name, weight in weights.items()}
    whole = sum(targets.values()) / (1 - replayed)
    found = [replace(opened[name], weight=targets[name] / whole, epochs=targets[name] / there[name]) for name in opened]
    if earlier:
        found.append(_replayed(earlier, whole * replayed, replayed))
    runs: dict[str, str] = {}
    for source in found:
        if (other := runs.setdefault(source.manifest_sha256, source.name)) != source.name:
            raise RecipeError(f"{mixture.name}: {other} and {source.name} are one run; name it once, with more weight")
        if source.epochs > mixture.max_epochs * (1 + 1e-9):
            raise RecipeError(
                f"{mixture.name}: {source.name} would be seen {source.epochs:.3g} times, max_epochs is "
                f"{mixture.max_epochs:g}; ask for fewer tokens, give it less weight, or raise max_epochs"
            )
    return _of_one_kind(mixture.name, found)


def _tokens_to_train_on(sources: Iterable[Source], validation: float, engine: Engine) -> dict[str, int]:
    """Tokens of each source that are not held out."""
    if not validation:
        return {source.name: sum(shard.tokens for shard in source.shards) for source in sources}
    found = {source.name: 0 for source in sources}
    tasks = [(replace(source, shards=()), shard, validation) for source in sources for shard in source.shards]
    for (source, _, _), tokens in mapped(engine, _trained, tasks):
        found[source.name] += tokens
    return found


def _trained(task: tuple[Source, Shard, float]) -> int:
    """Tokens of a shard that are not held out."""
    return counts_by_split(*task)[TRAIN][1]


@dataclass(frozen=True)
class Placed:
    """The documents of an earlier run that may be trained on, in the order in which they are taken."""

    source: Source
    places: npt.NDArray[np.float64]  # of a hash of doc_id, ascending
    tokens: npt.NDArray[np.int64]


def _placed(replay: Replay, folder: Path, validation: float, engine: Engine) -> Placed:
    """The earlier run: 16 bytes of memory a document."""
    source = open_source(folder / replay.run, REPLAY)
    alone = replace(source, shards=())
    tasks = [(k, alone, shard, validation) for k, shard in enumerate(source.shards)]
    found = {task[0]: result for task, result in mapped(engine, _placed_of_shard, tasks)}
    drawn, tokens = (np.concatenate([found[k][n] for k in sorted(found)]) for n in (0, 1))
    if not tokens.sum():
        raise RecipeError(f"{folder / replay.run}: has nothing to replay; leave replay out of the mixture")
    order = np.argsort(drawn, kind="stable")
    return Placed(source, drawn[order], tokens[order])


def _placed_of_shard(
    task: tuple[int, Source, Shard, float],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Places and tokens of the documents of a shard that are not held out."""
    _, source, shard, validation = task
    ids, table = read_ids(source, shard.path, source.n_tokens)
    mask = taken(source, ids, TRAIN, validation)
    return places(ids, SHARE_SEED)[mask], table[source.n_tokens].to_numpy()[mask]


def _replayed(earlier: Placed, tokens: float, weight: float) -> Source:
    """The earlier run, of which as many documents are taken as fill the tokens."""
    filled = np.cumsum(earlier.tokens)
    count = int(np.searchsorted(filled, tokens)) + 1  # the first documents that together have at least so many
    share = float(earlier.places[count]) if count < len(filled) else 1.0
    epochs = tokens / float(filled[min(count, len(filled)) - 1])
    return replace(earlier.source, share=share, weight=weight, epochs=epochs, role=REPLAY)


def _of_one_kind(name: str, sources: list[Source]) -> tuple[Source, ...]:
    """The sources, with one type for the messages of all: fields that only some runs have are null in the others.

    Errors: RecipeError where the types of a field cannot be one.
    """
    kinds: dict[str, pa.DataType] = {}
    for source in sources:
        if source.messages:
            kinds[source.name] = pq.read_schema(source.shards[0].path).field(source.messages).type
    try:
        schemas = [pa.schema([(MESSAGES, kind)]) for kind in kinds.values()]
        whole = pa.unify_schemas(schemas, promote_options="permissive") if schemas else None
    except pa.ArrowException as error:
        told = str(error).splitlines()[0].rpartition(": ")[2]
        raise RecipeError(
            f"{name}: the chats of {', '.join(kinds)} are of unlike kinds: {told}; export them apart"
        ) from None
    return tuple(replace(s, chats=whole.field(MESSAGES).type if whole and s.messages else None) for s in sources)
