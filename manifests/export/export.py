"""`curate export`: what runs kept, in the form that a trainer reads.

Each shard of a run gives one piece to each split. One task writes and commits a piece: so pieces are written in
parallel, a stopped export resumes, and documents keep their order. Files about all pieces follow, and last of all
export.json, with the hash of every file.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import curate
from curate.engine.base import Engine
from curate.errors import CurateError, RecipeError, RunError, disk_error
from curate.ledger.superseded import NOTICE
from curate.manifests.export.format import Export, Format, Options, Piece, find_format
from curate.manifests.export.records import (
    EXPORT,
    EXPORT_VERSION,
    JOURNAL,
    ExportRecord,
    FileRecord,
    PieceRecord,
    SourceRecord,
    file_record,
    journal_line,
    read_export,
    read_journal,
    size_of,
    write_export,
)
from curate.manifests.export.sources import (
    TRAIN,
    VALIDATION,
    Shard,
    Source,
    check_bytes,
    digest_of_sources,
    map_tasks,
    sizes_by_split,
)
from curate.manifests.export.tokens import open_vocabulary
from curate.manifests.export.training_view import MIXTURE, mixture
from curate.progress import Log, Meter
from curate.recipe.recipe import Recipe
from curate.storage.files import committed, leads_out, remove_asides_below, sha256_of, unsealed, write_json
from curate.storage.lock import folder_lock

OF_RUNS = ("data", "evaluation", "inputs", "ledger", "models", "synthetic", "teacher")  # folders of a run directory


@dataclass(frozen=True, slots=True)
class Job:
    """One format to write: from which sources, with which options, into which folder."""

    form: Format
    sources: tuple[Source, ...]
    options: Options
    folder: Path

    @property
    def digest(self) -> str:
        """Hex digest of all that decides what is written."""
        options = self.options.to_json()
        if self.options.vocabulary:  # the same tokenizer from another path is the same
            options["tokenizer"] = {k: v for k, v in self.options.vocabulary.to_json().items() if k != "name"}
        values = [EXPORT_VERSION, curate.__version__, self.form.name, digest_of_sources(self.sources), options]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def export(
    sources: tuple[Source, ...],
    names: Sequence[str],
    out: Path,
    options: Options,
    engine: Engine,
    log: Log,
    overwrite: bool = False,
) -> list[ExportRecord]:
    """Write a folder below `out` for each of the formats.

    `overwrite` replaces other exports, and checks the bytes of files that are there already: damaged ones are written
    again.

    Errors: CurateError for an unknown format or one that cannot store these documents, before anything is written;
    CurateError for a folder with other contents; RunError where a run lacks what a format needs.
    """
    _check_location(out)
    formats = [find_format(name) for name in dict.fromkeys(names)]
    for form in formats:
        _check_sources(form, sources, options)
    of_tokens = {form.name for form in formats if form.tokens or (form.tokens_if_asked and options.tokenizer)}
    of_text = replace(options, tokenizer=None, eos=None)
    if options.tokenizer is not None and of_tokens:
        options = replace(options, vocabulary=open_vocabulary(options.tokenizer, options.eos))
    if options.tokenizer is not None and (texts := [form.name for form in formats if form.name not in of_tokens]):
        unused = "--tokenizer is" if options.eos is None else "--tokenizer and --eos are"
        log.say(f"{', '.join(texts)}: holds text, so {unused} not used for it")
    jobs = [
        Job(form, written_once(form, sources), options if form.name in of_tokens else of_text, out / form.name)
        for form in formats
    ]
    try:
        return [_export_format(job, engine, log, overwrite) for job in jobs]
    except OSError as error:
        raise disk_error(error, str(out)) from error


def written_once(form: Format, sources: tuple[Source, ...]) -> tuple[Source, ...]:
    """The sources as a format writes them: each document once where its weight is written beside it."""
    if len(sources) == 1 and form.keeps_columns:
        return (replace(sources[0], weights=None),)
    return sources


def check_named(recipe: Recipe) -> None:
    """Refuse exports in a recipe that its run could not write, before the run begins.

    Errors: RecipeError.
    """
    for name in recipe.export:
        try:
            form = find_format(name, "export:")
        except CurateError as error:
            raise RecipeError(str(error)) from None
        if form.tokens:
            raise RecipeError(f"export: {name} holds tokens; write it after the run: curate export RUN --to {name} …")
        if recipe.input.messages and not form.chats:
            raise RecipeError(f"export: {name} holds plain text, and input.messages names chats")


def _check_sources(form: Format, sources: tuple[Source, ...], options: Options) -> None:
    """Refuse sources that a format cannot store."""
    chats = [source.name for source in sources if source.messages]
    if chats and (not form.chats or (form.tokens_if_asked and options.tokenizer)):
        raise CurateError(f"--to {form.name}: holds plain text, and the documents of {chats[0]} are chats")
    if chats and len(chats) < len(sources):
        raise CurateError(f"--to {form.name}: {chats[0]} has chats, and others plain text; export them apart")
    if form.tokens and options.tokenizer is None:
        raise CurateError(f"--to {form.name}: holds tokens; give --tokenizer, a tokenizer.json or a Hub name")


def _check_location(out: Path) -> None:
    """Refuse a folder among those that a run keeps for itself."""
    path = out.resolve()
    for run in path.parents:
        folder = path.relative_to(run).parts[0]
        if folder in OF_RUNS and (run / "ledger" / "snapshot.json").is_file():
            raise CurateError(
                f"--out {out}: lies in {folder}/ of a run, where that keeps its own files; choose another"
            )


def _export_format(job: Job, engine: Engine, log: Log, overwrite: bool) -> ExportRecord:
    """Write one format, or resume writing it."""
    folder, digest = job.folder, job.digest
    with folder_lock(folder.parent, f".{folder.name}.lock", keep=False):
        present = _digest_present(folder)
        if present not in (None, digest) and not (overwrite and present):
            other = "an export of something else; choose another --out, or give --overwrite"
            none = "no export, or a damaged one; remove it, or choose another --out"
            raise CurateError(f"{folder}: has {other if present else none}")
        if (folder / EXPORT).exists() and present == digest:
            record = read_export(folder)
            if all(_is_present(folder, file, overwrite) for file in record.files):
                _remove_markers(folder)  # the journal: of an export that was stopped at its very end
                log.say(f"{folder}: is there already")
                return replace(record, load=job.form.load(folder))
        engine.check(folder.parent, [source.shards[0].path for source in job.sources if source.shards])
        pieces = _plan_pieces(job, engine) if job.form.of_shards else []
        if present not in (None, digest):
            _remove_export(folder)
        remove_asides_below(folder)
        records = _write_pieces(job, pieces, engine, log, thorough=overwrite)
        record = _finish(job, Export(folder, job.sources, job.options, tuple(records)), log)
        write_export(folder, record)
        _remove_markers(folder)
    return replace(record, load=job.form.load(folder))


def _finish(job: Job, exported: Export, log: Log) -> ExportRecord:
    """Write the files about all pieces."""
    folder, options = job.folder, job.options
    about = job.form.finish(exported)
    if options.validation and VALIDATION not in (*exported.splits(), *(path.stem for path in about)):
        noun = "document" if job.form.of_shards else "preference pair"
        log.say(f"{folder}: no {noun} falls in --validation {options.validation:.6g}, so there is no such split")
    if options.validation and (names := [source.name for source in job.sources if source.has_near]):
        log.say(
            f"{folder}: {', '.join(names)} has near duplicates with weights, some on both sides of --validation; "
            "validate on other texts, or set dedup.near.as to drop"
        )
    if len(job.sources) > 1 and exported.pieces:
        write_json(folder / MIXTURE, mixture(exported))
        about = [*about, folder / MIXTURE]
    of_pieces = [file for piece in exported.pieces for file in piece.files]
    return ExportRecord(
        digest=job.digest,
        format=job.form.name,
        options=options.to_json(),
        sources=tuple(_source_record(source, exported) for source in job.sources),
        splits={split: size_of(exported.of(split)) for split in exported.splits()},
        files=(*of_pieces, *(file_record(folder, path) for path in about)),
    )


def _source_record(source: Source, exported: Export) -> SourceRecord:
    size = size_of(piece for piece in exported.pieces if piece.source == source.name)
    return SourceRecord(
        name=source.name,
        role=source.role,
        manifest_sha256=source.manifest_sha256,
        share=source.share,
        weight=source.weight,
        epochs=source.epochs,
        documents=size.documents,
        tokens=size.tokens,
        repeated=source.weights is not None,
    )


def _digest_present(folder: Path) -> str | None:
    """The digest of the export in a folder, finished or not; "" for other contents, None for an empty folder."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    for name in (JOURNAL, EXPORT):
        try:
            with (folder / name).open(encoding="utf-8") as file:
                text = file.read() if name == EXPORT else file.readline()
            fields = unsealed(json.loads(text))
            if any(leads_out(str(file["path"])) for file in fields.get("files", [])):
                return ""
            return str(fields["digest"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return ""


def _remove_markers(folder: Path) -> None:
    """Remove the journal of pieces, and the notice that the export is superseded."""
    (folder / JOURNAL).unlink(missing_ok=True)
    (folder / NOTICE).unlink(missing_ok=True)


def _remove_export(folder: Path) -> None:
    """Remove the files that a finished export lists, or all files of a stopped one."""
    if (folder / JOURNAL).exists():
        shutil.rmtree(folder)
        return
    fields = json.loads((folder / EXPORT).read_text("utf-8"))
    for path in (EXPORT, *(file["path"] for file in fields["files"])):
        (folder / path).unlink(missing_ok=True)
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()


@dataclass(frozen=True, slots=True)
class CountTask:
    """A shard whose documents and tokens are counted by split."""

    source_no: int
    shard_no: int
    source: Source
    shard: Shard
    validation: float


def _plan_pieces(job: Job, engine: Engine) -> list[Piece]:
    """All pieces that have documents, in the order of splits, sources and shards."""
    validation = job.options.validation
    sources = [replace(source, shards=()) for source in job.sources]  # a task gets its own shard only
    tasks = [
        CountTask(k, n, sources[k], shard, validation)
        for k, source in enumerate(job.sources)
        for n, shard in enumerate(source.shards)
    ]
    sizes = {(task.source_no, task.shard_no): size for task, size in map_tasks(engine, _count_splits, tasks)}
    pieces = []
    for split in (TRAIN, VALIDATION):
        for k, source in enumerate(job.sources):
            shards = [(shard, *sizes[k, n][split]) for n, shard in enumerate(source.shards)]
            shards = [(shard, documents, tokens) for shard, documents, tokens in shards if documents]
            parent = "data" if len(sources) == 1 else f"data/{source.name}"
            pieces += [
                Piece(
                    source=sources[k],
                    shard=shard.path,
                    split=split,
                    folder=str(job.folder),
                    stem=f"{parent}/{split}-{n:05d}-of-{len(shards):05d}",
                    documents=documents,
                    tokens=tokens,
                    options=job.options,
                )
                for n, (shard, documents, tokens) in enumerate(shards)
            ]
    if not any(piece.split == TRAIN for piece in pieces):
        raise RunError(f"--validation {validation:.6g}: leaves no document to train on; give less")
    return pieces


def _count_splits(task: CountTask) -> dict[str, tuple[int, int]]:
    """Documents and tokens of a shard by split."""
    check_bytes(task.shard)
    return sizes_by_split(task.source, task.shard, task.validation)


def _write_pieces(job: Job, pieces: list[Piece], engine: Engine, log: Log, thorough: bool) -> list[PieceRecord]:
    """Write the missing pieces; return the records of all in their order."""
    folder = job.folder
    records = {
        record.stem: record
        for record in read_journal(folder)
        if all(_is_present(folder, file, thorough) for file in record.files)
    }
    missing = [piece for piece in pieces if piece.stem not in records]
    if records:
        log.say(f"{folder}: {len(pieces) - len(missing)} of {len(pieces)} pieces are written already")
    meter = Meter(log, f"exporting {job.form.name}", sum(piece.tokens for piece in missing))
    with committed(folder / JOURNAL) as aside:
        lines = [{"digest": job.digest}, *map(asdict, records.values())]
        aside.write_text("".join(map(journal_line, lines)), "utf-8")
    (folder / EXPORT).unlink(missing_ok=True)
    with (folder / JOURNAL).open("a", encoding="utf-8") as file:
        tasks = [(job.form.name, piece) for piece in missing]
        for (_, piece), record in map_tasks(engine, _write_piece, tasks):
            print(journal_line(asdict(record)), file=file, end="", flush=True)
            records[piece.stem] = record
            meter.add(piece.documents, piece.tokens)
            meter.show()
    meter.clear()
    return [records[piece.stem] for piece in pieces]


def _write_piece(task: tuple[str, Piece]) -> PieceRecord:
    name, piece = task
    written = find_format(name).write(piece)
    if written.documents != piece.documents:
        raise RunError(f"{piece}: {written.documents} documents were written, and the shard has {piece.documents}")
    folder = Path(piece.folder)
    return PieceRecord(
        stem=piece.stem,
        split=piece.split,
        source=piece.source.name,
        documents=written.documents,
        tokens=piece.tokens if written.tokens is None else written.tokens,
        files=tuple(file_record(folder, path) for path in written.files),
    )


def _is_present(folder: Path, file: FileRecord, thorough: bool) -> bool:
    """Whether a file is there in its full size, and with `thorough` also with its bytes."""
    path = folder / file.path
    if not path.is_file() or path.stat().st_size != file.bytes:
        return False
    return not thorough or sha256_of(path) == file.sha256
