"""The lock of a run on an object store: an object that names its owner, who writes it anew every few seconds.

One that stays the same for longer is of a process that died, and may be taken over. No other machine's clock is read.
"""

import json
import os
import socket
import threading
import time
from contextlib import suppress
from typing import Any

from curate.errors import CurateError, RunError, WorkerError
from curate.progress import unwritten_log
from curate.storage.object_store import Changed, Gone, Store

LOCK = "lock"
BEAT_SECONDS = 5.0
DEAD_SECONDS = 30.0  # a lock that is not written anew for so long is of a process that died
LOOK_SECONDS = 1.0
TAKEN_OVER = "another process took this run over while this one was not heard of; wait for it, or choose another output"
REMOVED = "somebody removed the run from the store while it was at work; run the same command again"


class StoreLock:
    """A lock that this process holds from now on, and the thread that keeps it.

    `name` is of this machine's copy of the run: a lock with that name was left by a process that died, since a process
    holds the copy before it asks for the lock.

    Errors: RunError where another process holds it and lives, or where something else than a run is there.
    """

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.name = store, name
        self.lost = ""  # why, once it is
        self._beat = 0
        self._tag = self._taken()
        self._beaten = _now()
        self._beating = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def release(self, reachable: bool) -> None:
        """Give it back, unless it is lost or the store is not reachable: then it is as that of a process that died."""
        self._over.set()
        self._thread.join()
        if reachable and not self.lost:
            with suppress(Changed, WorkerError):
                self.store.replace(LOCK, _json({"owner": None}), self._tag)

    def is_fresh(self) -> bool:
        """Whether nobody may have taken it over yet."""
        return not self.lost and _now() - self._beaten < DEAD_SECONDS / 2

    def make_sure(self) -> None:
        """Go on only if this process holds it for some time to come.

        Errors: RunError where another process took it over.
        """
        if not self.is_fresh():
            self.renew()
        self.check()

    def check(self) -> None:
        """Refuse to go on where it is known that another process took it over."""
        if self.lost:
            raise RunError(f"{self.store.uri}: {self.lost}")

    def _keep(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            with suppress(CurateError):  # the store is away: who wants to put something will be told
                self.renew()

    def renew(self) -> None:
        """Write it anew.

        Errors: RunError where another process took it over: no clock tells of a machine that was halted.
        """
        with self._beating:
            self.check()
            self._beat += 1
            began = _now()
            try:
                self._tag = self.store.replace(LOCK, self._told(), self._tag)
                self._beaten = began
            except Changed:
                try:
                    data, tag = self.store.read(LOCK)
                except Gone:
                    self.lost = REMOVED
                    self.check()
                    return
                holder = _holder(data) or {}
                if (holder.get("copy"), holder.get("process")) == (self.name, os.getpid()):
                    self._tag = tag  # it was renewed, but the answer was lost
                else:
                    self.lost = TAKEN_OVER
                    self.check()

    def _taken(self) -> str:
        """Take the lock; its tag."""
        watched, since, warned = None, 0.0, False
        while True:
            try:
                data, tag = self.store.read(LOCK)
            except Gone:
                if self.store.listed():
                    raise RunError(f"{self.store.uri}: is not empty and not a run; choose another output") from None
                data, tag = b"", None
            holder = _holder(data)
            free = holder is None or holder.get("copy") == self.name
            if free or (tag == watched and _now() - since > DEAD_SECONDS):
                try:
                    return self.store.replace(LOCK, self._told(), tag)
                except Changed:
                    holder, watched = {"owner": "another process"}, ""
            owner, waited = (holder or {}).get("owner"), _now() - since
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

    def _told(self) -> bytes:
        owner = f"process {os.getpid()} on {socket.gethostname()}"
        return _json({"owner": owner, "process": os.getpid(), "copy": self.name, "beat": self._beat})


def _now() -> float:
    """Seconds, which go on while the machine sleeps: Python's own do not."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _holder(data: bytes) -> dict[str, Any] | None:
    """Who holds a lock; None if nobody does."""
    try:
        found: dict[str, Any] = json.loads(data)
        return found if found["owner"] else None
    except (ValueError, KeyError, TypeError):
        return None


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
