"""The first map: read a task's units once, edit them, measure every signal group that lacks them, commit the parts."""

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_128

from curate.corpus.columns import is_text
from curate.corpus.edits import PART as EDIT_PART
from curate.corpus.edits import apply_edits, find_edits
from curate.corpus.parquet import Source, read_documents
from curate.corpus.texts import is_utf8, texts_of
from curate.corpus.units import MAX_UNIT_BYTES, MAX_UNIT_ROWS, MIN_UNIT_BYTES, Unit
from curate.digest import LANGUAGE_MODELS, READING, code_of, digest_of
from curate.errors import InputError
from curate.filters import block, registry
from curate.filters.contamination.signals import GROUP as CONTAMINATION
from curate.filters.language import identify as language
from curate.filters.language import perplexity
from curate.filters.language.perplexity import GROUP as PERPLEXITY
from curate.filters.signals.hashes import hash_texts
from curate.kernels.arrow import text_views
from curate.kernels.corpus_lines import line_hashes
from curate.kernels.minhash import minhash
from curate.ledger.names import APART, BLOCK, DOCUMENTS, EDITS, INPUT, LINE_HASHES, OVERLAPS, SIGNATURES
from curate.ledger.parts import Part, write_part
from curate.maps.reading import Reading
from curate.process.task_progress import report_progress

TASK_BYTES = (MIN_UNIT_BYTES + MAX_UNIT_BYTES) // 2
RAW_HASH = ("raw_hash_high", "raw_hash_low")


@dataclass(frozen=True)
class Task:
    """Some units, and the groups to be measured on each."""

    run: str
    units: tuple[Unit, ...]
    sources: Mapping[int, Source]  # by file_no
    groups: Mapping[str, str]  # group to digest
    reading: Reading

    @property
    def name(self) -> str:
        """Names the task's parts: the place where it starts."""
        return f"{self.units[0].file_no:05d}-{self.units[0].start:010d}"

    def __str__(self) -> str:
        """Where the task works, for messages."""
        first, last = self.units[0], self.units[-1]
        path = self.sources[first.file_no].location
        more = f" to {self.sources[last.file_no].location}" if last.file_no != first.file_no else ""
        return f"{path} rows {first.start} to {last.stop}{more}"


def group_digests(names: Iterable[str], reading: Reading) -> dict[str, str]:
    """The digest of each group: its code, its parameters, and the edits that were made before it, if it sees them."""
    editors = [(e.name, e.bounds, e.code) for e in reading.editors]
    # Everything that a group's values pass through: how rows are read and edited, and Python's own tables of Unicode.
    common = [
        code_of(__name__, *READING),
        unicodedata.unidata_version,
    ]
    raw = [common, reading.text, []]
    casts = dict(reading.casts)
    edited = [common, reading.text, editors]
    digests = {
        DOCUMENTS: digest_of([common, code_of(hash_texts.__module__), reading.text, reading.id]),
        INPUT: digest_of([common, [[name, str(kind), casts.get(name)] for name, kind in reading.input_columns]]),
        EDITS: digest_of(edited),
        LINE_HASHES: digest_of([edited, LINE_HASHES]),
        BLOCK: digest_of(
            [edited, code_of(block.__name__), [str(found) for found in reading.blocks], casts.get(block.URL)]
        ),
        SIGNATURES: digest_of([edited, reading.permutations, reading.shingle]),
    }
    for name in names:
        if name in registry.groups():
            code = code_of(*registry.modules_of([name]))
            digests[name] = digest_of([code, raw if reading.is_raw(name) else edited])
    if reading.models:
        digests[PERPLEXITY] = digest_of(
            [
                edited,
                code_of(*LANGUAGE_MODELS),
                [str(model) for model in reading.models],
            ]
        )
    if reading.sought:
        sought = digest_of([raw if reading.sought.cuts else edited, reading.sought.code])
        digests |= dict.fromkeys((CONTAMINATION, OVERLAPS), sought)
    return {name: digests[name] for name in names}


def measure(task: Task) -> list[Part]:
    """Measure a task's groups and commit one part each.

    Errors: InputError with `file_no` of the file that cannot be read.
    """
    collected: dict[str, list[pa.Table]] = {group: [] for group in task.groups}
    contents: list[str] = []
    with report_progress(Path(task.run), task.name) as tell:
        _read_units(task, collected, contents, tell)
    parts = []
    for group, digest in task.groups.items():
        table = pa.concat_tables(collected[group])
        known = tuple(contents) if group == DOCUMENTS else ()
        parts.append(write_part(Path(task.run), group, digest, task.name, table, units=task.units, contents=known))
    return parts


def _read_units(
    task: Task, collected: Mapping[str, list[pa.Table]], contents: list[str], tell: Callable[[float], None]
) -> None:
    """Measure the task's documents batch by batch into `collected`, and hash each unit's content."""
    columns = _columns_needed(task)
    rows, done = max(1, sum(unit.stop - unit.start for unit in task.units)), 0
    for unit in task.units:
        source = task.sources[unit.file_no]
        content = xxh3_128()
        try:
            row = unit.start
            for batch in read_documents(source, unit.start, unit.stop, columns):
                for group, table in _measure_batch(task, batch).items():
                    if group == DOCUMENTS:
                        _feed(content, *(table[name].combine_chunks() for name in RAW_HASH))
                    collected[group].append(_keyed(group, table, unit.file_no, row))
                row += len(batch)
                done += len(batch)
                tell(done / rows)
        except InputError as error:
            where = "" if source.location in str(error) else f"{source.location}: "
            raise InputError(f"{where}{error}", unit.file_no) from None
        contents.append(content.hexdigest())


def _columns_needed(task: Task) -> list[str]:
    names = [name for name, _ in task.reading.input_columns] if INPUT in task.groups else []
    if set(task.groups) - {INPUT}:
        names.append(task.reading.text)
    if DOCUMENTS in task.groups and task.reading.id:
        names.append(task.reading.id)
    if BLOCK in task.groups and any(found.kind == "urls" for found in task.reading.blocks):
        names.append(block.URL)
    return list(dict.fromkeys(names))


def _measure_batch(task: Task, batch: pa.RecordBatch) -> dict[str, pa.Table]:
    """Every group of the task on one batch, without keys (edits: with the row within the batch)."""
    measured: dict[str, pa.Table] = {}
    reading = task.reading
    if INPUT in task.groups:
        present = batch.schema.names
        columns = {
            f"{INPUT}.{name}": _cast(_well_formed(batch.column(name)), kind, name)
            if name in present
            else pa.nulls(len(batch), kind)
            for name, kind in reading.input_columns
        }
        measured[INPUT] = pa.table(columns)
    if not set(task.groups) - {INPUT}:
        return measured
    raw = texts_of(batch.column(reading.text))
    valid = is_utf8(raw)
    if DOCUMENTS in task.groups:
        measured[DOCUMENTS] = _identities(raw, valid)
        if reading.id:
            names = _cast(batch.column(reading.id), pa.string(), reading.id)
            measured[DOCUMENTS] = measured[DOCUMENTS].append_column("id", names)
    texts = raw if pc.all(valid).as_py() is not False else pc.if_else(valid, raw, pa.scalar(None, raw.type))
    groups = [group for group in task.groups if group in registry.groups() or group in (BLOCK, *APART)]
    edited = texts
    if reading.editors and not all(map(reading.is_raw, groups)):
        edits = find_edits(texts, reading.editors)
        edited = apply_edits(texts, edits)
        if EDITS in task.groups:
            measured[EDITS] = edits
    if SIGNATURES in task.groups:
        measured[SIGNATURES] = pa.table({"minhash": minhash(edited, reading.permutations, reading.shingle)})
    if LINE_HASHES in task.groups:
        measured[LINE_HASHES] = pa.table({LINE_HASHES: line_hashes(edited)})
    if reading.sought and {CONTAMINATION, OVERLAPS} & set(groups):
        columns, passages = reading.sought.look(texts if reading.sought.cuts else edited)
        found = {CONTAMINATION: pa.table(columns), OVERLAPS: passages}
        measured |= {group: table for group, table in found.items() if group in groups}
    if BLOCK in task.groups:
        urls = batch.column(block.URL) if block.URL in batch.schema.names else None
        measured[BLOCK] = pa.table({found.column: block.count(found, edited, urls) for found in reading.blocks})
    if PERPLEXITY in task.groups:
        told = language.language(edited) if reading.by_language else {}
        measured[PERPLEXITY] = pa.table(perplexity.measure(edited, told.get("language"), reading.models))
        if "language" in task.groups and told:
            measured["language"] = pa.table(told)
    for group in (group for group in groups if group not in (*measured, BLOCK, *APART)):
        columns = {}
        for signal in registry.groups()[group]:
            columns |= signal(texts if signal.raw else edited)
        measured[group] = pa.table(columns)
    return measured


def _identities(raw: pa.Array, valid: pa.Array) -> pa.Table:
    """What is known of each raw text; a null one has the hash of an empty one."""
    high, low = hash_texts(pc.fill_null(raw, ""))
    size = pa.array(np.diff(text_views(raw)[0]))
    columns = {"raw_n_bytes": size, "raw_hash_high": high, "raw_hash_low": low}
    return pa.table(columns | {"is_null": raw.is_null(), "is_utf8": valid})


def _keyed(group: str, table: pa.Table, file_no: int, row: int) -> pa.Table:
    """`table`, measured on a batch that begins at `row` of a file, with its key."""
    rows = len(table)
    if group in (EDITS, OVERLAPS):  # the row within the batch becomes the row within the file
        table = table.set_column(0, "row", pc.add(table["row"], row))
    else:
        table = table.add_column(0, "row", pa.array(np.arange(row, row + rows, dtype=np.int64)))
    if group == EDITS:
        table = table.append_column("stage", pa.array(["input"] * rows, registry.REASONS))
        return table.add_column(0, "file_no", pa.array(np.full(rows, file_no, np.int32))).cast(EDIT_PART)
    return table.add_column(0, "file_no", pa.array(np.full(rows, file_no, dtype=np.int32)))


def _well_formed(column: pa.Array) -> pa.Array:
    """A column with null in the place of text that is not UTF-8, which SQL could not read."""
    if not is_text(column.type):
        return column
    return pc.if_else(is_utf8(column), column, pa.scalar(None, column.type))


def _cast(column: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    """A column that goes into the ledger, in its unified type and, where it is text, well-formed."""
    try:
        cast = column.cast(kind)
        cast.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"column {name!r} of {column.type} cannot be read as {kind}: {error}") from None
    return cast


def content_hash(texts: Iterable[pa.Array]) -> str:
    """Hex xxh3-128 over the hashes of a unit's raw texts (or messages) in order, however they were cut into batches."""
    content = xxh3_128()
    for array in texts:
        _feed(content, *hash_texts(pc.fill_null(texts_of(array), "")))
    return str(content.hexdigest())


def _feed(content: Any, high: pa.Array, low: pa.Array) -> None:  # noqa: ANN401 - xxhash has no public type for its state
    """Add documents' hashes, big-endian, to the hash of a unit's content."""
    content.update(np.stack([half.to_numpy().byteswap() for half in (high, low)], axis=1).tobytes())


def plan_tasks(
    run: Path, units: Sequence[Unit], sizes: Sequence[int], sources: Mapping[int, Source], reading: Reading,
    missing: Mapping[Unit, tuple[str, ...]], digests: Mapping[str, str],
) -> list[Task]:  # fmt: skip
    """Tasks of about 96 MB of text over all units, each without the groups that its units have.

    Small units are put together, so that a corpus of many small files makes few parts. The cuts depend on all units
    and not on what is done already: a resumed run makes the same parts as one that was never stopped.
    """
    tasks: list[Task] = []

    def close(held: list[Unit]) -> None:
        for groups in dict.fromkeys(missing[unit] for unit in held):  # units that lack the same groups go together
            chosen = tuple(unit for unit in held if missing[unit] == groups)
            if groups:
                used = {no: sources[no] for no in {unit.file_no for unit in chosen}}
                tasks.append(Task(str(run), chosen, used, {g: digests[g] for g in groups}, reading))

    held: list[Unit] = []
    size = rows = 0
    for unit, unit_size in zip(units, sizes, strict=True):
        if held and (size + unit_size > TASK_BYTES or rows + unit.stop - unit.start > MAX_UNIT_ROWS):
            close(held)
            held, size, rows = [], 0, 0
        held.append(unit)
        size += unit_size
        rows += unit.stop - unit.start
    close(held)
    return tasks
