"""Runs on an object store: the store is authoritative, and each machine works on a copy, its mirror.

A mirror is an ordinary run directory, so no other module knows of stores. Changes are put to the store at each commit
of the ledger, at the end, and every few seconds in between. Stopped at any step, the store is in a state that a killed
local run can be in:

  1. JSON files that describe others (`manifest.json` …) and that changed or were removed are deleted from the store,
  2. other files that changed are put: parts before the snapshot that lists them,
  3. other files that were removed are deleted from the store: since an earlier commit no snapshot has them in force,
  4. the snapshot is put, only if it replaces the one that this process read or put (S3; see `object_store.py`),
  5. the JSON files that describe others are put.

All the while this process has the run's lock (`curate.storage.store_lock`).
"""

import hashlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from curate.cache import cache_home, private_folder, private_leaf, user_path
from curate.errors import CurateError, RunError, WorkerError
from curate.storage.files import ASIDE, committed
from curate.storage.object_store import Changed, Gone, Store, open_store
from curate.storage.places import is_remote
from curate.storage.store_lock import LOCK, TAKEN_OVER, StoreLock

SNAPSHOT = "ledger/snapshot.json"
PLAIN_JSON = ("ledger/", "models/", "run.json")  # JSON files that do not describe others
LOCAL_FILES = (LOCK, "journal.jsonl")  # names of files that stay on this machine
PUT_SECONDS = 10.0  # between puts while maps run
REQUESTS = 8  # in parallel
ROUNDS = 5  # attempts to read a run that another machine changes

ObjectState = tuple[str, int, int]  # an object's tag, and the size and time in ns of its file

Result = TypeVar("Result")


@dataclass
class Mirror:
    """The copy of a run on this machine, and the last known state of the store."""

    uri: str
    run: Path
    skipped: tuple[str, ...] = ()  # folders that are not fetched, as nothing here reads them
    objects: dict[str, ObjectState] = field(default_factory=dict)
    name: str = ""  # unique among the mirrors of all machines
    sent: list[str] = field(default_factory=list)  # hashes of the last two snapshots sent
    _store: Store | None = None

    @property
    def store(self) -> Store:
        """The store, opened on first use."""
        if self._store is None:
            self._store = open_store(self.uri)
        return self._store

    @property
    def state(self) -> Path:
        """The file with the last known state of the store."""
        return self.run.with_name("mirror.json")

    def load(self) -> None:
        """Read the state that an earlier process saved."""
        try:
            state = json.loads(self.state.read_text("utf-8"))
            self.objects = {key: (str(tag), int(size), int(time)) for key, (tag, size, time) in state["known"].items()}
            self.name, self.sent = str(state["name"]), [str(digest) for digest in state["sent"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # missing or damaged: fetch all
            self.objects, self.name, self.sent = {}, secrets.token_hex(8), []
            self.save()  # so that its lock is recognised later, whatever happens

    def save(self) -> None:
        """Save the state."""
        state = {"uri": self.uri, "name": self.name, "sent": self.sent, "known": self.objects}
        with committed(self.state) as aside:
            aside.write_text(json.dumps(state), "utf-8")

    def record_sent(self, snapshot: bytes) -> None:
        """Record a snapshot before it is sent: the response may be lost."""
        self.sent = [*self.sent, hashlib.sha256(snapshot).hexdigest()][-2:]
        self.save()

    def sent_tag(self) -> str | None:
        """The tag of the store's snapshot if this mirror sent it, else None."""
        try:
            data, tag = self.store.read(SNAPSHOT)
        except Gone:
            return None
        return tag if hashlib.sha256(data).hexdigest() in self.sent else None


_mirrors: dict[Path, Mirror] = {}
_sessions: dict[Path, "_Session"] = {}


def run_of(location: str) -> Path:
    """The run directory of a path or URI: for a URI its mirror on this machine. No request is sent to the store.

    Mirrors are in $CURATE_RUNS, or in `runs` of `curate.cache.cache_home`.

    Errors: RunError where other users could change the mirror.
    """
    if not is_remote(location):
        return Path(location)
    uri = location.rstrip("/")
    name = hashlib.sha256(uri.encode()).hexdigest()[:16]
    parent = os.environ.get("CURATE_RUNS")
    try:
        folder = private_leaf(user_path(parent) / name) if parent else private_folder(cache_home() / "runs" / name)
    except OSError as error:
        raise RunError(f"{uri}: its copy on this machine: {error}; set CURATE_RUNS to a folder of yours") from None
    run = folder / "run"
    _mirrors.setdefault(run, Mirror(uri, run))
    return run


def by_uri(text: str) -> str:
    """A text for the user, with the URI of a run in place of its mirror's path."""
    for run, mirror in _mirrors.items():
        text = text.replace(str(run), mirror.uri)
    return text


def is_mirror(run: Path) -> bool:
    """Whether a folder is, or is in, the mirror of a run on an object store."""
    return any(run.is_relative_to(mirror) for mirror in _mirrors)


def fetch(run: Path, skipped: tuple[str, ...] = ()) -> None:
    """Bring a mirror up to date, except for `skipped` folders. Does nothing for a local run.

    The caller has locked the run directory.

    Errors: RunError where there is no such run; WorkerError where the store is unreachable.
    """
    if (mirror := _mirrors.get(run)) is None:
        return
    mirror.skipped = skipped
    mirror.load()
    _pull(mirror)
    if LOCK not in mirror.objects:
        raise RunError(f"{mirror.uri}: no run is there")


def send(path: Path) -> None:
    """Put a file to the store that was written into a mirror outside of a run."""
    for run, mirror in _mirrors.items():
        if path.is_relative_to(run):
            mirror.load()
            _put(mirror, [path.relative_to(run).as_posix()])
            mirror.save()


@contextmanager
def synchronized(run: Path) -> Iterator[None]:
    """Lock a run on its store; bring the mirror up to date before the block, and the store after it.

    Errors: RunError where another process has the lock, or took it over; WorkerError where the store is unreachable.
    """
    if (mirror := _mirrors.get(run)) is None:
        yield
        return
    mirror.load()
    session = _Session(mirror)
    try:
        session.pull()
        _sessions[run] = session
        try:
            session.checkpoint()  # changes that an earlier process left here
            yield
        except BaseException:
            with suppress(CurateError):  # the first error is the one to report
                session.checkpoint()
            raise
        session.checkpoint()
    finally:
        _sessions.pop(run, None)
        session.end()


def checkpoint(run: Path) -> None:
    """Bring the store up to date with a locked mirror."""
    if session := _sessions.get(run):
        session.checkpoint()


def offer(run: Path, snapshot: Callable[[], str]) -> None:
    """Offer a snapshot of finished parts, which is put a little later; `snapshot` is called only if a put is due.

    Errors: RunError where another process took the run over.
    """
    if session := _sessions.get(run):
        session.offer(snapshot)


class _Session:
    """The lock of a run on its store, and a thread that puts finished files regularly."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self.lock = StoreLock(mirror.store, mirror.name)
        self._pulled = self._unreachable = False
        self._offered: bytes | None = None
        self._next_offer = time.monotonic() + PUT_SECONDS
        self._pushing = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._put_regularly, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End the thread, and release the lock."""
        self._ended.set()
        self._thread.join()
        self.lock.release(reachable=not self._unreachable)

    def offer(self, snapshot: Callable[[], str]) -> None:
        """See `curate.storage.mirror.offer`."""
        self.lock.check()
        if time.monotonic() >= self._next_offer:
            self._offered = snapshot().encode()
            self._next_offer = time.monotonic() + PUT_SECONDS

    def pull(self) -> None:
        """Bring the mirror up to date."""
        with self._pushing:
            _pull(self.mirror)
            self._pulled = True

    def checkpoint(self) -> None:
        """Bring the store up to date, unless that failed before."""
        with self._pushing:
            self._offered = None
            if self._unreachable:
                return
            try:
                self.lock.renew()
                _push(self.mirror, self._replace_snapshot)
            except WorkerError:
                self._unreachable = True
                raise

    def _put_regularly(self) -> None:
        while not self._ended.wait(PUT_SECONDS):
            with suppress(CurateError, Gone):  # an unreachable store or a lost run is reported by the next checkpoint
                self._put_finished()

    def _put_finished(self) -> None:
        """Put finished files, then the offered snapshot."""
        with self._pushing:
            offered = self._offered
            if not self._pulled:
                return
            self.lock.renew()
            changed = _changed(self.mirror, _files(self.mirror))
            _put(self.mirror, [key for key in changed if not _describes_others(key) and key != SNAPSHOT])
            if offered is not None:
                self._replace_snapshot(offered)
                self._offered = None
            self.mirror.save()

    def _replace_snapshot(self, data: bytes) -> None:
        previous = self.mirror.objects.get(SNAPSHOT)
        self.mirror.record_sent(data)
        try:
            try:
                tag = self.mirror.store.replace(SNAPSHOT, data, previous[0] if previous else None)
            except Changed:
                if (sent := self.mirror.sent_tag()) is None:
                    raise
                tag = self.mirror.store.replace(SNAPSHOT, data, sent)
        except Changed:
            self.lock.lost = TAKEN_OVER
            self.lock.check()
            return
        stat = (self.mirror.run / SNAPSHOT).stat()
        same = len(data) == stat.st_size and data == (self.mirror.run / SNAPSHOT).read_bytes()
        self.mirror.objects[SNAPSHOT] = (tag, stat.st_size if same else -1, stat.st_mtime_ns)


def _pull(mirror: Mirror) -> None:
    """Bring the mirror up to date, except for files that were finished here and are not put yet."""
    for _ in range(ROUNDS):
        listed = _safe(mirror.store.tags())
        with suppress(Gone):
            try:
                _apply_listing(mirror, listed)
            finally:
                mirror.save()
            if mirror.store.tags().get(SNAPSHOT) == listed.get(SNAPSHOT):
                return
    raise RunError(f"{mirror.uri}: another machine changes it faster than it can be read; try again")


def _apply_listing(mirror: Mirror, listed: dict[str, str]) -> None:
    """Fetch files that another machine put, and remove those it deleted."""
    mirror.run.mkdir(parents=True, exist_ok=True)
    _drop_stale(mirror, listed)
    missing = [key for key in mirror.objects if key not in listed]
    _remove(mirror, [key for key in missing if _stat(mirror.run / key) == mirror.objects[key][1:]])
    for key in missing:
        del mirror.objects[key]
    fresh = [
        key
        for key, tag in listed.items()
        if mirror.objects.get(key, ("",))[0] != tag and key != LOCK and not key.startswith(mirror.skipped or "\0")
    ]

    def fetch_object(key: str) -> ObjectState:
        path = mirror.run / key
        with committed(path) as aside:
            tag = mirror.store.get(key, aside)
        return tag, *_stat(path)

    # Described files come before the files that describe them, as in puts.
    described = [key for key in fresh if not _describes_others(key) and key != SNAPSHOT]
    describing = [key for key in fresh if _describes_others(key)]
    for keys in (described, [key for key in fresh if key == SNAPSHOT], describing):
        for key, state in _map_keys(keys, fetch_object):
            mirror.objects[key] = state
    if LOCK in listed:
        mirror.objects[LOCK] = (listed[LOCK], -1, 0)
        (mirror.run / LOCK).touch()


def _drop_stale(mirror: Mirror, listed: dict[str, str]) -> None:
    """Remove files that were finished here for a snapshot that another machine replaced."""
    tag = mirror.objects.get(SNAPSHOT, ("", 0, 0))[0]
    if tag != listed.get(SNAPSHOT, "") and (sent := mirror.sent_tag()) is not None:
        mirror.objects[SNAPSHOT] = (sent, -1, 0)
        tag = sent
    if tag != listed.get(SNAPSHOT, ""):
        _remove(mirror, [key for key in _files(mirror) if key not in mirror.objects and key not in listed])
        mirror.objects = {key: state for key, state in mirror.objects.items() if _stat(mirror.run / key) == state[1:]}


def _push(mirror: Mirror, replace_snapshot: Callable[[bytes], None]) -> None:
    """Bring the store up to date, in the order of the module's docstring."""
    files = _files(mirror)
    changed = _changed(mirror, files)
    removed = [key for key in mirror.objects if key not in files and key != LOCK]
    describing = [key for key in changed if _describes_others(key)]
    outdated = [key for key in (*describing, *removed) if key in mirror.objects and _describes_others(key)]
    _delete(mirror, outdated)
    _put(mirror, [key for key in changed if key not in describing and key != SNAPSHOT])
    _delete(mirror, [key for key in removed if key not in outdated])
    if SNAPSHOT in changed:
        replace_snapshot((mirror.run / SNAPSHOT).read_bytes())
    _put(mirror, describing)
    if changed or removed:
        mirror.save()


def _put(mirror: Mirror, keys: Collection[str]) -> None:
    def put(key: str) -> ObjectState | None:
        _ensure_lock(mirror)
        try:
            stat = _stat(mirror.run / key)
            return mirror.store.put(key, mirror.run / key), *stat
        except FileNotFoundError:  # deleted in the meantime
            return None

    for key, state in _map_keys(keys, put):
        if state is not None:
            mirror.objects[key] = state


def _delete(mirror: Mirror, keys: Collection[str]) -> None:
    if keys:
        _ensure_lock(mirror)
        mirror.store.delete(keys)
        for key in keys:
            del mirror.objects[key]


def _ensure_lock(mirror: Mirror) -> None:
    """Raise unless this process has the lock (or needs none)."""
    if session := _sessions.get(mirror.run):
        session.lock.ensure_fresh()


def _remove(mirror: Mirror, keys: Iterable[str]) -> None:
    for key in keys:
        (mirror.run / key).unlink(missing_ok=True)


def _map_keys(keys: Collection[str], function: Callable[[str], Result]) -> Iterator[tuple[str, Result]]:
    """Each key with the function's result, by parallel requests."""
    with ThreadPoolExecutor(REQUESTS) as pool:
        try:
            yield from zip(keys, pool.map(function, keys), strict=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _changed(mirror: Mirror, files: dict[str, tuple[int, int]]) -> list[str]:
    return [key for key, stat in files.items() if mirror.objects.get(key, ("", -1, 0))[1:] != stat]


def _describes_others(key: str) -> bool:
    """Whether a file lists others as complete."""
    return key.endswith(".json") and not key.startswith(PLAIN_JSON)


def _safe(listed: dict[str, str]) -> dict[str, str]:
    """Objects whose keys are paths within a folder: without `folder/`, which consoles create, and `..`."""
    return {key: tag for key, tag in listed.items() if not {"", ".", ".."} & {*key.split("/")} and "\0" not in key}


def _files(mirror: Mirror) -> dict[str, tuple[int, int]]:
    """Size and time of each file that belongs on the store."""
    stats = {}
    for folder, folders, names in os.walk(mirror.run):
        parent = Path(folder).relative_to(mirror.run)
        folders[:] = [
            name for name in folders if not (name.startswith(ASIDE) or (name, parent.name) == ("spool", "ledger"))
        ]
        for name in names:
            if name.startswith(ASIDE) or name in LOCAL_FILES or (name.startswith(".") and name.endswith(".lock")):
                continue
            with suppress(FileNotFoundError):
                stats[(parent / name).as_posix()] = _stat(Path(folder) / name)
    return stats


def _stat(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns
