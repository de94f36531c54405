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

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from curate.errors import RecipeError
from curate.fields import Share, Tokens
from curate.manifests.sources import SHARE_SEED, VALIDATION, Source, open_source, places, read_columns
from curate.recipe import parse_fields, read_fields
from curate.sections import Section

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
    share: Annotated[Share, Field(gt=0, lt=1)] = Field(description="of all tokens of the mixture")


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


def open_sources(path: Path) -> tuple[Source, ...]:
    """What an export is made of: one run (a folder), or the runs of a mixture (a YAML file).

    Errors: RunError where a run cannot be exported; RecipeError for a mixture that cannot be.
    """
    if path.is_dir() or path.suffix not in (".yaml", ".yml"):
        return (open_source(path),)
    return mixed(read_mixture(path), path.parent)


def read_mixture(path: Path) -> Mixture:
    """A mixture's file.

    Errors: RecipeError naming the file, the field and what would have been right.
    """
    fields = read_fields(path, "a mixture is a mapping of fields such as name and sources")
    return parse_fields(fields, Mixture, str(path), "the mixture")


def mixed(mixture: Mixture, folder: Path) -> tuple[Source, ...]:
    """The sources of a mixture with weights that sum to 1, and the epochs that a training makes over each.

    Errors: RecipeError for more epochs than are allowed.
    """
    opened = {name: open_source(folder / one.run, name) for name, one in mixture.sources.items()}
    there = {name: sum(shard.tokens for shard in source.shards) for name, source in opened.items()}
    replayed = mixture.replay.share if mixture.replay else 0.0
    targets = {name: float(one.tokens or 0) for name, one in mixture.sources.items()}
    if not any(targets.values()):
        weights = {name: one.weight or 0.0 for name, one in mixture.sources.items()}
        total = sum(weights.values())
        fresh = min(there[name] / weight for name, weight in weights.items()) * total
        if mixture.replay:
            earlier = sum(shard.tokens for shard in open_source(folder / mixture.replay.run).shards)
            fresh = min(fresh, earlier / replayed * (1 - replayed))
        if mixture.tokens is not None:
            fresh = mixture.tokens * (1 - replayed)
        targets = {name: fresh * weight / total for name, weight in weights.items()}
    whole = sum(targets.values()) / (1 - replayed)
    found = [replace(opened[name], weight=targets[name] / whole, epochs=targets[name] / there[name]) for name in opened]
    if mixture.replay:
        found.append(_replayed(mixture.replay, folder, whole * replayed, replayed))
    runs: dict[str, str] = {}
    for source in found:
        if (other := runs.setdefault(source.manifest_sha256, source.name)) != source.name:
            raise RecipeError(f"{mixture.name}: {other} and {source.name} are one run; name it once, with more weight")
        if source.epochs > mixture.max_epochs * (1 + 1e-9):
            raise RecipeError(
                f"{mixture.name}: {source.name} would be seen {source.epochs:.3g} times, max_epochs is "
                f"{mixture.max_epochs:g}; ask for fewer tokens, give it less weight, or raise max_epochs"
            )
    return tuple(found)


def _replayed(replay: Replay, folder: Path, tokens: float, weight: float) -> Source:
    """The earlier run, of which as many documents are taken, in the order of a hash of doc_id, as fill the tokens."""
    source = open_source(folder / replay.run, REPLAY)
    tables = [read_columns(shard.path, [source.doc_id, source.n_tokens]) for shard in source.shards]
    drawn = np.concatenate([places(table[source.doc_id], SHARE_SEED) for table in tables])
    order = np.argsort(drawn, kind="stable")
    filled = np.cumsum(np.concatenate([table[source.n_tokens].to_numpy() for table in tables])[order])
    count = int(np.searchsorted(filled, tokens)) + 1  # the first documents that together have at least so many
    if count >= len(filled):
        return replace(source, weight=weight, epochs=tokens / float(filled[-1]), role=REPLAY)
    return replace(
        source, share=float(drawn[order[count]]), weight=weight, epochs=tokens / float(filled[count - 1]), role=REPLAY
    )
