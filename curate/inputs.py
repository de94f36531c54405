"""Which files and datasets a recipe names, and those among them that are first written as Parquet into the run."""

import glob
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from xxhash import xxh3_128_hexdigest

from curate.corpus import InputFile, open_footer
from curate.engine import Engine
from curate.errors import CurateError, InputError, TaskError, shortened
from curate.progress import Log, Meter
from curate.recipe import digest_of
from curate.sections import Input, Source
from curate.spool import CODECS, SPOOL_VERSION, SpoolTask, found_spooled, spool
from curate.storage import expand, is_remote, one_line, opened, status

FOLDER = "inputs"  # of the run directory: what was spooled
JSON_LINES = tuple(f"{suffix}{codec}" for suffix in (".jsonl", ".ndjson", ".json") for codec in ("", *CODECS))
IN_FOLDERS = (".parquet", *JSON_LINES[: -1 - len(CODECS)])  # a .json file in a folder is often something else
NOT_READ = (".csv", ".txt", ".tsv", ".gz", ".zst", ".arrow", ".zip")
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

    @property
    def spooled(self) -> bool:
        """Whether it is written as Parquet first."""
        return not self.location or self.location.endswith(JSON_LINES)


def find_inputs(source: Input, run: Path) -> tuple[Path, list[Named]]:
    """The corpus root and all inputs in input order, without what lies in the run directory.

    Errors: InputError for a path that matches nothing or holds another format.
    """
    found: dict[str, tuple[str, Source]] = {}  # by what it is, so that no file is read twice
    for entry in source.entries():
        if entry.dataset is not None:
            found.setdefault(_dataset_name(entry), ("", entry))
        for pattern in entry.paths:
            if is_remote(pattern):
                files = [file for file in expand(pattern) if file == pattern or _is_input(file)]
                if not files:
                    raise InputError(f"input.paths: {pattern}: no Parquet or JSONL file there")
                found |= {file: (file, entry) for file in files if file not in found}
                continue
            for path in local_files(pattern, "input.paths"):
                if not path.resolve().is_relative_to(run.resolve()):
                    found.setdefault(str(path.resolve()), (str(path), entry))
    if not found:
        raise InputError("input.paths: nothing but this run's own output in " + ", ".join(map(str, source.paths)))
    local = [Path(location) for location, _ in found.values() if location and not is_remote(location)]
    root = common_root(local)
    return root, [
        Named(Path(location).relative_to(root).as_posix() if location and not is_remote(location) else key, *rest)
        for key, (location, entry) in found.items()
        for rest in [(location, entry)]
    ]


def _dataset_name(entry: Source) -> str:
    assert entry.dataset is not None
    parts = (entry.dataset, entry.config, entry.split, entry.revision and f"@{entry.revision}")
    return "datasets://" + "/".join(part for part in parts if part)


def common_root(paths: Sequence[Path]) -> Path:
    """The folder that some files share, or the current one."""
    return Path(os.path.commonpath([path.parent for path in paths])) if paths else Path.cwd()


def local_files(pattern: str, field: str) -> list[Path]:
    """The files that one local entry of a field of the recipe names, sorted; runs in a folder are passed over.

    Errors: InputError naming the field, where there is none, or one of another format.
    """
    if not pattern:
        raise InputError(f"{field}: an empty path; write . for the folder that curate is started in")
    try:
        given = Path(pattern).expanduser()
        path = Path(os.path.abspath(given))
        is_there = path.exists()
    except (OSError, RuntimeError) as error:  # a name that is too long, a home of nobody
        problem = getattr(error, "strerror", None) or one_line(error)
        raise InputError(f"{field}: {shortened(pattern)}: {problem}") from None
    if path.is_dir():
        found = [path / name for name in glob.glob("**/*", root_dir=path, recursive=True) if _is_input(name)]
        names = [p for p in found if (p.is_file() or p.is_symlink()) and not _is_inside_run(p.parent, path)]
        if not names:
            raise InputError(f"{field}: {pattern}: no .parquet or .jsonl file in this folder")
    elif is_there:
        names = [path]
    else:  # the current folder's name is no pattern, whatever it is
        found = [Path(os.path.abspath(name)) for name in glob.glob(str(given), recursive=True)]
        names = [name for name in found if not name.is_dir()]
        if not names:
            raise InputError(f"{field}: {pattern} matches no file in {Path.cwd()}")
    for name in names:
        _check_name(name, field)
    return sorted(names)


def _check_name(path: Path, field: str) -> None:
    """Refuse a file of another format, and one that could not be named in the manifest."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{field}: {str(path)!r}: its name is not UTF-8; rename it") from None
    if path.suffix in NOT_READ and not path.name.endswith(JSON_LINES):
        raise InputError(
            f"{field}: {path}: only Parquet and JSON lines (.jsonl, .jsonl.gz, .jsonl.zst) are read; convert it"
        )


def _is_input(name: str) -> bool:
    return name.endswith(IN_FOLDERS)


def _is_inside_run(folder: Path, top: Path) -> bool:
    """Whether a folder below `top` is hidden with an underscore or belongs to a run directory."""
    inner = [folder, *folder.parents][: len(folder.relative_to(top).parts)]
    return any(f.name.startswith("_") or (f / "ledger" / "snapshot.json").exists() for f in inner)


def open_all(
    named: Sequence[Named], source: Input, run: Path, engine: Engine, log: Log, preview: Path | None = None
) -> list[InputFile | InputError]:
    """Every input with what its footer tells, or what is wrong with it, in order; footers are read by many threads.

    With a folder for a `preview` nothing is written into the run: of what must be spooled the beginning goes there.
    """
    places = _spool_all(named, run, engine, log, preview)

    def attempt(k: int) -> InputFile | InputError:
        place = places.get(k, Spooled(named[k].location))
        if isinstance(place, InputError):
            return place
        try:
            identity = _identity(named[k]) if named[k].spooled else None
            where = named[k].location or named[k].path
            return open_footer(named[k].path, where, place.location, named[k].entry, source, identity, place.share)
        except InputError as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(attempt, range(len(named))))


@dataclass(frozen=True)
class Spooled:
    """Where an input's Parquet lies, and what share of it that is."""

    location: str
    share: float = 1.0


def _spool_all(
    named: Sequence[Named], run: Path, engine: Engine, log: Log, preview: Path | None
) -> dict[int, Spooled | InputError]:
    """Write those inputs as Parquet that must be, unless an earlier run did; where each lies, or why it does not."""
    places: dict[int, Spooled | InputError] = {}
    wanted: dict[int, tuple[Path, int]] = {}
    for k, one in enumerate(named):
        if not one.spooled:
            continue
        try:
            size, identity = _identity(one)
        except InputError as error:
            places[k] = error
            continue
        name = f"{digest_of([SPOOL_VERSION, pa.__version__, identity])}.parquet"
        if (there := found_spooled(run / FOLDER / name)) is not None:
            places[k] = Spooled(str(there))
        else:
            wanted[k] = (preview or run / FOLDER) / name, size
    if not wanted:
        return places
    whole = sum(size for _, size in wanted.values())
    share = min(1.0, PREVIEW_BYTES / max(1, whole)) if preview else 1.0
    tasks = {k: SpoolTask(named[k].path, named[k].location, _arguments(named[k].entry), str(target),
                          share if size or not preview else PREVIEW_DATASET)
             for k, (target, size) in wanted.items()}  # fmt: skip
    meter = Meter(log, "converting", round(whole * share))
    numbers = {task.target: k for k, task in tasks.items()}
    with closing(engine.map(spool, tasks.values())) as results:  # type: ignore[type-var]
        for task, result in results:
            if isinstance(result, InputError):
                places[numbers[task.target]] = result
            elif isinstance(result, TaskError) and (bug := log.bug(result)).place:
                places[numbers[task.target]] = InputError(str(bug))
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
    """The files of a folder with size and time of change; none where there is no such folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    return [(path.relative_to(folder).as_posix(), *status(str(path))) for path in files]


def _identity(named: Named) -> tuple[int, str]:
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
