"""The lock of a run on an object store: an object that names its owner, which rewrites it every few seconds.

A lock that stays unchanged for longer belongs to a dead process and may be taken over. No machine's clock is compared.
"""

import json
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from curate.errors import CurateError, RunError, WorkerError
from curate.progress import unwritten_log
from curate.storage.object_store import Changed, Gone, Store

LOCK = "lock"
BEAT_SECONDS = 5.0
DEAD_SECONDS = 30.0  # after which the owner of an unchanged lock is taken for dead
LOOK_SECONDS = 1.0
TAKEN_OVER = "another process took this run over while this one was not heard of; wait for it, or choose another output"
REMOVED = "somebody removed the run from the store while it was at work; run the same command again"


class StoreLock:
    """A lock that this process acquires, and the thread that renews it.

    `name` identifies this machine's copy of the run. A process locks the copy first, so a lock with that name was left
    by a dead process.

    Errors: RunError where a live process has the lock, or the store contains something other than a run.
    """

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.name = store, name
        self.lost = ""  # the reason, once the lock is lost
        self._beat = 0
        self._tag = self._acquire()
        self._renewed = _now()
        self._renewing = threading.Lock()
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._renew_regularly, daemon=True)
        self._thread.start()

    def release(self, reachable: bool) -> None:
        """Release it; a lost lock, or one on an unreachable store, is left as by a dead process."""
        self._released.set()
        self._thread.join()
        if reachable and not self.lost:
            with suppress(Changed, WorkerError):
                self.store.replace(LOCK, _json({"owner": None}), self._tag)

    def is_fresh(self) -> bool:
        """Whether no other process can have taken it over yet."""
        return not self.lost and _now() - self._renewed < DEAD_SECONDS / 2

    def ensure_fresh(self) -> None:
        """Renew the lock unless it was renewed recently.

        Errors: RunError where another process took it over.
        """
        if not self.is_fresh():
            self.renew()
        self.check()

    def check(self) -> None:
        """Raise RunError if the lock is lost."""
        if self.lost:
            raise RunError(f"{self.store.uri}: {self.lost}")

    def _renew_regularly(self) -> None:
        while not self._released.wait(BEAT_SECONDS):
            with suppress(CurateError):  # an unreachable store is reported by the next put
                self.renew()

    def renew(self) -> None:
        """Rewrite the lock.

        Errors: RunError where another process took it over: a clock does not show that a machine was suspended.
        """
        with self._renewing:
            self.check()
            self._beat += 1
            started = _now()
            try:
                self._tag = self.store.replace(LOCK, self._content(), self._tag)
                self._renewed = started
            except Changed:
                try:
                    data, tag = self.store.read(LOCK)
                except Gone:
                    self.lost = REMOVED
                    self.check()
                    return
                holder = _holder(data)
                if holder is not None and (holder.copy, holder.process) == (self.name, os.getpid()):
                    self._tag = tag  # it was renewed, but the response was lost
                else:
                    self.lost = TAKEN_OVER
                    self.check()

    def _acquire(self) -> str:
        """Acquire the lock; return its tag."""
        watched, since, warned = None, 0.0, False
        while True:
            try:
                data, tag = self.store.read(LOCK)
            except Gone:
                if self.store.tags():
                    raise RunError(f"{self.store.uri}: is not empty and not a run; choose another output") from None
                data, tag = b"", None
            holder = _holder(data)
            owner = holder.owner if holder else None
            free = holder is None or holder.copy == self.name
            if free or (tag == watched and _now() - since > DEAD_SECONDS):
                try:
                    return self.store.replace(LOCK, self._content(), tag)
                except Changed:
                    owner, watched = "another process", ""
            waited = _now() - since
            if watched is not None and tag != watched:
                raise RunError(f"{self.store.uri}: in use by {owner}; wait for it, or choose another output")
            if watched is None:
                watched, since = tag, _now()
            elif not warned and waited > 2 * BEAT_SECONDS:
                warned = True
                unwritten_log(quiet=False).say(
                    f"{self.store.uri}: {owner}, which holds it, is not heard of; "
                    f"it is taken over in {DEAD_SECONDS - waited:.0f} s unless it is"
                )
            time.sleep(LOOK_SECONDS)

    def _content(self) -> bytes:
        owner = f"process {os.getpid()} on {socket.gethostname()}"
        return _json({"owner": owner, "process": os.getpid(), "copy": self.name, "beat": self._beat})


def _now() -> float:
    """Seconds of a clock that also advances while the machine is suspended, unlike Python's."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that has a lock."""

    owner: str
    process: object
    copy: object  # the name of its machine's copy of the run


def _holder(data: bytes) -> Holder | None:
    """The process that has a lock; None for a free lock."""
    try:
        fields = json.loads(data)
        return Holder(fields["owner"], fields.get("process"), fields.get("copy")) if fields["owner"] else None
    except (ValueError, KeyError, TypeError):
        return None


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
