"""The arms of an evaluation: which documents of a run each model is trained on, and their texts.

    full                 every document of the input but those that stage `input` drops, as signals read them
    ours                 the output, each document once
    weighted             the output, each document as often as its weight says, where weights differ from 1
    without curve        the flat cut of the same budget, in place of weights; it has the tokens of `weighted`
    rung 1 …             the smaller budgets of distill.ladder
    rules only           random documents that pass the rules
    perplexity, lowest   those with the lowest perplexity; `perplexity, middle`: those nearest to its median
    without X            the run decided again without stage X, and without written documents
    up-sampled, base model   see `curate.distill.evaluate.arms_written`

All others but `full` and the rungs have as many tokens as `ours`, or all that there are. Besides the controls there are
random documents of several shares of the tokens, one draw each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.corpus.edits import apply_edits
from curate.corpus.texts import texts_of
from curate.distill.draws import Keys, mixed, times_read
from curate.distill.evaluate.arms_written import ACCEPTED, WrittenTexts, domains_of_sample, written_arms, written_texts
from curate.distill.evaluate.measure import SAME_SIZE, first_tokens, random_draw
from curate.distill.evaluate.tokens import Encoded, Integers
from curate.filters.signals.hashes import hash_texts
from curate.ledger.names import DATA, EDITS, STAGES
from curate.ledger.run import FinishedRun, connect
from curate.maps.documents import document_keys, edits_of, read_texts
from curate.maps.shards import output_name

OURS, WEIGHTED, RULES_ONLY = "ours", "weighted", "rules only"
WITHOUT_CURVE = "without curve"
PERPLEXITY = ("perplexity, lowest", "perplexity, middle")
PURPOSE = "evaluate"
READ_ROWS = 4096
CURVE = {f"random, {share:.0%}": share for share in (0.05, 0.1, 0.2, 0.4, 0.7)}  # of the tokens of the full arm

OUTPUT_TEXTS = pa.schema([("index", pa.int32()), ("text", pa.large_string()), ("times", pa.int64())])

Mask = npt.NDArray[np.bool_]
Draws = Sequence[Integers]  # of an arm: indices in the pool, sorted


@dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """Documents of a run, drawn by seed, in input order, with their verdicts."""

    documents: pa.Table  # file_no, row, doc_id, kept, stage, rung, perplexity
    keys: Keys  # hash of each doc_id
    share: float  # of all documents

    @property
    def is_complete(self) -> bool:
        """Whether these are all documents."""
        return self.share == 1

    def survivors(self, stage: str) -> Mask:
        """Which documents are left after a stage."""
        dropped_by = pc.index_in(self.documents["stage"], pa.array([*STAGES, None]))
        numbers = pc.fill_null(dropped_by, len(STAGES)).to_numpy()
        return np.asarray(numbers > STAGES.index(stage), bool)

    def column(self, name: str) -> npt.NDArray[np.float64]:
        """A numeric column, with NaN for null."""
        return np.asarray(pc.fill_null(self.documents[name].cast(pa.float64()), float("nan")).to_numpy(), np.float64)


def draw_sample(run: Path, seed: int, max_bytes: int) -> Sample:
    """Draw documents that stage `input` leaves, up to `max_bytes` of text, by hashes of their doc_ids."""
    with connect(run) as connection:
        names = connection.sql("SELECT * FROM documents LIMIT 0").columns
        perplexity = "perplexity::DOUBLE" if "perplexity" in names else "NULL::DOUBLE"
        documents = connection.sql(
            f"""SELECT i.file_no, d.row, doc_id, kept, stage, rung, {perplexity} AS perplexity, n_bytes
            FROM documents d JOIN inputs i USING (file) WHERE stage IS DISTINCT FROM 'input' ORDER BY file_no, d.row"""
        ).to_arrow_table()
    keys = np.asarray(hash_texts(documents["doc_id"].combine_chunks())[1])
    order = np.argsort(mixed(keys, seed, PURPOSE), kind="stable")
    sizes = np.cumsum(np.asarray(pc.fill_null(documents["n_bytes"], 0), np.int64)[order])
    chosen = np.sort(order[: max(1, int(np.searchsorted(sizes, max_bytes, "right")))])
    share = len(chosen) / max(1, len(documents))
    return Sample(documents.take(pa.array(chosen)).drop_columns("n_bytes"), keys[chosen], share)


def measured_texts(decided_run: FinishedRun, documents: pa.Table) -> pa.Array:
    """The texts of documents as signals read them, with the edits that precede signals.

    Errors: InputError where an input is gone or changed.
    """
    texts = []
    for start in range(0, len(documents), READ_ROWS):
        batch = documents.slice(start, READ_ROWS).select(["file_no", "row"])
        raw = read_texts(decided_run.ledger, decided_run.recipe.input.column, batch)["text"].combine_chunks()
        edits = edits_of(decided_run.ledger, batch, (EDITS,))
        if len(edits):
            indices = pa.array(_indices_in(batch, edits), pa.int64())
            edits = edits.set_column(edits.schema.get_field_index("row"), "row", indices)
            raw = apply_edits(raw, edits.drop_columns("file_no"))
        texts.append(pc.fill_null(raw.cast(pa.large_string()), ""))
    return pa.concat_arrays(texts) if texts else pa.array([], pa.large_string())


def _indices_in(documents: pa.Table, edits: pa.Table) -> Integers:
    """Index of the document of each edit among sorted documents."""
    return np.searchsorted(document_keys(documents), document_keys(edits))


def output_texts(run: Path, sample: Sample, text: str, inputs: pa.Schema) -> pa.Table:
    """The sample's documents in the output of a run: index in the sample, text, how often weights have it read."""
    doc_ids = sample.documents["doc_id"].combine_chunks()
    doc_id, weight = output_name("doc_id", inputs), output_name("weight", inputs)
    tables = [OUTPUT_TEXTS.empty_table()]
    for shard in sorted((run / DATA).glob("*.parquet")):
        file = pq.ParquetFile(shard)
        weights = [weight] if weight in file.schema_arrow.names else []
        for batch in file.iter_batches(READ_ROWS, columns=[doc_id, text, *weights]):
            indices = pc.index_in(batch.column(doc_id), doc_ids)
            texts = texts_of(batch.column(text)).cast(pa.large_string())
            weighed = batch.column(weight) if weights else pa.nulls(len(batch), pa.float32())
            times = times_read(batch.column(doc_id), weighed)
            tables.append(pa.table([indices, texts, times], schema=OUTPUT_TEXTS).filter(indices.is_valid()))
    return pa.concat_tables(tables)


@dataclass(frozen=True, eq=False, slots=True)
class Output:
    """The documents of a sample that an output has: their indices in the sample, and those of their texts in a pool."""

    documents: Integers
    texts: Integers
    times: Integers  # how often weights have each of them read

    def by_weight(self) -> Integers:
        """The texts, and again those that are read twice, and so on: copies are far apart."""
        turns = range(int(self.times.max(initial=0)))
        return np.concatenate([self.texts[:0], *(self.texts[self.times > turn] for turn in turns)])


@dataclass(frozen=True, eq=False, slots=True)
class TextPool:
    """All training texts: those of the sample, then those that outputs have changed, then the written ones."""

    texts: pa.Array
    outputs: Mapping[str, Output]
    written: Mapping[str, WrittenTexts]  # the last of the texts, in this order


def pool_of(decided_run: FinishedRun, sample: Sample, outputs: Mapping[str, Path]) -> TextPool:
    """Read the texts of the sample and of the outputs, of runs over the same input, which are named as their arms."""
    recipe = decided_run.recipe
    texts = [measured_texts(decided_run, sample.documents)]
    size = len(sample.documents)
    pooled: dict[str, Output] = {}
    inputs = pa.schema([(column, pa.null()) for column in decided_run.input_names])
    for arm, run in outputs.items():
        output = output_texts(run, sample, recipe.input.column, inputs)
        documents = output["index"].to_numpy().astype(np.int64)
        own_texts = output["text"].combine_chunks()
        unchanged = pc.equal(texts[0].take(pa.array(documents)), own_texts).to_numpy(zero_copy_only=False)
        changed = own_texts.filter(pa.array(~unchanged))
        indices = documents.copy()
        indices[~unchanged] = size + np.arange(len(changed))
        pooled[arm] = Output(documents, indices, output["times"].to_numpy())
        size += len(changed)
        texts.append(changed)
    written: dict[str, WrittenTexts] = {}
    if recipe.tier3:
        written = written_texts(decided_run.run, recipe.input.column, inputs, sample.share, recipe.seed)
    return TextPool(pa.concat_arrays([*texts, *(batch.texts for batch in written.values())]), pooled, written)


def arms_of(
    decided_run: FinishedRun, sample: Sample, text_pool: TextPool, pool: Encoded, draws: int
) -> dict[str, Draws]:
    """The arms of a run, each with its draws, without the full one and the controls."""
    seed = decided_run.recipe.seed
    ours, written = _ours_and_written_arms(decided_run, sample, text_pool, pool)
    tokens = int(pool.n_tokens[ours].sum())
    arms: dict[str, Draws] = {OURS: [ours], **{arm: [indices] for arm, indices in written.items()}}
    output = text_pool.outputs[OURS]
    if (output.times != 1).any():
        arms[WEIGHTED] = [np.concatenate([output.by_weight(), np.setdiff1d(ours, output.texts)])]
    keys = np.concatenate([sample.keys, np.arange(len(pool) - len(sample.keys), dtype=np.uint64)])
    for arm, output in text_pool.outputs.items():
        if arm != OURS:
            arms[arm] = [np.sort(output.texts)]
            if arm == WITHOUT_CURVE:
                continue
            if pool.n_tokens[output.texts].sum() > (1 + SAME_SIZE) * tokens:  # an output without a budget is larger
                arms[arm] = [random_draw(pool, keys, output.texts, tokens, seed, draw) for draw in range(draws)]
    passing = sample.survivors("rules")
    if not passing.all():
        indices = np.flatnonzero(passing)
        arms[RULES_ONLY] = [random_draw(pool, sample.keys, indices, tokens, seed, draw) for draw in range(draws)]
    return arms | _perplexity_arms(sample, pool, tokens) | _rung_arms(sample)


def _ours_and_written_arms(
    decided_run: FinishedRun, sample: Sample, text_pool: TextPool, pool: Encoded
) -> tuple[Integers, dict[str, Integers]]:
    """The texts of the output, written documents included, and the arms that show what the written ones add."""
    ours, written = text_pool.outputs[OURS], text_pool.written
    if not written:
        return ours.texts, {}
    sizes = [len(batch.texts) for batch in written.values()]
    bounds = len(pool) - sum(sizes) + np.cumsum([0, *sizes])
    indices = {arm: np.arange(bounds[k], bounds[k + 1]) for k, arm in enumerate(written)}
    doc_ids = sample.documents["doc_id"].combine_chunks().take(pa.array(ours.documents))
    domains = domains_of_sample(decided_run.run, doc_ids)
    accepted_domains = written[ACCEPTED].domains
    arms = written_arms(ours.texts, domains, pool, indices, accepted_domains, decided_run.recipe.seed)
    return np.concatenate([ours.texts, indices[ACCEPTED]]), arms


def _perplexity_arms(sample: Sample, pool: Encoded, tokens: int) -> dict[str, Draws]:
    perplexity = sample.column("perplexity")
    scored = np.flatnonzero(~np.isnan(perplexity))
    if not len(scored):
        return {}
    lowest = scored[np.lexsort((sample.keys[scored], perplexity[scored]))]
    middle = lowest[np.argsort(np.abs(np.arange(len(lowest)) - (len(lowest) - 1) / 2), kind="stable")]
    return {arm: [first_tokens(pool, order, tokens)] for arm, order in zip(PERPLEXITY, (lowest, middle), strict=True)}


def _rung_arms(sample: Sample) -> dict[str, Draws]:
    rung = sample.column("rung")
    rungs = int(np.nanmax(rung, initial=0))
    return {f"rung {number}": [np.flatnonzero(rung <= number)] for number in range(1, rungs)}


def curve_of(sample: Sample, pool: Encoded, seed: int) -> dict[str, Draws]:
    """Random documents of increasing shares of the tokens: what a budget retains by chance."""
    indices = np.arange(len(sample.keys))
    tokens = int(pool.n_tokens[indices].sum())
    return {
        arm: [random_draw(pool, sample.keys, indices, round(share * tokens), seed, 0)] for arm, share in CURVE.items()
    }
