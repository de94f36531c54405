"""Which files and datasets a recipe names, and those among them that are first written as Parquet into the run."""

import glob
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
from xxhash import xxh3_128_hexdigest

from curate.corpus.folders import Listing, PassedOver, ending_reason, expand_glob, list_folder, told
from curate.corpus.misfits import NoTextError
from curate.corpus.parquet import InputFile, open_footer
from curate.corpus.spool import SPOOL_VERSION, SpoolTask, found_spooled, spool
from curate.digest import digest_of
from curate.engine.base import Engine
from curate.errors import CurateError, InputError, TaskError, shortened
from curate.progress import Log, Meter
from curate.recipe.input import Input, Source
from curate.redaction import redacted, without_credentials
from curate.storage.endings import is_input, is_json_lines
from curate.storage.places import expand, is_remote, one_line, opened, status

INPUTS_FOLDER = "inputs"  # of the run directory: what was spooled
NOT_READ = (".csv", ".txt", ".tsv", ".gz", ".zst", ".arrow", ".zip")
OWN_RUN = "this run's own output"
EDGE_BYTES = 1 << 16
PREVIEW_BYTES = 32_000_000  # of files, compressed or not, that a forecast reads in all; of each as large a share
PREVIEW_DATASET = 0.01  # of a dataset's rows
THREADS = 16


@dataclass(frozen=True)
class Named:
    """A file or dataset that the recipe names, before it is opened."""

    path: str  # how the run names it: relative to the corpus root, a URI, or a dataset
    location: str  # where it lies; empty for a dataset
    entry: Source
    problem: str | None = None  # why it cannot be read: of a folder that cannot be listed

    @property
    def spooled(self) -> bool:
        """Whether it is written as Parquet first."""
        return not self.location or is_json_lines(self.location)


@dataclass(frozen=True)
class Found:
    """What a recipe's `input.paths` come to."""

    root: Path  # of the corpus: the folder that its local files share
    inputs: tuple[Named, ...]  # in input order
    passed_over: tuple[PassedOver, ...]  # what lies beside them in the same folders


def find_inputs(source: Input, run: Path) -> Found:
    """The corpus root and all inputs in input order, without what lies in the run directory.

    A folder that cannot be listed is an input with a problem. Errors: InputError for a path that matches nothing or
    holds another format.
    """
    inputs: dict[str, Named] = {}  # by what each is, so that no file is read twice
    passed_over: list[PassedOver] = []
    for entry in source.entries():
        if entry.dataset is not None:
            name = _dataset_name(entry)
            inputs.setdefault(name, Named(name, "", entry))
        for pattern in entry.paths:
            if is_remote(pattern):
                _check_unsigned(pattern)
                files = expand(pattern)
                chosen = [file for file in files if file == pattern or is_input(file)]
                if not chosen:
                    raise InputError(f"input.paths: {pattern}: no Parquet or JSONL file there")
                kept = set(chosen)
                passed_over += [PassedOver(file, ending_reason(file)) for file in files if file not in kept]
                for file in chosen:
                    inputs.setdefault(file, Named(file, file, entry))
                continue
            found = local_listing(pattern, "input.paths")
            passed_over += found.passed_over
            for path in found.files:
                if path.resolve().is_relative_to(run.resolve()):
                    passed_over.append(PassedOver(str(path), OWN_RUN))
                else:
                    inputs.setdefault(str(path.resolve()), Named("", str(path), entry))
            for folder, problem in found.unreadable.items():
                inputs.setdefault(str(folder), Named("", str(folder), entry, problem))
    if not inputs:
        raise InputError("input.paths: nothing but this run's own output in " + ", ".join(map(str, source.paths)))
    root = common_root([Path(one.location) for one in inputs.values() if not one.path])
    read = {one.location for one in inputs.values()}
    return Found(
        root,
        tuple(
            one if one.path else replace(one, path=Path(one.location).relative_to(root).as_posix())
            for one in inputs.values()
        ),
        tuple(
            replace(one, path=redacted(_within(one.path, root)))
            for one in dict.fromkeys(passed_over)
            if one.path not in read
        ),
    )


def _within(path: str, root: Path) -> str:
    """A path relative to the corpus root, if it lies below it."""
    return path if is_remote(path) or not Path(path).is_relative_to(root) else Path(path).relative_to(root).as_posix()


def _dataset_name(entry: Source) -> str:
    assert entry.dataset is not None
    parts = (entry.dataset, entry.config, entry.split, entry.revision and f"@{entry.revision}")
    return "datasets://" + "/".join(part for part in parts if part)


def common_root(paths: Sequence[Path]) -> Path:
    """The folder that some files share, or the current one."""
    return Path(os.path.commonpath([path.parent for path in paths])) if paths else Path.cwd()


def local_files(pattern: str, field: str) -> list[Path]:
    """The files that one local entry of a field of the recipe names, sorted; runs in a folder are passed over.

    Errors: InputError naming the field, where there is none, one of another format, or a folder that cannot be listed.
    """
    found = local_listing(pattern, field)
    for folder, problem in found.unreadable.items():
        raise InputError(f"{field}: {unreadable(str(folder), problem)}")
    return found.files


def unreadable(folder: str, problem: str) -> str:
    """What is said of a folder that cannot be listed."""
    return f"{folder}: this folder cannot be read: {problem}; let it be read, or name the files that are meant"


def local_listing(pattern: str, field: str) -> Listing:
    """The files that one local entry of a field of the recipe names, sorted, and what is passed over beside them.

    Errors: InputError naming the field, where there is none, or one of another format.
    """
    if not pattern:
        raise InputError(f"{field}: an empty path; write . for the folder that curate is started in")
    try:
        given = Path(pattern).expanduser()
        path = Path(os.path.abspath(given))
        is_there, is_folder = path.exists(), path.is_dir()
    except PermissionError:  # of a folder on the way, which is named below
        is_there = is_folder = False
    except (OSError, RuntimeError) as error:  # a name that is too long, a home of nobody
        problem = getattr(error, "strerror", None) or one_line(error)
        raise InputError(f"{field}: {shortened(pattern)}: {problem}") from None
    if is_folder:
        found = list_folder(path)
        if not found.files and not found.unreadable:
            beside = f"; passed over: {told(found.passed_over)}" if found.passed_over else ""
            raise InputError(f"{field}: {pattern}: no .parquet or .jsonl file in this folder{beside}")
    elif is_there:
        found = Listing([path])
    else:  # the current folder's name is no pattern, whatever it is
        found = expand_glob(given)
        if not found.files and not found.unreadable:
            raise InputError(f"{field}: {pattern} matches no file in {Path.cwd()}")
    for name in found.files:
        _check_name(name, field)
    return found


def _check_unsigned(uri: str) -> None:
    """Refuse a URI that is signed or holds a token: the ledger keeps it, and it is good for some hours."""
    if (shown := without_credentials(uri)) != uri:
        raise InputError(
            f"input.paths: {shown}: holds a credential, which the ledger would keep; credentials come from the "
            "environment, and a signed file is downloaded first"
        )


def _check_name(path: Path, field: str) -> None:
    """Refuse a file of another format, and one that could not be named in the manifest."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{field}: {str(path)!r}: its name is not UTF-8; rename it") from None
    if "\\" in str(path) and glob.has_magic(str(path)):  # DuckDB takes both for parts of a pattern
        raise InputError(
            f"{field}: {path}: its name has a backslash beside one of *?[, which cannot be read; rename it"
        )
    if path.suffix.lower() in NOT_READ and not is_json_lines(path.name):
        raise InputError(
            f"{field}: {path}: only Parquet and JSON lines (.jsonl, .jsonl.gz, .jsonl.zst) are read; convert it"
        )


def open_all(
    named: Sequence[Named],
    source: Input,
    run: Path,
    engine: Engine,
    log: Log,
    preview: Path | None = None,
    lenient: bool = False,
) -> list[InputFile | InputError]:
    """Every input with what its footer tells, or what is wrong with it, in order; footers are read by many threads.

    Of JSON lines those that are no objects are left out where it is `lenient`.
    With a folder for a `preview` nothing is written into the run: of what must be spooled the beginning goes there.
    """
    places = _spool_all(named, run, engine, log, preview, lenient)

    def attempt(k: int) -> InputFile | InputError:
        if (problem := named[k].problem) is not None:
            return InputError(unreadable(named[k].location, problem))
        place = places.get(k, Spooled(named[k].location))
        if isinstance(place, InputError):
            return place
        try:
            identity = identity_of(named[k]) if named[k].spooled else None
            where = named[k].location or named[k].path
            return open_footer(named[k].path, where, place.location, named[k].entry, source, identity, place.share)
        except InputError as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(attempt, range(len(named))))
    others = any(isinstance(one, InputFile) and not of.entry.text for one, of in zip(found, named, strict=True))
    return [InputError(one.alone) if others and isinstance(one, NoTextError) else one for one in found]


@dataclass(frozen=True)
class Spooled:
    """Where an input's Parquet lies, and what share of it that is."""

    location: str
    share: float = 1.0


def _spool_all(
    named: Sequence[Named], run: Path, engine: Engine, log: Log, preview: Path | None, lenient: bool
) -> dict[int, Spooled | InputError]:
    """Write those inputs as Parquet that must be, unless an earlier run did; where each lies, or why it does not."""
    places: dict[int, Spooled | InputError] = {}
    wanted: dict[int, tuple[Path, int]] = {}
    for k, one in enumerate(named):
        if not one.spooled:
            continue
        try:
            size, identity = identity_of(one)
        except InputError as error:
            places[k] = error
            continue
        name = f"{digest_of([SPOOL_VERSION, pa.__version__, identity])}.parquet"
        if (there := found_spooled(run / INPUTS_FOLDER / name)) is not None:
            places[k] = Spooled(str(there))
        else:
            wanted[k] = (preview or run / INPUTS_FOLDER) / name, size
    if not wanted:
        return places
    whole = sum(size for _, size in wanted.values())
    share = min(1.0, PREVIEW_BYTES / max(1, whole)) if preview else 1.0
    tasks = {k: SpoolTask(named[k].path, named[k].location, _arguments(named[k].entry), str(target),
                          share if size or not preview else PREVIEW_DATASET, lenient)
             for k, (target, size) in wanted.items()}  # fmt: skip
    bytes_of = {Path(task.target).name: round(wanted[k][1] * task.share) for k, task in tasks.items()}
    meter = Meter(log, "converting", round(whole * share), preview or run / INPUTS_FOLDER, bytes_of, "file")
    numbers = {task.target: k for k, task in tasks.items()}
    with closing(engine.map(spool, tasks.values())) as results:  # type: ignore[type-var]
        for task, result in results:
            if isinstance(result, InputError):
                places[numbers[task.target]] = result
            elif isinstance(result, TaskError) and lenient:
                places[numbers[task.target]] = InputError(log.bug(result).recorded())
            elif isinstance(result, CurateError):  # of the disk, not of the file
                raise result
            elif task is not None:
                documents, done, place = result
                places[numbers[task.target]] = Spooled(place, done)
                log.event("converted", task=task.name, documents=documents)
                meter.add(documents, round(wanted[numbers[task.target]][1] * task.share))
            meter.show()
    meter.show(last=True)
    return places


def _arguments(entry: Source) -> dict[str, str]:
    """What `datasets.load_dataset` is called with."""
    if entry.dataset is None:
        return {}
    given = {"path": entry.dataset, "name": entry.config, "split": entry.split, "revision": entry.revision}
    return {name: value for name, value in given.items() if value is not None}


def _listing(folder: Path) -> list[tuple[str, int, int]]:
    """The files of a folder with size and time of change; none where there is no such folder.

    Errors: InputError for a folder in it that cannot be listed: `datasets` would read what is left.
    """

    def refuse(error: OSError) -> None:
        raise InputError(unreadable(str(error.filename), error.strerror or str(error)))

    walked = os.walk(folder, onerror=refuse) if folder.is_dir() else ()
    files = sorted(path for place, _, names in walked for name in names if (path := Path(place, name)).is_file())
    return [(path.relative_to(folder).as_posix(), *status(str(path))) for path in files]


def identity_of(named: Named) -> tuple[int, str]:
    """Size and identity of an input that is spooled.

    Of a file its size, time of change, and first and last bytes; of a dataset what names it, and of one in a local
    folder what lies there.
    """
    if not named.location:
        return 0, digest_of([_arguments(named.entry), _listing(Path(named.entry.dataset or ""))])
    try:
        size, changed = status(named.location)
        with opened(named.location) as file:
            edges = (
                file.read_at(min(size, EDGE_BYTES), 0),
                file.read_at(min(size, EDGE_BYTES), max(0, size - EDGE_BYTES)),
            )
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{named.location}: cannot be read: {one_line(error)}") from None
    return size, f"{size}-{xxh3_128_hexdigest(b''.join(edges))}-{changed}"
