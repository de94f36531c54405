"""`curate export`: what runs kept, in the form that a trainer reads.

Each shard of a run gives one piece to each split, which one task writes and commits: so pieces are written in parallel,
an export that was stopped goes on, and documents keep their order. What tells of all pieces is written at the end, and
last of all export.json, with the hash of every file.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import curate
from curate.engine.base import Engine
from curate.errors import CurateError, RecipeError, RunError, disk_error
from curate.ledger.superseded import NOTICE
from curate.manifests.export.format import Exported, Format, Options, Piece, find_format
from curate.manifests.export.sources import (
    TRAIN,
    VALIDATION,
    Shard,
    Source,
    check_bytes,
    counts_by_split,
    digest_of_sources,
    mapped,
)
from curate.manifests.export.tokens import open_vocabulary
from curate.manifests.export.training_view import MIXTURE, mixture
from curate.progress import Log, Meter
from curate.recipe.recipe import Recipe
from curate.storage.files import (
    committed,
    leads_out,
    remove_asides_below,
    sealed,
    sha256_of,
    unsealed,
    write_json,
    write_sealed,
)
from curate.storage.lock import held

EXPORT, DONE = "export.json", "pieces.ndjson"
EXPORT_VERSION = 2
OF_RUNS = ("data", "evaluation", "inputs", "ledger", "models", "synthetic", "teacher")  # folders of a run directory


def export(
    sources: tuple[Source, ...], names: Sequence[str], out: Path, options: Options, engine: Engine, log: Log,
    overwrite: bool = False, thorough: bool = False,
) -> list[dict[str, Any]]:  # fmt: skip
    """Write a folder below `out` for each of the formats, and return what stands in the export.json of each.

    Beside it, in `load`, what reads it. An export of something else is replaced with `overwrite`; `thorough` reads what
    is there already, and writes anew what is damaged.

    Errors: CurateError for a format that there is not or that cannot hold these documents, before anything is written;
    for a folder that has something else already; RunError where a run lacks what a format holds.
    """
    _check_place(out)
    formats = [find_format(name) for name in dict.fromkeys(names)]
    for found in formats:
        _check(found, sources, options)
    alone = replace(options, tokenizer=None, eos=None)
    as_tokens = {found.name for found in formats if found.tokens or (found.tokens_if_asked and options.tokenizer)}
    if options.tokenizer is not None and as_tokens:
        options = replace(options, vocabulary=open_vocabulary(options.tokenizer, options.eos))
    if options.tokenizer is not None and (texts := [one.name for one in formats if one.name not in as_tokens]):
        given = "--tokenizer is" if options.eos is None else "--tokenizer and --eos are"
        log.say(f"{', '.join(texts)}: holds text, so {given} not used for it")
    try:
        return [
            _exported(one, sources, out / one.name, given, engine, log, overwrite, thorough)
            for one, given in ((one, options if one.name in as_tokens else alone) for one in formats)
        ]
    except OSError as error:
        raise disk_error(error, str(out)) from error


def check_named(recipe: Recipe) -> None:
    """Refuse exports that a recipe names and that its run could not write, before it does anything.

    Errors: RecipeError.
    """
    for name in recipe.export:
        try:
            found = find_format(name, "export:")
        except CurateError as error:
            raise RecipeError(str(error)) from None
        if found.tokens:
            raise RecipeError(f"export: {name} holds tokens; write it after the run: curate export RUN --to {name} …")
        if recipe.input.messages and not found.chats:
            raise RecipeError(f"export: {name} holds plain text, and input.messages names chats")


def _check(found: Format, sources: tuple[Source, ...], options: Options) -> None:
    """Refuse what a format cannot hold."""
    chats = [source.name for source in sources if source.messages]
    if chats and (not found.chats or (found.tokens_if_asked and options.tokenizer)):
        raise CurateError(f"--to {found.name}: holds plain text, and the documents of {chats[0]} are chats")
    if chats and len(chats) < len(sources):
        raise CurateError(f"--to {found.name}: {chats[0]} has chats, and others plain text; export them apart")
    if found.tokens and options.tokenizer is None:
        raise CurateError(f"--to {found.name}: holds tokens; give --tokenizer, a tokenizer.json or a Hub name")


def _check_place(out: Path) -> None:
    """Refuse a place among what a run itself keeps."""
    place = out.resolve()
    for run in place.parents:
        own = place.relative_to(run).parts[0]
        if own in OF_RUNS and (run / "ledger" / "snapshot.json").is_file():
            raise CurateError(f"--out {out}: lies in {own}/ of a run, where that keeps its own files; choose another")


def _exported(
    found: Format, sources: tuple[Source, ...], folder: Path, options: Options, engine: Engine, log: Log,
    overwrite: bool, thorough: bool,
) -> dict[str, Any]:  # fmt: skip
    """Write one format, or go on writing it."""
    digest = _digest(found, sources, options)
    with held(folder.parent, f".{folder.name}.lock", keep=False):
        there = _digest_there(folder)
        if there not in (None, digest) and not (overwrite and there):
            what = "an export of something else; choose another --out, or give --overwrite"
            none = "no export, or a damaged one; remove it, or choose another --out"
            raise CurateError(f"{folder}: has {what if there else none}")
        if (folder / EXPORT).exists() and there == digest:
            told: dict[str, Any] = json.loads((folder / EXPORT).read_text("utf-8"))
            if all(_has(folder, file, thorough) for file in told["files"]):
                (folder / DONE).unlink(missing_ok=True)  # of an export that was stopped at its very end
                (folder / NOTICE).unlink(missing_ok=True)
                log.say(f"{folder}: is there already")
                return told | {"load": found.load(folder)}
        engine.check(folder.parent, [source.shards[0].path for source in sources if source.shards])
        pieces = _planned(found, sources, folder, options, engine) if found.of_shards else []
        if there not in (None, digest):
            _remove(folder)
        remove_asides_below(folder)
        records = _written(found, pieces, folder, digest, thorough, engine, log)
        exported = Exported(folder, sources, options, tuple(records))
        about = found.finish(exported)
        if options.validation and VALIDATION not in (*exported.splits(), *(path.stem for path in about)):
            what = "document" if found.of_shards else "preference pair"
            log.say(f"{folder}: no {what} falls in --validation {options.validation:.6g}, so there is no such split")
        if len(sources) > 1 and pieces:
            write_json(folder / MIXTURE, mixture(exported))
            about = [*about, folder / MIXTURE]
        told = sealed(_told(found, exported, digest, about))
        write_sealed(folder / EXPORT, told)
        (folder / DONE).unlink(missing_ok=True)
        (folder / NOTICE).unlink(missing_ok=True)
    return told | {"load": found.load(folder)}


def _digest(found: Format, sources: tuple[Source, ...], options: Options) -> str:
    """What an export is made of, in hex."""
    chosen = options.told()
    chosen.get("tokenizer", {}).pop("name", None)  # the same tokenizer at another place is the same
    told = [EXPORT_VERSION, curate.__version__, found.name, digest_of_sources(sources), chosen]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _digest_there(folder: Path) -> str | None:
    """The digest of what a folder has, finished or not; "" where that is no export; None where there is nothing."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    for name in (DONE, EXPORT):
        try:
            with (folder / name).open(encoding="utf-8") as file:
                text = file.read() if name == EXPORT else file.readline()
            told = unsealed(json.loads(text))
            if any(leads_out(str(file["path"])) for file in told.get("files", [])):
                return ""
            return str(told["digest"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return ""


def _remove(folder: Path) -> None:
    """Take an export away: the files that it tells of, or, of one that was stopped, all."""
    if (folder / DONE).exists():
        shutil.rmtree(folder)
        return
    told = json.loads((folder / EXPORT).read_text("utf-8"))
    for path in (EXPORT, *(file["path"] for file in told["files"])):
        (folder / path).unlink(missing_ok=True)
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()


def _planned(found: Format, sources: tuple[Source, ...], folder: Path, options: Options, engine: Engine) -> list[Piece]:
    """All pieces that have documents, in the order of splits, sources and shards."""
    alone = [replace(source, shards=()) for source in sources]  # a task needs to know of its own shard only
    asked = [
        (k, n, alone[k], shard, options.validation) for k, s in enumerate(sources) for n, shard in enumerate(s.shards)
    ]
    counts = {task[:2]: result for task, result in mapped(engine, _counted, asked)}
    pieces = []
    for split in (TRAIN, VALIDATION):
        for k, source in enumerate(sources):
            here = [(shard, *counts[k, n][split]) for n, shard in enumerate(source.shards)]
            here = [(shard, documents, tokens) for shard, documents, tokens in here if documents]
            under = "data" if len(sources) == 1 else f"data/{source.name}"
            stem = f"{under}/{split}-{{:05d}}-of-{len(here):05d}"
            pieces += [
                Piece(alone[k], shard.path, split, str(folder), stem.format(n), documents, tokens, options)
                for n, (shard, documents, tokens) in enumerate(here)
            ]
    if not any(piece.split == TRAIN for piece in pieces):
        raise RunError(f"--validation {options.validation:.6g}: leaves no document to train on; give less")
    return pieces


def _counted(task: tuple[int, int, Source, Shard, float]) -> dict[str, tuple[int, int]]:
    """What a shard gives to each split."""
    check_bytes(task[3])
    return counts_by_split(*task[2:])


def _written(
    found: Format, pieces: list[Piece], folder: Path, digest: str, thorough: bool, engine: Engine, log: Log
) -> list[dict[str, Any]]:
    """Write the pieces that are not there yet; what is told of each, in their order."""
    done = {
        record["stem"]: record
        for record in _done(folder)
        if all(_has(folder, file, thorough) for file in record["files"])
    }
    missing = [piece for piece in pieces if piece.stem not in done]
    if done:
        log.say(f"{folder}: {len(pieces) - len(missing)} of {len(pieces)} pieces are written already")
    meter = Meter(log, f"exporting {found.name}", sum(piece.tokens for piece in missing))
    with committed(folder / DONE) as aside:
        aside.write_text("".join(_line(one) for one in ({"digest": digest}, *done.values())), "utf-8")
    (folder / EXPORT).unlink(missing_ok=True)
    with (folder / DONE).open("a", encoding="utf-8") as file:
        tasks = [(found.name, piece) for piece in missing]
        for (_, piece), record in mapped(engine, _carried_out, tasks):
            print(_line(record), file=file, end="", flush=True)
            done[piece.stem] = record
            meter.add(piece.documents, piece.tokens)
            meter.show()
    meter.clear()
    return [done[piece.stem] for piece in pieces]


def _done(folder: Path) -> list[dict[str, Any]]:
    """What an export that was stopped had written."""
    try:
        lines = (folder / DONE).read_text("utf-8").splitlines()[1:]
    except (FileNotFoundError, UnicodeDecodeError):
        return []
    found = []
    for line in lines:
        try:
            found.append(unsealed(json.loads(line)))
        except (ValueError, AttributeError):  # the last line, half written, or one that is damaged
            break
    return found


def _line(record: dict[str, Any]) -> str:
    return json.dumps(sealed(record)) + "\n"


def _carried_out(task: tuple[str, Piece]) -> dict[str, Any]:
    """Write a piece, and tell of its files."""
    name, piece = task
    written = find_format(name).write(piece)
    if written.documents != piece.documents:
        raise RunError(f"{piece}: {written.documents} documents were written, and the shard has {piece.documents}")
    folder = Path(piece.folder)
    return {
        "stem": piece.stem, "split": piece.split, "source": piece.source.name, "documents": written.documents,
        "tokens": piece.tokens if written.tokens is None else written.tokens,
        "files": [file_facts(folder, path) for path in written.files],
    }  # fmt: skip


def file_facts(folder: Path, path: Path) -> dict[str, Any]:
    """A file by its place in an export, its size and its hash."""
    return {"path": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size, "sha256": sha256_of(path)}


def _has(folder: Path, file: dict[str, Any], thorough: bool) -> bool:
    """Whether a file is there in its full size; with `thorough` also with its bytes."""
    path = folder / str(file["path"])
    if not path.is_file() or path.stat().st_size != int(file["bytes"]):
        return False
    return not thorough or sha256_of(path) == file["sha256"]


def _told(found: Format, exported: Exported, digest: str, about: list[Path]) -> dict[str, Any]:
    """export.json: what was written, of what, and how; without clock or host."""
    splits = {}
    for split in exported.splits():
        pieces = exported.of(split)
        splits[split] = {unit: sum(piece[unit] for piece in pieces) for unit in ("documents", "tokens")}
    return {
        "export_version": EXPORT_VERSION,
        "tool": {"name": "curate-lm", "version": curate.__version__},
        "digest": digest,
        "format": found.name,
        "options": exported.options.told(),
        "sources": [_source(source, exported) for source in exported.sources],
        "splits": splits,
        "files": [file for piece in exported.pieces for file in piece["files"]]
        + [file_facts(exported.folder, path) for path in about],
    }  # fmt: skip


def _source(source: Source, exported: Exported) -> dict[str, Any]:
    """What an export has of a run."""
    pieces = [piece for piece in exported.pieces if piece["source"] == source.name]
    return {
        **{name: getattr(source, name) for name in ("name", "role", "manifest_sha256", "share", "weight", "epochs")},
        **{unit: sum(piece[unit] for piece in pieces) for unit in ("documents", "tokens")},
    }
