"""The arms of an evaluation: which documents of a run each model is trained on, and their texts.

    full                 every document of the input but those that stage `input` drops, as they were measured
    ours                 the output
    rung 1 …             the smaller budgets of distill.ladder
    rules only           random documents that pass the rules
    perplexity, lowest   those with the lowest perplexity; `perplexity, middle`: those nearest to its median
    without X            the run decided anew without stage X, and without written documents
    up-sampled, base model   see `curate.distill.evaluate.arms_written`

All but `full` and the rungs have the tokens of `ours`, or as many as there are. A curve of random documents, one draw
each, stands beside the controls.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.corpus.edits import apply_edits
from curate.corpus.texts import texts_of
from curate.distill.draws import Keys, mixed
from curate.distill.evaluate.arms_written import ACCEPTED, WrittenTexts, domains_of_sample, written_arms, written_texts
from curate.distill.evaluate.measure import SAME_SIZE, filled, random_draw
from curate.distill.evaluate.tokens import Encoded, Integers
from curate.filters.signals.hashes import hash_texts
from curate.ledger.names import DATA, EDITS, STAGES
from curate.ledger.run import Decided, connect
from curate.maps.documents import edits_of, read_texts
from curate.maps.shards import our_name

OURS, RULES_ONLY = "ours", "rules only"
PERPLEXITY = ("perplexity, lowest", "perplexity, middle")
PURPOSE = "evaluate"
READ_ROWS = 4096
CURVE = {f"random, {share:.0%}": share for share in (0.05, 0.1, 0.2, 0.4, 0.7)}  # of the tokens of the full arm

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Sample:
    """Documents of a run, drawn by seed, in input order, with what the run made of them."""

    documents: pa.Table  # file_no, row, doc_id, kept, stage, rung, perplexity
    keys: Keys  # of each document, by its doc_id
    share: float  # of all documents

    @property
    def whole(self) -> bool:
        """Whether these are all documents."""
        return self.share == 1

    def after(self, stage: str) -> Mask:
        """Which documents are left after a stage."""
        number = pa.array([*STAGES, None])
        places = pc.fill_null(pc.index_in(self.documents["stage"], number), len(STAGES)).to_numpy()
        return np.asarray(places > STAGES.index(stage), bool)

    def column(self, name: str) -> npt.NDArray[np.float64]:
        """A column of numbers, with NaN for null."""
        return np.asarray(pc.fill_null(self.documents[name].cast(pa.float64()), float("nan")).to_numpy(), np.float64)


def draw_sample(run: Path, seed: int, most_bytes: int) -> Sample:
    """The documents that stage `input` leaves, up to so many bytes of text, drawn by the hashes of their names."""
    with connect(run) as connection:
        names = connection.sql("SELECT * FROM documents LIMIT 0").columns
        perplexity = "perplexity::DOUBLE" if "perplexity" in names else "NULL::DOUBLE"
        found = connection.sql(
            f"""SELECT i.file_no, d.row, doc_id, kept, stage, rung, {perplexity} AS perplexity, n_bytes
            FROM documents d JOIN inputs i USING (file) WHERE stage IS DISTINCT FROM 'input' ORDER BY file_no, d.row"""
        ).to_arrow_table()
    keys = np.asarray(hash_texts(found["doc_id"].combine_chunks())[1])
    order = np.argsort(mixed(keys, seed, PURPOSE), kind="stable")
    sizes = np.cumsum(np.asarray(pc.fill_null(found["n_bytes"], 0), np.int64)[order])
    chosen = np.sort(order[: max(1, int(np.searchsorted(sizes, most_bytes, "right")))])
    return Sample(found.take(pa.array(chosen)).drop_columns("n_bytes"), keys[chosen], len(chosen) / max(1, len(found)))


def measured_texts(of: Decided, documents: pa.Table) -> pa.Array:
    """The texts of documents as signals read them: without what was cut before they were measured.

    Errors: InputError where an input is gone or changed.
    """
    texts = []
    for start in range(0, len(documents), READ_ROWS):
        some = documents.slice(start, READ_ROWS).select(["file_no", "row"])
        raw = read_texts(of.ledger, of.recipe.input.column, some)["text"].combine_chunks()
        edits = edits_of(of.ledger, some, (EDITS,))
        if len(edits):
            places = _places(some, edits)
            edits = edits.set_column(edits.schema.get_field_index("row"), "row", pa.array(places, pa.int64()))
            raw = apply_edits(raw, edits.drop_columns("file_no"))
        texts.append(pc.fill_null(raw.cast(pa.large_string()), ""))
    return pa.concat_arrays(texts) if texts else pa.array([], pa.large_string())


def _places(documents: pa.Table, edits: pa.Table) -> Integers:
    """Where the documents of edits stand among sorted documents."""

    def joined(table: pa.Table) -> Integers:
        return np.asarray(table["file_no"].to_numpy().astype(np.int64) << 40 | table["row"].to_numpy(), np.int64)

    return np.searchsorted(joined(documents), joined(edits))


def output_texts(run: Path, shards: Sequence[str], sample: Sample, text: str, inputs: pa.Schema) -> pa.Table:
    """The texts of the sample's documents that an output has: place in the sample, text."""
    names = sample.documents["doc_id"].combine_chunks()
    found = [pa.table({"place": pa.array([], pa.int32()), "text": pa.array([], pa.large_string())})]
    for shard in shards:
        doc_id = our_name("doc_id", inputs)
        for batch in pq.ParquetFile(run / shard).iter_batches(READ_ROWS, columns=[doc_id, text]):
            places = pc.index_in(batch.column(doc_id), names)
            texts = texts_of(batch.column(text)).cast(pa.large_string())
            found.append(pa.table({"place": places, "text": texts}).filter(places.is_valid()))
    return pa.concat_tables(found)


class Output(NamedTuple):
    """What an output has of a sample: places of documents in the sample, and of their texts in the pool."""

    documents: Integers
    texts: Integers


@dataclass(frozen=True, eq=False)
class Pool:
    """All texts that arms are made of: those of the sample, and behind them what outputs have otherwise."""

    texts: pa.Array
    outputs: Mapping[str, Output]
    written: Mapping[str, WrittenTexts]  # the last of the texts, in this order


def pool_of(of: Decided, sample: Sample, outputs: Mapping[str, Path]) -> Pool:
    """The sample's texts, and those of the outputs of runs over the same input, by the names of arms."""
    texts = [measured_texts(of, sample.documents)]
    size = len(sample.documents)
    made: dict[str, Output] = {}
    inputs = pa.schema([(column, pa.null()) for column in of.input_names])
    for name, run in outputs.items():
        shards = sorted(path.relative_to(run).as_posix() for path in (run / DATA).glob("*.parquet"))
        found = output_texts(run, shards, sample, of.recipe.input.column, inputs)
        own = found["place"].to_numpy().astype(np.int64)
        same = pc.equal(texts[0].take(pa.array(own)), found["text"].combine_chunks()).to_numpy(zero_copy_only=False)
        changed = found["text"].filter(pa.array(~same)).combine_chunks()
        places = own.copy()
        places[~same] = size + np.arange(len(changed))
        made[name] = Output(own, places)
        size += len(changed)
        texts.append(changed)
    asked = (of.run, of.recipe.input.column, inputs, sample.share, of.recipe.seed)
    written = written_texts(*asked) if of.recipe.tier3 else {}
    return Pool(pa.concat_arrays([*texts, *(one.texts for one in written.values())]), made, written)


def arms_of(
    of: Decided, sample: Sample, pool: Encoded, texts: Pool, draws: int, seed: int
) -> dict[str, Sequence[Integers]]:
    """The draws of all arms that a run has, but for the full one and the controls."""
    outputs = texts.outputs
    ours, more = _with_written(of, sample, pool, texts, seed)
    keys = np.concatenate([sample.keys, np.arange(len(pool) - len(sample.keys), dtype=np.uint64)])
    tokens = int(pool.n_tokens[ours].sum())
    arms: dict[str, Sequence[Integers]] = {OURS: [ours], **{name: [places] for name, places in more.items()}}
    for name, (_, places) in outputs.items():
        if name == OURS:
            continue
        own = [np.sort(places)]
        if pool.n_tokens[places].sum() > (1 + SAME_SIZE) * tokens:  # without a budget, what no stage drops is more
            own = [random_draw(pool, keys, places, tokens, seed, draw) for draw in range(draws)]
        arms[name] = own
    passing = sample.after("rules")
    if not passing.all():
        arms[RULES_ONLY] = [
            random_draw(pool, sample.keys, np.flatnonzero(passing), tokens, seed, draw) for draw in range(draws)
        ]
    perplexity = sample.column("perplexity")
    known = np.flatnonzero(~np.isnan(perplexity))
    if len(known):
        lowest = known[np.lexsort((sample.keys[known], perplexity[known]))]
        middle = lowest[np.argsort(np.abs(np.arange(len(lowest)) - (len(lowest) - 1) / 2), kind="stable")]
        arms |= {name: [filled(pool, order, tokens)] for name, order in zip(PERPLEXITY, (lowest, middle), strict=True)}
    rung = sample.column("rung")
    for number in range(1, int(np.nanmax(rung, initial=0))):
        arms[f"rung {number}"] = [np.flatnonzero(rung <= number)]
    return arms


def _with_written(
    of: Decided, sample: Sample, pool: Encoded, texts: Pool, seed: int
) -> tuple[Integers, dict[str, Integers]]:
    """What the output has of a pool, and the arms that tell what its written documents are worth."""
    documents, real = texts.outputs[OURS]
    if not texts.written:
        return real, {}
    sizes = np.cumsum([0, *(len(one.texts) for one in texts.written.values())])
    first = len(pool) - int(sizes[-1])
    places = {
        name: np.arange(first + a, first + b)
        for name, a, b in zip(texts.written, sizes[:-1], sizes[1:], strict=True)
    }  # fmt: skip
    names = sample.documents["doc_id"].combine_chunks().take(pa.array(documents))
    domains = {name: one.domains for name, one in texts.written.items()}
    arms = written_arms(real, pool, domains_of_sample(of.run, names), places, domains, seed)
    return np.concatenate([real, places[ACCEPTED]]), arms


def curve_of(sample: Sample, pool: Encoded, seed: int) -> dict[str, Sequence[Integers]]:
    """Random documents in growing numbers: what chance makes of a budget."""
    places = np.arange(len(sample.keys))
    tokens = int(pool.n_tokens[places].sum())
    return {
        name: [random_draw(pool, sample.keys, places, round(share * tokens), seed, 0)] for name, share in CURVE.items()
    }
