"""Several runs mixed by shares: a YAML file names them, and how much of each a training sees.

    name: web-and-code
    tokens: 10B                # of the whole training; default: as many as there are without repeating any source
    max_epochs: 4
    sources:
      web:  {run: runs/web, weight: 0.7}
      code: {run: runs/code, weight: 0.3}
    replay: {run: runs/last-year, share: 5%}

Repeating data up to four times costs little against fresh data (`curate/epochs.py`), and replay of an earlier corpus
keeps a continued training from forgetting it (Ibrahim et al. 2024, arXiv 2403.08763).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from curate.engine.base import Engine, InProcess
from curate.epochs import effective
from curate.errors import RecipeError
from curate.manifests.export.sources import (
    MESSAGES,
    SHARE_SEED,
    TRAIN,
    VALIDATION,
    Shard,
    Source,
    hash_fractions,
    map_tasks,
    open_source,
    read_named,
    sizes_by_split,
    split_ids,
    times_written,
)
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


def open_sources(
    path: Path, validation: float = 0.0, engine: Engine | None = None, once: bool = False
) -> tuple[Source, ...]:
    """The sources of an export: one run (a folder), or the runs of a mixture (a YAML file).

    `validation` is the share of the documents held out from training, which a mixture does not count. With `once`
    documents are not repeated by their weights.

    Errors: RunError where a run cannot be exported; RecipeError for a mixture that cannot be.
    """
    if path.is_dir() or path.suffix not in (".yaml", ".yml"):
        return (open_source(path, once=once),)
    return mix_sources(read_mixture(path), path.parent, validation, engine or InProcess(), once)


def read_mixture(path: Path) -> Mixture:
    """The mixture of a YAML file.

    Errors: RecipeError naming the file, the field and what would have been right.
    """
    fields = read_fields(path, "a mixture is a mapping of fields such as name and sources")
    return parse_fields(fields, Mixture, str(path), "the mixture")


def mix_sources(
    mixture: Mixture, folder: Path, validation: float, engine: Engine, once: bool = False
) -> tuple[Source, ...]:
    """The sources of a mixture with weights that sum to 1, and the epochs of a training over each.

    Both count the training split only.

    Errors: RecipeError for more epochs than max_epochs, a source with nothing to train on, chats of unlike types.
    """
    opened = {name: open_source(folder / section.run, name, once) for name, section in mixture.sources.items()}
    available = _training_tokens(opened.values(), validation, engine)
    for name in (name for name, tokens in available.items() if not tokens):
        reason = (
            f"--validation {validation:.6g} leaves nothing of {name} to train on" if validation else f"{name}: empty"
        )
        raise RecipeError(f"{mixture.name}: {reason}; leave it out of the mixture")
    pool = None
    if mixture.replay:
        replayed = open_source(folder / mixture.replay.run, REPLAY, once)
        pool = _open_replay(replayed, folder / mixture.replay.run, validation, engine)
    replay_share = mixture.replay.share if mixture.replay else 0.0
    targets = _target_tokens(mixture, available, pool, replay_share)
    total = sum(targets.values()) / (1 - replay_share)
    sources = [
        replace(source, weight=targets[name] / total, epochs=targets[name] / available[name])
        for name, source in opened.items()
    ]
    if pool:
        sources.append(_replay_source(pool, total * replay_share, replay_share))
    _check_epochs(mixture, sources)
    return _with_one_chat_type(mixture.name, sources)


def _target_tokens(
    mixture: Mixture, available: Mapping[str, int], pool: "ReplayPool | None", replay_share: float
) -> dict[str, float]:
    """Tokens of each source in a training; without a number, as many as repeat no source."""
    targets = {name: float(section.tokens or 0) for name, section in mixture.sources.items()}
    if any(targets.values()):
        return targets
    weights = {name: section.weight or 0.0 for name, section in mixture.sources.items()}
    total = sum(weights.values())
    fresh = min(available[name] / weight for name, weight in weights.items()) * total
    if pool:
        fresh = min(fresh, int(pool.tokens.sum()) / replay_share * (1 - replay_share))
    if mixture.tokens is not None:
        fresh = mixture.tokens * (1 - replay_share)
    return {name: fresh * weight / total for name, weight in weights.items()}


def _check_epochs(mixture: Mixture, sources: Sequence[Source]) -> None:
    """Refuse a run that is named twice, and a source with more epochs than max_epochs."""
    runs: dict[str, str] = {}
    for source in sources:
        if (other := runs.setdefault(source.manifest_sha256, source.name)) != source.name:
            raise RecipeError(f"{mixture.name}: {other} and {source.name} are one run; name it once, with more weight")
        if source.epochs > mixture.max_epochs * (1 + 1e-9):
            raise RecipeError(
                f"{mixture.name}: {source.name} would be seen {source.epochs:.3g} times, max_epochs is "
                f"{mixture.max_epochs:g}; ask for fewer tokens, give it less weight, or raise max_epochs (so repeated, "
                f"it is worth {effective(source.epochs):.3g} times as many fresh tokens as it has)"
            )


def _training_tokens(sources: Collection[Source], validation: float, engine: Engine) -> dict[str, int]:
    """Tokens of each source in the training split, with repetitions by weight."""
    totals, tasks = {source.name: 0 for source in sources}, []
    for source in sources:
        if validation or source.weights:
            tasks += [(replace(source, shards=()), shard, validation) for shard in source.shards]
        else:
            totals[source.name] = sum(shard.tokens for shard in source.shards)
    for (source, _, _), tokens in map_tasks(engine, _training_tokens_of_shard, tasks):
        totals[source.name] += tokens
    return totals


def _training_tokens_of_shard(task: tuple[Source, Shard, float]) -> int:
    return sizes_by_split(*task)[TRAIN][1]


@dataclass(frozen=True)
class ReplayPool:
    """The documents of an earlier run in the training split, in the order in which they are drawn."""

    source: Source
    hashes: npt.NDArray[np.float64]  # of doc_ids, in [0, 1), ascending
    tokens: npt.NDArray[np.int64]


def _open_replay(source: Source, run: Path, validation: float, engine: Engine) -> ReplayPool:
    """The documents of an earlier run. Takes 16 bytes of memory per document."""
    without_shards = replace(source, shards=())
    tasks = [(k, without_shards, shard, validation) for k, shard in enumerate(source.shards)]
    by_shard = {task[0]: result for task, result in map_tasks(engine, _replay_of_shard, tasks)}
    hashes = np.concatenate([by_shard[k][0] for k in sorted(by_shard)])
    tokens = np.concatenate([by_shard[k][1] for k in sorted(by_shard)])
    if not tokens.sum():
        raise RecipeError(f"{run}: has nothing to replay; leave replay out of the mixture")
    order = np.argsort(hashes, kind="stable")
    return ReplayPool(source, hashes[order], tokens[order])


def _replay_of_shard(
    task: tuple[int, Source, Shard, float],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Hashes and tokens of a shard's documents in the training split."""
    _, source, shard, validation = task
    table = read_named(source, shard.path, source.n_tokens)
    times = times_written(source, table, TRAIN, validation)
    tokens, written = times * table[source.n_tokens].to_numpy(), times > 0
    return hash_fractions(split_ids(table, source), SHARE_SEED)[written], tokens[written]


def _replay_source(pool: ReplayPool, tokens: float, weight: float) -> Source:
    """The earlier run, with as many documents as are needed for the tokens."""
    filled = np.cumsum(pool.tokens)
    count = int(np.searchsorted(filled, tokens)) + 1  # the first documents with at least so many tokens
    share = float(pool.hashes[count]) if count < len(filled) else 1.0
    epochs = tokens / float(filled[min(count, len(filled)) - 1])
    return replace(pool.source, share=share, weight=weight, epochs=epochs, role=REPLAY)


def _with_one_chat_type(name: str, sources: list[Source]) -> tuple[Source, ...]:
    """The sources with one type for all messages: fields that a run lacks are null.

    Errors: RecipeError where the types of a field cannot be one.
    """
    kinds: dict[str, pa.DataType] = {}
    for source in sources:
        if source.messages:
            kinds[source.name] = pq.read_schema(source.shards[0].path).field(source.messages).type
    try:
        schemas = [pa.schema([(MESSAGES, kind)]) for kind in kinds.values()]
        unified = pa.unify_schemas(schemas, promote_options="permissive") if schemas else None
    except pa.ArrowException as error:
        problem = str(error).splitlines()[0].rpartition(": ")[2]
        raise RecipeError(
            f"{name}: the chats of {', '.join(kinds)} are of unlike kinds: {problem}; export them apart"
        ) from None
    chats = unified.field(MESSAGES).type if unified else None
    return tuple(replace(source, chats=chats if source.messages else None) for source in sources)
