"""Runs that live on an object store: the store has what counts, and each machine works on a copy, its mirror.

A mirror is a run directory like any other, so that nothing else knows of stores. What changed in it is put to the
store at each commit of the ledger, at the end, and every few seconds meanwhile, in an order of which each beginning is
a state that a local run could have been killed in:

  1. JSON files that tell of others (`manifest.json` …) and that changed or are gone are deleted there,
  2. other files that changed are put, so parts before the snapshot that lists them,
  3. what else is gone here is deleted there: no snapshot has it in force since an earlier commit, and the next one
     does not know of it any more,
  4. the snapshot is put, only if it replaces the one that this process read or put (S3; see `object_store.py`),
  5. the JSON files that tell of others are put.

The lock of the run (`curate.storage.store_lock`) is held meanwhile.
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
from typing import Any

from curate.cache import cache_home, made_private, private_leaf, user_path
from curate.errors import CurateError, RunError, WorkerError
from curate.storage.files import ASIDE, committed
from curate.storage.object_store import Changed, Gone, Store, open_store
from curate.storage.places import is_remote
from curate.storage.store_lock import LOCK, TAKEN_OVER, StoreLock

SNAPSHOT = "ledger/snapshot.json"
OWN_JSON = ("ledger/", "models/", "run.json")  # JSON files that do not tell of others
LEFT_OUT = (LOCK, "journal.jsonl")  # names of files that are of this machine alone
PUT_SECONDS = 10.0  # between what is put while maps run
REQUESTS = 8  # at a time
ROUNDS = 5  # in which a run that another machine changes is read

Known = tuple[str, int, int]  # an object's tag, and size and time in ns of the file that it was made of or became


@dataclass
class Mirror:
    """The copy of a run on this machine, and what is known of the store."""

    uri: str
    run: Path
    skipped: tuple[str, ...] = ()  # folders that are not fetched, as nobody reads them here
    known: dict[str, Known] = field(default_factory=dict)
    name: str = ""  # of this mirror among those of all machines
    sent: list[str] = field(default_factory=list)  # hashes of the last two snapshots that it sent
    _store: Store | None = None

    @property
    def store(self) -> Store:
        """The store, which is opened when it is first asked."""
        if self._store is None:
            self._store = open_store(self.uri)
        return self._store

    @property
    def state(self) -> Path:
        """Where it is kept what the store had when it was last asked."""
        return self.run.with_name("mirror.json")

    def load(self) -> None:
        """Read what an earlier process knew."""
        try:
            state = json.loads(self.state.read_text("utf-8"))
            self.known = {key: (str(tag), int(size), int(time)) for key, (tag, size, time) in state["known"].items()}
            self.name, self.sent = str(state["name"]), [str(digest) for digest in state["sent"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or one that is damaged: fetch all
            self.known, self.name, self.sent = {}, secrets.token_hex(8), []
            self.save()  # so that a lock which it takes is known to be its own, whatever happens

    def save(self) -> None:
        """Keep what this process knows."""
        state = {"uri": self.uri, "name": self.name, "sent": self.sent, "known": self.known}
        with committed(self.state) as aside:
            aside.write_text(json.dumps(state), "utf-8")

    def sends(self, snapshot: bytes) -> None:
        """Note a snapshot before it is sent: whether it arrived may never be told."""
        self.sent = [*self.sent, hashlib.sha256(snapshot).hexdigest()][-2:]
        self.save()

    def own_tag(self) -> str | None:
        """The tag of the store's snapshot if this mirror sent it, else None."""
        try:
            data, tag = self.store.read(SNAPSHOT)
        except Gone:
            return None
        return tag if hashlib.sha256(data).hexdigest() in self.sent else None


_mirrors: dict[Path, Mirror] = {}
_held: dict[Path, "_Holding"] = {}


def run_of(place: str) -> Path:
    """The run directory that a path or URI names: for a URI its mirror on this machine. Nothing is asked of the store.

    Mirrors lie below $CURATE_RUNS, or in `runs` of `curate.cache.cache_home`.

    Errors: RunError where others than this user could change the mirror.
    """
    if not is_remote(place):
        return Path(place)
    uri = place.rstrip("/")
    name = hashlib.sha256(uri.encode()).hexdigest()[:16]
    given = os.environ.get("CURATE_RUNS")
    try:
        folder = private_leaf(user_path(given) / name) if given else made_private(cache_home() / "runs" / name)
    except OSError as error:
        raise RunError(f"{uri}: its copy on this machine: {error}; set CURATE_RUNS to a folder of yours") from None
    run = folder / "run"
    _mirrors.setdefault(run, Mirror(uri, run))
    return run


def named(text: str) -> str:
    """A text for the user in which mirrors have the names by which they were asked for."""
    for run, mirror in _mirrors.items():
        text = text.replace(str(run), mirror.uri)
    return text


def is_mirror(run: Path) -> bool:
    """Whether a folder is, or lies in, the mirror of a run on an object store."""
    return any(run.is_relative_to(known) for known in _mirrors)


def fetch(run: Path, skipped: tuple[str, ...] = ()) -> None:
    """Bring a mirror up to date, but for folders that are `skipped`; of a local run there is nothing to fetch.

    The caller holds the run directory.

    Errors: RunError where there is no such run; WorkerError where the store cannot be had.
    """
    if (mirror := _mirrors.get(run)) is None:
        return
    mirror.skipped = skipped
    mirror.load()
    _pull(mirror)
    if LOCK not in mirror.known:
        raise RunError(f"{mirror.uri}: no run is there")


def send(path: Path) -> None:
    """Put a file that was written beside what a run made, if it lies in a mirror."""
    for run, mirror in _mirrors.items():
        if path.is_relative_to(run):
            mirror.load()
            _put(mirror, [path.relative_to(run).as_posix()])
            mirror.save()


@contextmanager
def in_step(run: Path) -> Iterator[None]:
    """Hold a run on its store for this process, with the mirror up to date, and the store when the block ends.

    Errors: RunError where another process holds it, or took it over; WorkerError where the store cannot be had.
    """
    if (mirror := _mirrors.get(run)) is None:
        yield
        return
    mirror.load()
    holding = _Holding(mirror)
    try:
        holding.pull()
        _held[run] = holding
        try:
            holding.checkpoint()  # of what an earlier process left here
            yield
        except BaseException:
            with suppress(CurateError):  # the first error is the one to tell
                holding.checkpoint()
            raise
        holding.checkpoint()
    finally:
        _held.pop(run, None)
        holding.end()


def checkpoint(run: Path) -> None:
    """Bring the store up to date with a mirror that is held."""
    if holding := _held.get(run):
        holding.checkpoint()


def offer(run: Path, snapshot: Callable[[], str]) -> None:
    """Offer a snapshot of what is finished, to be put when it is time; it is made only if that is near.

    Errors: RunError where another process took the run over.
    """
    if holding := _held.get(run):
        holding.offer(snapshot)


class _Holding:
    """The lock of a run on its store, and a thread that puts what is finished meanwhile."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self.lock = StoreLock(mirror.store, mirror.name)
        self._pulled = self._away = False
        self._offered: bytes | None = None
        self._offer_at = time.monotonic() + PUT_SECONDS
        self._pushing = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._put_now_and_then, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End the thread, and give the lock back."""
        self._over.set()
        self._thread.join()
        self.lock.release(reachable=not self._away)

    def offer(self, snapshot: Callable[[], str]) -> None:
        """See `curate.storage.mirror.offer`."""
        self.lock.check()
        if time.monotonic() >= self._offer_at:
            self._offered = snapshot().encode()
            self._offer_at = time.monotonic() + PUT_SECONDS

    def pull(self) -> None:
        """Bring the mirror up to date."""
        with self._pushing:
            _pull(self.mirror)
            self._pulled = True

    def checkpoint(self) -> None:
        """Bring the store up to date; not again, once that has failed."""
        with self._pushing:
            self._offered = None
            if self._away:
                return
            try:
                self.lock.renew()
                _push(self.mirror, self._replace_snapshot)
            except WorkerError:
                self._away = True
                raise

    def _put_now_and_then(self) -> None:
        while not self._over.wait(PUT_SECONDS):
            with suppress(CurateError, Gone):  # the store is away, or the run is lost: a checkpoint will tell
                self._put_meanwhile()

    def _put_meanwhile(self) -> None:
        """Put files that are finished, then the snapshot that was offered before."""
        with self._pushing:
            offered = self._offered
            if not self._pulled:
                return
            self.lock.renew()
            here = _files(self.mirror)
            _put(self.mirror, [key for key in _changed(self.mirror, here) if not _tells(key) and key != SNAPSHOT])
            if offered is not None:
                self._replace_snapshot(offered)
                self._offered = None
            self.mirror.save()

    def _replace_snapshot(self, data: bytes) -> None:
        before = self.mirror.known.get(SNAPSHOT)
        self.mirror.sends(data)
        try:
            try:
                tag = self.mirror.store.replace(SNAPSHOT, data, before[0] if before else None)
            except Changed:
                if (own := self.mirror.own_tag()) is None:
                    raise
                tag = self.mirror.store.replace(SNAPSHOT, data, own)
        except Changed:
            self.lock.lost = TAKEN_OVER
            self.lock.check()
            return
        stat = (self.mirror.run / SNAPSHOT).stat()
        same = len(data) == stat.st_size and data == (self.mirror.run / SNAPSHOT).read_bytes()
        self.mirror.known[SNAPSHOT] = (tag, stat.st_size if same else -1, stat.st_mtime_ns)


def _pull(mirror: Mirror) -> None:
    """Make the mirror what the store has, but for what was finished here and not put yet."""
    for _ in range(ROUNDS):
        listed = _safe(mirror.store.listed())
        with suppress(Gone):
            try:
                _take_over(mirror, listed)
            finally:
                mirror.save()
            if mirror.store.listed().get(SNAPSHOT) == listed.get(SNAPSHOT):
                return
    raise RunError(f"{mirror.uri}: another machine changes it faster than it can be read; try again")


def _take_over(mirror: Mirror, listed: dict[str, str]) -> None:
    """Fetch what another machine put, and remove what it deleted."""
    mirror.run.mkdir(parents=True, exist_ok=True)
    before = mirror.known.get(SNAPSHOT, ("", 0, 0))[0]
    if before != listed.get(SNAPSHOT, "") and (tag := mirror.own_tag()) is not None:
        mirror.known[SNAPSHOT] = (tag, -1, 0)
        before = tag
    if before != listed.get(SNAPSHOT, ""):  # what was finished here after the last put is of a snapshot that is no more
        _remove(mirror, [key for key in _files(mirror) if key not in mirror.known and key not in listed])
        mirror.known = {key: known for key, known in mirror.known.items() if _stat(mirror.run / key) == known[1:]}
    gone = [key for key in mirror.known if key not in listed]
    _remove(mirror, [key for key in gone if _stat(mirror.run / key) == mirror.known[key][1:]])
    for key in gone:
        del mirror.known[key]
    fresh = [
        key for key, tag in listed.items()
        if mirror.known.get(key, ("",))[0] != tag and key != LOCK and not key.startswith(mirror.skipped or "\0")
    ]  # fmt: skip

    def got(key: str) -> Known:
        path = mirror.run / key
        with committed(path) as aside:
            tag = mirror.store.get(key, aside)
        return tag, *_stat(path)

    first = [key for key in fresh if not _tells(key) and key != SNAPSHOT]  # what others tell of, as when it is put
    for some in (first, [key for key in fresh if key == SNAPSHOT], [key for key in fresh if _tells(key)]):
        for key, known in _each_of(some, got):
            mirror.known[key] = known
    if LOCK in listed:
        mirror.known[LOCK] = (listed[LOCK], -1, 0)
        (mirror.run / LOCK).touch()


def _push(mirror: Mirror, replace_snapshot: Callable[[bytes], None]) -> None:
    """Make the store what the mirror has, in the order that stands at the top."""
    here = _files(mirror)
    changed = _changed(mirror, here)
    gone = [key for key in mirror.known if key not in here and key != LOCK]
    telling = [key for key in changed if _tells(key)]
    first = [key for key in (*telling, *gone) if key in mirror.known and _tells(key)]
    _delete(mirror, first)
    _put(mirror, [key for key in changed if key not in telling and key != SNAPSHOT])
    _delete(mirror, [key for key in gone if key not in first])
    if SNAPSHOT in changed:
        replace_snapshot((mirror.run / SNAPSHOT).read_bytes())
    _put(mirror, telling)
    if changed or gone:
        mirror.save()


def _put(mirror: Mirror, keys: Collection[str]) -> None:
    def put(key: str) -> Known | None:
        _make_sure(mirror)
        try:
            stat = _stat(mirror.run / key)
            return mirror.store.put(key, mirror.run / key), *stat
        except FileNotFoundError:  # it was deleted meanwhile
            return None

    for key, known in _each_of(keys, put):
        if known is not None:
            mirror.known[key] = known


def _delete(mirror: Mirror, keys: Collection[str]) -> None:
    if keys:
        _make_sure(mirror)
        mirror.store.delete(keys)
        for key in keys:
            del mirror.known[key]


def _make_sure(mirror: Mirror) -> None:
    """Go on only if this process holds the run for some time to come, or is one that need not."""
    if holding := _held.get(mirror.run):
        holding.lock.make_sure()


def _remove(mirror: Mirror, keys: Iterable[str]) -> None:
    for key in keys:
        (mirror.run / key).unlink(missing_ok=True)


def _each_of(keys: Collection[str], function: Callable[[str], Any]) -> Iterator[tuple[str, Any]]:
    """What a function makes of each key, some at a time."""
    with ThreadPoolExecutor(REQUESTS) as pool:
        try:
            yield from zip(keys, pool.map(function, keys), strict=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _changed(mirror: Mirror, here: dict[str, tuple[int, int]]) -> list[str]:
    return [key for key, stat in here.items() if mirror.known.get(key, ("", -1, 0))[1:] != stat]


def _tells(key: str) -> bool:
    """Whether a file says of others that they are whole."""
    return key.endswith(".json") and not key.startswith(OWN_JSON)


def _safe(listed: dict[str, str]) -> dict[str, str]:
    """Objects that have a place below a folder: not `folder/`, which consoles make, and nothing that leads out."""
    return {key: tag for key, tag in listed.items() if not {"", ".", ".."} & {*key.split("/")} and "\0" not in key}


def _files(mirror: Mirror) -> dict[str, tuple[int, int]]:
    """Size and time of each file that the store is to have."""
    found = {}
    for folder, folders, names in os.walk(mirror.run):
        place = Path(folder).relative_to(mirror.run)
        folders[:] = [
            name for name in folders if not (name.startswith(ASIDE) or (name, place.name) == ("spool", "ledger"))
        ]
        for name in names:
            if name.startswith(ASIDE) or name in LEFT_OUT or (name.startswith(".") and name.endswith(".lock")):
                continue
            with suppress(FileNotFoundError):
                found[(place / name).as_posix()] = _stat(Path(folder) / name)
    return found


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return -1, -1
    return found.st_size, found.st_mtime_ns
