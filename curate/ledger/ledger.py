"""The ledger of a run: the snapshot of its files and parts in force, the journal, and the lock."""

import json
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from curate.corpus.parquet import InputFile
from curate.corpus.units import Unit
from curate.errors import RunError, shortened
from curate.ledger.parts import Part
from curate.ledger.runs import read_json_fields
from curate.storage import mirror
from curate.storage.files import json_text, leads_out, sealed, sha256_of, sync, unsealed, write_sealed
from curate.storage.lock import folder_lock
from curate.storage.places import is_remote

LEDGER_VERSION = 2
RUN_FACTS = "run.json"
# How a file's columns map to the corpus's columns: see `curate.corpus.parquet.Source`.
COLUMN_MAPPINGS = ("renamed", "added", "lifted", "cast")
OUTPUT_FOLDERS = ("data/", "export/")  # not needed to read a run's ledger


@dataclass(frozen=True)
class KnownFile:
    """An input file with its number, which is unique within the run and never reused."""

    file_no: int
    path: str
    identity: str
    rows: int
    size: int
    error: str | None = None  # why it is quarantined
    location: str = ""  # path or URI of its Parquet; relative to the run directory if it was spooled
    renamed: tuple[tuple[str, str], ...] = ()  # see `curate.corpus.parquet.Source`
    added: tuple[tuple[str, str], ...] = ()
    lifted: tuple[tuple[str, str], ...] = ()
    cast: tuple[tuple[str, str], ...] = ()
    bad_lines: int = 0  # quarantined lines of a JSONL file

    @property
    def column_mapping(self) -> tuple[object, ...]:
        """How its columns map to the corpus's columns; files with equal mappings can be read in one query."""
        return (self.renamed, self.added, self.lifted, self.cast, is_spooled(self))


@dataclass
class Ledger:
    """The snapshot in memory. `commit` puts it in force; `add` puts further parts in force through the journal."""

    run: Path
    files: list[KnownFile] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    superseded: list[str] = field(default_factory=list)  # files no longer in force, to be deleted
    next_file_no: int = 0
    _journal: BinaryIO | None = None

    @property
    def path(self) -> Path:
        """The path of the snapshot."""
        return self.run / "ledger" / "snapshot.json"

    @property
    def journal_path(self) -> Path:
        """The path of the journal, which lists the parts finished after the snapshot was written."""
        return self.run / "ledger" / "journal.jsonl"

    def number(self, file: InputFile, used_numbers: Container[int]) -> KnownFile:
        """The file with the number it already has, here or under another path, else with the next free number."""
        location = file.source.location
        if Path(location).is_relative_to(self.run):
            location = Path(location).relative_to(self.run).as_posix()
        numbered = KnownFile(
            file_no=self.next_file_no,
            path=file.path,
            identity=file.identity,
            rows=file.rows,
            size=file.size,
            location=location,
            renamed=file.source.renamed,
            added=file.source.added,
            lifted=file.source.lifted,
            cast=file.source.cast,
            bad_lines=file.bad_lines,
        )
        matches = [
            existing
            for existing in self.files
            if existing.identity == file.identity and existing.file_no not in used_numbers
        ]
        if matches:
            match = min(matches, key=lambda existing: existing.path != file.path)
            return replace(numbered, file_no=match.file_no, rows=match.rows, size=match.size)
        self.next_file_no += 1
        return numbered

    def of(self, group: str, digest: str | None = None) -> list[Part]:
        """Parts in force of a group, in the order of their units."""
        parts = [part for part in self.parts if part.group == group and digest in (None, part.digest)]
        return sorted(parts, key=lambda part: (part.units, part.path))

    def put(self, group: str, parts: Iterable[Part]) -> None:
        """Replace a group's parts and commit."""
        self.put_all({group: parts})

    def put_all(self, parts_of: Mapping[str, Iterable[Part]]) -> None:
        """Replace the parts of several groups in one commit."""
        self.superseded += [part.path for part in self.parts if part.group in parts_of]
        kept = [part for part in self.parts if part.group not in parts_of]
        self.parts = [*kept, *(part for parts in parts_of.values() for part in parts)]
        self.commit()

    def sweep(self) -> None:
        """Delete the superseded files, and only those."""
        in_force = {part.path for part in self.parts}
        for path in set(self.superseded) - in_force:
            (self.run / path).unlink(missing_ok=True)
        self.superseded = []
        self.commit()

    def add(self, parts: Sequence[Part]) -> None:
        """Put parts in force by appending lines to the journal; the cost depends on these parts alone.

        The journal names its snapshot by hash, so a journal that a crash left next to a newer snapshot is ignored.
        """
        if self._journal is None:
            self._journal = self.journal_path.open("wb")
            self._journal.write(json.dumps({"snapshot": sha256_of(self.path)}).encode() + b"\n")
            sync(self.journal_path.parent)
        self._journal.writelines(json.dumps(sealed(_as_json(part))).encode() + b"\n" for part in parts)
        self._journal.flush()
        os.fsync(self._journal.fileno())
        self.parts += parts
        mirror.offer(self.run, lambda: json_text(sealed(self._snapshot())))

    def commit(self) -> None:
        """Replace snapshot.json atomically, also on the object store of the run, if it has one; end the journal."""
        write_sealed(self.path, self._snapshot())
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        self.journal_path.unlink(missing_ok=True)
        mirror.checkpoint(self.run)

    def _snapshot(self) -> dict[str, object]:
        return {
            "ledger_version": LEDGER_VERSION,
            "next_file_no": self.next_file_no,
            "superseded": sorted(self.superseded),
            "files": [asdict(file) for file in self.files],
            "parts": [_as_json(part) for part in self.parts],
        }


def _as_json(part: Part) -> dict[str, object]:
    return asdict(part) | {"units": [[u.file_no, u.start, u.stop] for u in part.units]}


def is_spooled(file: KnownFile) -> bool:
    """Whether the file was converted into the run directory."""
    return bool(file.location) and not is_remote(file.location) and not Path(file.location).is_absolute()


def _known_file(fields: dict[str, Any]) -> KnownFile:
    pairs = {name: tuple((a, b) for a, b in fields.get(name, ())) for name in COLUMN_MAPPINGS}
    return KnownFile(**fields | pairs)


def _from_json(fields: dict[str, Any]) -> Part:
    units = tuple(Unit(*unit) for unit in fields["units"])
    return Part(**fields | {"units": units, "contents": tuple(fields["contents"])})


def read_ledger(run: Path) -> Ledger:
    """The ledger of a run directory; an empty one where there is none.

    Errors: RunError for a damaged snapshot, or one of another version.
    """
    ledger = Ledger(run)
    if not ledger.path.exists():
        return ledger
    try:
        snapshot = json.loads(ledger.path.read_text("utf-8"))
        if snapshot["ledger_version"] == LEDGER_VERSION:
            snapshot = unsealed(snapshot)
        else:
            raise RunError(
                f"{run}: its ledger has version {snapshot['ledger_version']}, this curate reads {LEDGER_VERSION}; "
                "choose another output"
            )
        ledger.files = [_known_file(fields) for fields in snapshot["files"]]
        ledger.parts = [_from_json(fields) for fields in snapshot["parts"]] + _journal(ledger)
        ledger.next_file_no = snapshot["next_file_no"]
        ledger.superseded = snapshot["superseded"]
        if outside := [path for path in (*ledger.superseded, *(p.path for p in ledger.parts)) if leads_out(path)]:
            raise ValueError(f"names {outside[0]}, which is outside of the run directory")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"{ledger.path}: damaged ({error}); choose another output or remove {run}") from None
    return ledger


def _journal(ledger: Ledger) -> list[Part]:
    """The parts that the journal adds to its snapshot, up to the first incomplete or damaged line."""
    try:
        lines = ledger.journal_path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    parts: list[Part] = []
    with suppress(ValueError, AttributeError, RecursionError):
        if lines and json.loads(lines[0]) == {"snapshot": sha256_of(ledger.path)}:
            for line in lines[1:]:
                parts.append(_from_json(unsealed(json.loads(line))))
    return parts


def read_facts(run: Path) -> dict[str, Any]:
    """The fields of run.json; none where it is missing or damaged."""
    return read_json_fields(run / RUN_FACTS)


def check_run_directory(run: Path) -> None:
    """Refuse a folder that cannot be a run directory.

    Errors: RunError where it contains other files, or DuckDB cannot open its path.
    """
    if "\0" in str(run):
        raise RunError("output: a path has no NUL character; choose another output")
    try:
        is_other = run.is_dir() and any(run.iterdir()) and not (run / "lock").exists()
    except OSError as error:  # a name that is too long, a folder without permission
        raise RunError(f"{shortened(str(run))}: {error.strerror}; choose another output") from None
    if is_other:
        raise RunError(f"{run}: is not empty and not a run directory; choose another output")
    if {",", "?"} & set(str(run.resolve())):
        raise RunError(
            f"{run}: DuckDB cannot open files under a path with a comma or question mark; choose another output"
        )


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Lock the run directory for this process.

    Errors: RunError where another process has locked it (naming it), or the folder cannot be a run directory.
    """
    check_run_directory(run)
    with folder_lock(run), mirror.synchronized(run):
        yield


def fetch_run(place: str, skipped: tuple[str, ...] = ()) -> Path:
    """The run directory that a path or URI names; from an object store, all folders but the `skipped` are fetched.

    A mirror that another process of this machine has locked is newer than the store and is left unchanged.

    Errors: RunError where there is no such run; WorkerError where the store cannot be reached.
    """
    run = mirror.run_of(place)
    if not mirror.is_mirror(run):
        return run
    with ExitStack() as stack:
        try:
            stack.enter_context(folder_lock(run))
        except RunError:
            if not (run / "ledger" / "snapshot.json").exists():  # the first fetch of another process is under way
                raise
            return run
        mirror.fetch(run, skipped)
    return run
