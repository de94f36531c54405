"""`curate lm`: train language models, independently of runs."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

import curate
from curate.corpus.columns import is_text
from curate.corpus.inputs import local_files
from curate.corpus.jsonl import json_tables
from curate.corpus.parquet import read_rows
from curate.errors import CurateError, InputError, WorkerError
from curate.filters.language.kenlm_binary import write_binary
from curate.filters.language.kneser_ney import FALLBACK, Level, count, estimate, estimate_levels, write_arpa
from curate.kernels.lm_words import FORM
from curate.ledger.views import spilling_database
from curate.progress import Log, Meter, unwritten_log
from curate.recipe.values import parse_size
from curate.storage.endings import is_json_lines
from curate.storage.files import ASIDE, committed, write_json
from curate.storage.places import is_remote, one_line

ARPA, BINARY = ".arpa", ".binary"
FORMS = {"words": FORM}
MIN_MEMORY = 1_000_000_000
PYTHON_MEMORY = 450_000_000  # bytes for Python, vocabulary and batches of texts; the rest is for DuckDB
DUCKDB_SHARE = 0.7  # of the rest, because DuckDB does not count all of its memory


@dataclass(frozen=True)
class Training:
    """The inputs and settings of a training."""

    inputs: tuple[str, ...]
    output: Path
    order: int
    prune: tuple[int, ...]  # a bound per order: n-grams with at most this count are dropped
    text: str  # name of the column
    form: str  # a name of FORMS
    memory: int  # bytes
    threads: int
    quiet: bool = False


@dataclass(frozen=True)
class TrainingResult:
    """The size of a trained model."""

    levels: tuple[Level, ...]
    lines: int
    tokens: int


def parse_prune(value: str | None, order: int) -> tuple[int, ...]:
    """Parse bounds for pruning per order, like 0,0,1. The last one applies to all higher orders.

    Errors: CurateError for impossible bounds.
    """
    if value is None:
        return (0, 0, *[1] * (order - 2))[:order]
    try:
        bounds = [int(bound) for bound in value.split(",")]
    except ValueError:
        raise CurateError(f"--prune: {value!r} are no whole numbers; write one per order, as in 0,0,1") from None
    if len(bounds) > order:
        raise CurateError(f"--prune: {value} has {len(bounds)} bounds, but the model only {order} orders")
    if bounds[0] != 0:
        raise CurateError("--prune: the first bound must be 0, because a model keeps all words")
    if bounds != sorted(bounds):
        raise CurateError(f"--prune: {value} falls; a longer n-gram would be kept without the shorter ones it needs")
    return (*bounds, *[bounds[-1]] * (order - len(bounds)))


def parse_memory(value: str) -> int:
    """Parse a size like 4GB into bytes.

    Errors: CurateError for an invalid or too small size.
    """
    try:
        size = parse_size(value)
    except ValueError as error:
        raise CurateError(f"--memory: {error}") from None
    assert isinstance(size, int)
    if size < MIN_MEMORY:
        raise CurateError(f"--memory: {value} is too little; at least {MIN_MEMORY // 1_000_000_000}GB is needed")
    return size


def train(training: Training) -> TrainingResult:
    """Train a model and commit it as an ARPA or binary file. The same inputs give the same bytes.

    Errors: InputError for inputs that cannot be read or have no text; CurateError for invalid settings.
    """
    output = training.output
    if output.suffix not in (ARPA, BINARY):
        name = output.with_suffix(ARPA).name
        raise CurateError(f"--output: {output}: a model is written as {ARPA} or {BINARY}; name it {name}")
    if output.is_dir():
        raise CurateError(f"--output: {output}: a folder; name a file in it")
    files = _files(training.inputs)
    memory = int((training.memory - PYTHON_MEMORY) * DUCKDB_SHARE) // 1_000_000
    log = unwritten_log(training.quiet)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=ASIDE, dir=output.parent) as folder,
            spilling_database(Path(folder), training.threads, memory) as connection,
        ):
            connection.execute("SET preserve_insertion_order = false")
            return _train(training, files, connection, log)
    except duckdb.OutOfMemoryException:
        raise WorkerError(f"--memory: {training.memory / 1e9:.1f}GB is too little for this much text") from None
    except OSError as error:
        raise WorkerError(f"--output: {output}: {error.strerror or error}; free space, or choose another") from error


def _train(training: Training, files: list[Path], connection: duckdb.DuckDBPyConnection, log: Log) -> TrainingResult:
    counts = count(connection, _texts(files, training.text, log), training.order)
    if not counts.lines:
        raise InputError(f"{', '.join(training.inputs)}: no text to train on in column {training.text!r}")
    levels = estimate_levels(connection, training.prune)
    fallback = [str(level.order) for level in levels if level.fallback]
    if fallback:
        log.say(
            f"too few n-grams of order {', '.join(fallback)} to tell discounts by: {', '.join(map(str, FALLBACK))} "
            "are taken; more text makes a better model"
        )
    result = TrainingResult(tuple(levels), counts.lines, counts.tokens)
    facts = _facts(training, result)
    log.say(f"estimating {sum(level.kept for level in levels):,} n-grams")
    vocabulary, kept = counts.vocabulary.words(), [level.kept for level in levels]
    grams = estimate(connection, levels)
    if training.output.suffix == BINARY:
        facts_path = training.output.with_name(f"{training.output.name}.json")
        facts_path.unlink(missing_ok=True)  # it may describe another model
        with committed(training.output) as temporary:
            write_binary(temporary, vocabulary, kept, grams)
        write_json(facts_path, facts)
    else:
        header = "".join(f"# {name}: {value}\n" for name, value in facts.items())
        with committed(training.output) as temporary, temporary.open("wb") as file:
            write_arpa(file, header, vocabulary, kept, grams)
    return result


def _facts(training: Training, result: TrainingResult) -> dict[str, str]:
    """The facts to write into a model's file. They are the same for equal trainings."""
    return {
        "made by": f"curate {curate.__version__}",
        "form": FORMS[training.form],
        "order": str(training.order),
        "prune": ",".join(map(str, training.prune)),
        "lines": str(result.lines),
        "tokens": str(result.tokens),
        "smoothing": "modified Kneser-Ney, interpolated",
    }


def _files(inputs: tuple[str, ...]) -> list[Path]:
    """The distinct files of the inputs, in order."""
    files: dict[Path, None] = {}
    for pattern in inputs:
        if is_remote(pattern):
            raise InputError(f"INPUT: {pattern}: models are trained on local files only; copy it")
        files |= dict.fromkeys(local_files(pattern, "INPUT"))
    return list(files)


def _texts(files: list[Path], column: str, log: Log) -> Iterator[pa.Array]:
    """The texts of files, a few megabytes at a time."""
    sizes = [max(1, os.path.getsize(path)) for path in files]
    meter = Meter(log, "counting", sum(sizes))
    for path, size in zip(files, sizes, strict=True):
        done = 0
        for texts, share in _texts_of(path, column):
            yield texts
            meter.add(len(texts), round(size * share) - done)
            done = round(size * share)
            meter.show()
    meter.show(last=True)


def _texts_of(path: Path, column: str) -> Iterator[tuple[pa.Array, float]]:
    """The texts of a file, with the share of it read so far."""
    if is_json_lines(path.name):
        names: set[str] = set()
        for table, share in json_tables(str(path)):
            names |= set(table.schema.names)
            if column in table.schema.names:
                yield _text_column(path, column, table[column].combine_chunks()), share
        if column not in names:
            raise _no_column(path, column, names)
        return
    try:
        with pq.ParquetFile(path) as file:
            names, rows = set(file.schema_arrow.names), file.metadata.num_rows
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read as Parquet: {one_line(error)}") from None
    if column not in names:
        raise _no_column(path, column, names)
    n_read = 0
    for batch in read_rows(str(path), 0, rows, [column]) if rows else ():
        n_read += len(batch)
        yield _text_column(path, column, batch.column(0)), n_read / rows


def _text_column(path: Path, column: str, texts: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(texts.type):
        texts = texts.dictionary_decode()
    if not (is_text(texts.type) or pa.types.is_null(texts.type)):
        raise InputError(f"{path}: column {column!r} holds {texts.type}, not text; name another with --text")
    return texts


def _no_column(path: Path, column: str, names: set[str]) -> InputError:
    return InputError(f"{path}: no column {column!r} (has: {', '.join(sorted(names)) or 'none'}); name it with --text")
