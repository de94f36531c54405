"""The files and datasets that a recipe names; those that are not Parquet are first written as Parquet into the run."""

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
from xxhash import xxh3_128_hexdigest

from curate.corpus.folders import Listing, PassedOver, counts_by_reason, ending_reason, expand_glob, list_folder
from curate.corpus.misfits import NoTextError
from curate.corpus.parquet import InputFile, open_footer
from curate.corpus.spool import SPOOL_VERSION, SpoolTask, find_spooled, spool
from curate.digest import digest_of
from curate.engine.base import Engine
from curate.errors import CurateError, InputError, TaskError, shortened
from curate.progress import Log, Meter
from curate.recipe.input import Input, Source
from curate.redaction import redacted, without_credentials
from curate.storage.endings import is_input, is_json_lines
from curate.storage.places import expand, is_remote, one_line, open_location, status

INPUTS_FOLDER = "inputs"  # of the run directory: spooled inputs
NOT_READ = (".csv", ".txt", ".tsv", ".gz", ".zst", ".arrow", ".zip")
OWN_RUN = "this run's own output"
EDGE_BYTES = 1 << 16
PREVIEW_BYTES = 32_000_000  # of all spooled files that a forecast reads: the same share of each
PREVIEW_DATASET = 0.01  # of a dataset's rows
THREADS = 16


@dataclass(frozen=True)
class NamedInput:
    """A file or dataset that the recipe names, before it is opened."""

    path: str  # the name within the run: relative to the corpus root, a URI, or a dataset
    location: str  # of the file; empty for a dataset
    entry: Source
    problem: str | None = None  # why a folder cannot be listed

    @property
    def spooled(self) -> bool:
        """Whether it is written as Parquet first."""
        return not self.location or is_json_lines(self.location)


@dataclass(frozen=True)
class InputListing:
    """The inputs that a recipe's `input.paths` name."""

    root: Path  # of the corpus: the common folder of its local files
    inputs: tuple[NamedInput, ...]  # in input order
    passed_over: tuple[PassedOver, ...]  # other files in the same folders


def find_inputs(source: Input, run: Path) -> InputListing:
    """The corpus root and all inputs in input order, without files in the run directory.

    A folder that cannot be listed is an input with a problem. Errors: InputError for a path that matches nothing or
    names another format.
    """
    inputs: dict[str, NamedInput] = {}  # by what identifies each, so that no file is read twice
    passed_over: list[PassedOver] = []
    for entry in source.entries():
        for key, item in _inputs_of(entry, run, passed_over):
            inputs.setdefault(key, item)
    if not inputs:
        raise InputError("input.paths: nothing but this run's own output in " + ", ".join(map(str, source.paths)))
    root = common_root([Path(item.location) for item in inputs.values() if not item.path])
    read = {item.location for item in inputs.values()}
    return InputListing(
        root,
        tuple(
            item if item.path else replace(item, path=Path(item.location).relative_to(root).as_posix())
            for item in inputs.values()
        ),
        tuple(
            replace(item, path=redacted(_within(item.path, root)))
            for item in dict.fromkeys(passed_over)
            if item.path not in read
        ),
    )


def _inputs_of(entry: Source, run: Path, passed_over: list[PassedOver]) -> Iterator[tuple[str, NamedInput]]:
    """The inputs of an entry, each with what identifies it; other files are appended to `passed_over`."""
    if entry.dataset is not None:
        name = _dataset_name(entry)
        yield name, NamedInput(name, "", entry)
    for pattern in entry.paths:
        if is_remote(pattern):
            for file in _remote_files(pattern, passed_over):
                yield file, NamedInput(file, file, entry)
            continue
        listing = local_listing(pattern, "input.paths")
        passed_over += listing.passed_over
        for path in listing.files:
            if path.resolve().is_relative_to(run.resolve()):
                passed_over.append(PassedOver(str(path), OWN_RUN))
            else:
                yield str(path.resolve()), NamedInput("", str(path), entry)
        for folder, problem in listing.unreadable.items():
            yield str(folder), NamedInput("", str(folder), entry, problem)


def _remote_files(pattern: str, passed_over: list[PassedOver]) -> list[str]:
    """The input files that a URI names; other files are appended to `passed_over`."""
    _check_unsigned(pattern)
    files = expand(pattern)
    chosen = [file for file in files if file == pattern or is_input(file)]
    if not chosen:
        raise InputError(f"input.paths: {pattern}: no Parquet or JSONL file there")
    kept = set(chosen)
    passed_over += [PassedOver(file, ending_reason(file)) for file in files if file not in kept]
    return chosen


def _within(path: str, root: Path) -> str:
    """A path relative to the corpus root, if it is below it."""
    return path if is_remote(path) or not Path(path).is_relative_to(root) else Path(path).relative_to(root).as_posix()


def _dataset_name(entry: Source) -> str:
    assert entry.dataset is not None
    parts = (entry.dataset, entry.config, entry.split, entry.revision and f"@{entry.revision}")
    return "datasets://" + "/".join(part for part in parts if part)


def common_root(paths: Sequence[Path]) -> Path:
    """The common folder of files; without files the current one."""
    return Path(os.path.commonpath([path.parent for path in paths])) if paths else Path.cwd()


def local_files(pattern: str, field: str) -> list[Path]:
    """The files that a local path in a field of the recipe names, sorted; runs in a folder are passed over.

    Errors: InputError naming the field for no file, a file of another format, or a folder that cannot be listed.
    """
    listing = local_listing(pattern, field)
    for folder, problem in listing.unreadable.items():
        raise InputError(f"{field}: {unreadable(str(folder), problem)}")
    return listing.files


def unreadable(folder: str, problem: str) -> str:
    """The message for a folder that cannot be listed."""
    return f"{folder}: this folder cannot be read: {problem}; let it be read, or name the files that are meant"


def local_listing(pattern: str, field: str) -> Listing:
    """The files that a local path in a field of the recipe names, sorted, and the files that are passed over.

    Errors: InputError naming the field for no file, or a file of another format.
    """
    if not pattern:
        raise InputError(f"{field}: an empty path; write . for the folder that curate is started in")
    try:
        expanded = Path(pattern).expanduser()
        path = Path(os.path.abspath(expanded))
        is_there, is_folder = path.exists(), path.is_dir()
    except PermissionError:  # of a parent folder, which is named below
        is_there = is_folder = False
    except (OSError, RuntimeError) as error:  # a name that is too long, an unknown home
        problem = getattr(error, "strerror", None) or one_line(error)
        raise InputError(f"{field}: {shortened(pattern)}: {problem}") from None
    if is_folder:
        listing = list_folder(path)
        if not listing.files and not listing.unreadable:
            beside = f"; passed over: {counts_by_reason(listing.passed_over)}" if listing.passed_over else ""
            raise InputError(f"{field}: {pattern}: no .parquet or .jsonl file in this folder{beside}")
    elif is_there:
        listing = Listing([path])
    else:  # not the absolute path: the current folder's name is no pattern
        listing = expand_glob(expanded)
        if not listing.files and not listing.unreadable:
            raise InputError(f"{field}: {pattern} matches no file in {Path.cwd()}")
    for name in listing.files:
        _check_name(name, field)
    return listing


def _check_unsigned(uri: str) -> None:
    """Refuse a signed URI or one with a token: the ledger would keep it, and it expires."""
    if (shown := without_credentials(uri)) != uri:
        raise InputError(
            f"input.paths: {shown}: holds a credential, which the ledger would keep; credentials come from the "
            "environment, and a signed file is downloaded first"
        )


def _check_name(path: Path, field: str) -> None:
    """Refuse a file of another format, and one that the manifest could not name."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{field}: {str(path)!r}: its name is not UTF-8; rename it") from None
    if "\\" in str(path) and glob.has_magic(str(path)):  # DuckDB reads both as parts of a pattern
        raise InputError(
            f"{field}: {path}: its name has a backslash beside one of *?[, which cannot be read; rename it"
        )
    if path.suffix.lower() in NOT_READ and not is_json_lines(path.name):
        raise InputError(
            f"{field}: {path}: only Parquet and JSON lines (.jsonl, .jsonl.gz, .jsonl.zst) are read; convert it"
        )


def open_all(
    inputs: Sequence[NamedInput],
    source: Input,
    run: Path,
    engine: Engine,
    log: Log,
    preview: Path | None = None,
    lenient: bool = False,
) -> list[InputFile | InputError]:
    """Every input with its footer, or what is wrong with it, in order; many threads read footers.

    With `lenient`, JSON lines that are no objects are left out.
    With a folder for a `preview` nothing is written into the run: the beginnings of spooled inputs go there.
    """
    spooled = _spool_all(inputs, SpoolPlan(run, preview, lenient), engine, log)

    def open_input(k: int) -> InputFile | InputError:
        item = inputs[k]
        if item.problem is not None:
            return InputError(unreadable(item.location, item.problem))
        parquet = spooled.get(k, Spooled(item.location))
        if isinstance(parquet, InputError):
            return parquet
        try:
            return open_footer(
                item.path,
                item.location or item.path,
                parquet.location,
                item.entry,
                source,
                spooled=identity_of(item) if item.spooled else None,
                share=parquet.share,
            )
        except InputError as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        files = list(pool.map(open_input, range(len(inputs))))
    have_text = any(isinstance(file, InputFile) and not inputs[k].entry.text for k, file in enumerate(files))
    return [InputError(file.alone) if have_text and isinstance(file, NoTextError) else file for file in files]


@dataclass(frozen=True, slots=True)
class Spooled:
    """The Parquet of an input, and what share of the input it has."""

    location: str
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class SpoolPlan:
    """Into which folders inputs are spooled, and how."""

    run: Path
    preview: Path | None  # for the beginnings of inputs; None: inputs are spooled in full, into the run
    lenient: bool  # leave out JSON lines that are no objects

    @property
    def finished(self) -> Path:
        """The folder of what earlier runs spooled."""
        return self.run / INPUTS_FOLDER

    @property
    def folder(self) -> Path:
        """The folder to write to."""
        return self.preview or self.finished

    def share(self, total: int) -> float:
        """The share to spool of inputs that have `total` bytes."""
        return min(1.0, PREVIEW_BYTES / max(1, total)) if self.preview else 1.0

    def tasks(self, inputs: Sequence[NamedInput], missing: Mapping[int, tuple[Path, int]]) -> dict[int, SpoolTask]:
        """The tasks of inputs by number; `missing` has the target and size of each."""
        share = self.share(sum(size for _, size in missing.values()))
        return {
            k: SpoolTask(
                name=inputs[k].path,
                location=inputs[k].location,
                dataset=_arguments(inputs[k].entry),
                target=str(target),
                share=share if size or not self.preview else PREVIEW_DATASET,
                lenient=self.lenient,
            )
            for k, (target, size) in missing.items()
        }


def _spool_all(
    inputs: Sequence[NamedInput], plan: SpoolPlan, engine: Engine, log: Log
) -> dict[int, Spooled | InputError]:
    """Write inputs as Parquet, unless an earlier run did; the Parquet of each by number, or what went wrong."""
    spooled: dict[int, Spooled | InputError] = {}
    missing: dict[int, tuple[Path, int]] = {}
    for k, item in enumerate(inputs):
        if not item.spooled:
            continue
        try:
            size, identity = identity_of(item)
        except InputError as error:
            spooled[k] = error
            continue
        name = f"{digest_of([SPOOL_VERSION, pa.__version__, identity])}.parquet"
        if (path := find_spooled(plan.finished / name)) is not None:
            spooled[k] = Spooled(str(path))
        else:
            missing[k] = plan.folder / name, size
    if missing:
        sizes = {k: size for k, (_, size) in missing.items()}
        spooled |= _run_tasks(plan.tasks(inputs, missing), sizes, plan, engine, log)
    return spooled


def _run_tasks(
    tasks: Mapping[int, SpoolTask], sizes: Mapping[int, int], plan: SpoolPlan, engine: Engine, log: Log
) -> dict[int, Spooled | InputError]:
    """The results of tasks by number; `sizes` are the bytes of their inputs."""
    total = sum(sizes.values())
    task_bytes = {Path(task.target).name: round(sizes[k] * task.share) for k, task in tasks.items()}
    meter = Meter(log, "converting", round(total * plan.share(total)), plan.folder, task_bytes, "file")
    numbers = {task.target: k for k, task in tasks.items()}
    spooled: dict[int, Spooled | InputError] = {}
    with closing(engine.map(spool, tasks.values())) as results:  # type: ignore[type-var]
        for task, result in results:
            if isinstance(result, InputError):
                spooled[numbers[task.target]] = result
            elif isinstance(result, TaskError) and plan.lenient:
                spooled[numbers[task.target]] = InputError(log.bug(result).recorded())
            elif isinstance(result, CurateError):  # of the disk, not of the file
                raise result
            elif task is not None:
                k = numbers[task.target]
                spooled[k] = Spooled(result.path, result.share)
                log.event("converted", task=task.name, documents=result.documents)
                meter.add(result.documents, round(sizes[k] * task.share))
            meter.show()
    meter.show(last=True)
    return spooled


def _arguments(entry: Source) -> dict[str, str]:
    """The arguments of `datasets.load_dataset`."""
    if entry.dataset is None:
        return {}
    arguments = {"path": entry.dataset, "name": entry.config, "split": entry.split, "revision": entry.revision}
    return {name: value for name, value in arguments.items() if value is not None}


def _listing(folder: Path) -> list[tuple[str, int, int]]:
    """The files of a folder with size and modification time; none where there is no such folder.

    Errors: InputError for a folder in it that cannot be listed: `datasets` would skip it silently.
    """

    def refuse(error: OSError) -> None:
        raise InputError(unreadable(str(error.filename), error.strerror or str(error)))

    walked = os.walk(folder, onerror=refuse) if folder.is_dir() else ()
    files = sorted(path for parent, _, names in walked for name in names if (path := Path(parent, name)).is_file())
    return [(path.relative_to(folder).as_posix(), *status(str(path))) for path in files]


def identity_of(named: NamedInput) -> tuple[int, str]:
    """Size and identity of a spooled input.

    Of a file its size, modification time, and first and last bytes; of a dataset its name, and of one in a local folder
    the files there.
    """
    if not named.location:
        return 0, digest_of([_arguments(named.entry), _listing(Path(named.entry.dataset or ""))])
    try:
        size, modified = status(named.location)
        with open_location(named.location) as file:
            edges = (
                file.read_at(min(size, EDGE_BYTES), 0),
                file.read_at(min(size, EDGE_BYTES), max(0, size - EDGE_BYTES)),
            )
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{named.location}: cannot be read: {one_line(error)}") from None
    return size, f"{size}-{xxh3_128_hexdigest(b''.join(edges))}-{modified}"
