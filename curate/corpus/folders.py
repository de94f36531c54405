"""What lies in the folders of an input: files to be read, and all else with the reason why it is not."""

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from pathlib import Path

from curate.redaction import redacted
from curate.storage.endings import is_input, is_json_lines

ANY_DEPTH = "**"
HIDDEN = "hidden: its name begins with a dot"
SET_ASIDE = "its name begins with an underscore"
RUN = "a run directory"
SPECIAL = "no regular file"
KNOWN_FOLDER = "a link to a folder that was already read"
PERHAPS_LINES = "a .json file may hold anything: name it in input.paths if it holds JSON lines"


@dataclass(frozen=True)
class PassedOver:
    """A file or folder within an input that is not read, and why."""

    path: str
    reason: str


@dataclass
class Listing:
    """What lies in a folder, or what a glob matches."""

    files: list[Path] = field(default_factory=list)  # that are read
    passed_over: list[PassedOver] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)  # folders that cannot be listed, and what is wrong

    def pass_over(self, path: Path, reason: str) -> None:
        """Note what is not read."""
        self.passed_over.append(PassedOver(os.fsencode(path).decode("utf-8", "replace"), reason))


def ending_reason(name: str) -> str:
    """Why a file that `is_input` refuses is passed over."""
    if is_json_lines(name):
        return PERHAPS_LINES
    ending = redacted(Path(name).suffix)  # of a file that was downloaded together with its URL's query
    return f"{ending} files are not read" if ending else "files without an ending are not read"


def list_folder(top: Path) -> Listing:
    """All that lies below a folder; links are followed, and a folder is read once however many lead to it."""
    found = Listing()
    seen: set[tuple[int, int]] = set()
    folders, links = [top], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop()
        if not _is_new(folder, seen, found):
            continue
        for entry in _entries(folder, found):
            path = folder / entry.name
            if entry.name.startswith("."):
                found.pass_over(path, HIDDEN)
            elif not _is_folder(entry):
                _sort_out(entry, path, found)
            elif (reason := _set_aside(path)) is not None:
                found.pass_over(path, reason)
            else:
                (links if entry.is_symlink() else folders).append(path)
    found.files.sort()
    found.passed_over.sort(key=lambda one: one.path)
    return found


def _sort_out(entry: os.DirEntry[str], path: Path, found: Listing) -> None:
    if not is_input(entry.name):
        found.pass_over(path, ending_reason(entry.name))
    elif entry.is_symlink() or entry.is_file():  # a link to nowhere is an error where it is opened
        found.files.append(path)
    else:
        found.pass_over(path, SPECIAL)


def _set_aside(folder: Path) -> str | None:
    """Why a folder within an input is not read, if it is not."""
    if folder.name.startswith("_"):
        return SET_ASIDE
    return RUN if os.path.lexists(folder / "ledger" / "snapshot.json") else None


def expand_glob(pattern: Path) -> Listing:
    """The files that a glob matches, as `glob.glob` finds them (`**`: folders at any depth; no hidden names).

    A folder that cannot be listed is reported; `glob` skips it in silence.
    """
    found = Listing()
    folders = [Path(pattern.anchor) if pattern.anchor else Path.cwd()]
    parts = pattern.parts[1:] if pattern.anchor else pattern.parts
    for part in parts[:-1]:
        folders = list(dict.fromkeys(_folders_of(folders, part, found)))
    last = parts[-1] if parts else ""
    if last == ANY_DEPTH:
        folders, last = list(_folders_of(folders, last, found)), "*"
    if glob.has_magic(last):
        files = [path for folder in folders for path, is_folder in _matches(folder, last, found) if not is_folder]
    else:
        files = [path for path in _named(folders, last, found) if not path.is_dir()]
    return Listing(sorted({Path(os.path.abspath(path)) for path in files}), [], found.unreadable)


def _folders_of(folders: Sequence[Path], part: str, found: Listing) -> Iterator[Path]:
    """The folders that one part of a glob leads to from others."""
    if part == ANY_DEPTH:
        seen: set[tuple[int, int]] = set()
        waiting = list(folders)
        while waiting:
            folder = waiting.pop()
            if _is_new(folder, seen, found):
                yield folder
                waiting += [path for path, is_folder in _matches(folder, "*", found) if is_folder]
    elif glob.has_magic(part):
        yield from (path for folder in folders for path, is_folder in _matches(folder, part, found) if is_folder)
    else:
        yield from (path for path in _named(folders, part, found) if path.is_dir())


def _named(folders: Sequence[Path], name: str, found: Listing) -> Iterator[Path]:
    """What has this name in folders; one that may not be entered is noted."""
    for folder in folders:
        try:
            os.lstat(folder / name)
            yield folder / name
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            found.unreadable[folder] = error.strerror or str(error)


def _matches(folder: Path, pattern: str, found: Listing) -> Iterator[tuple[Path, bool]]:
    """What of a folder a part of a glob matches, and whether that is a folder."""
    matches = re.compile(translate(pattern)).match
    for entry in _entries(folder, found):
        if matches(entry.name) and (pattern.startswith(".") or not entry.name.startswith(".")):
            yield folder / entry.name, _is_folder(entry)


def _entries(folder: Path, found: Listing) -> list[os.DirEntry[str]]:
    """What a folder holds, by name; nothing of one that cannot be listed, which is noted."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        found.unreadable[folder] = error.strerror or str(error)
        return []


def _is_new(folder: Path, seen: set[tuple[int, int]], found: Listing) -> bool:
    """Whether no path before led to this folder; a link that comes late is noted."""
    try:
        status = folder.stat()
    except OSError as error:
        found.unreadable[folder] = error.strerror or str(error)
        return False
    if (place := (status.st_dev, status.st_ino)) in seen:
        found.pass_over(folder, KNOWN_FOLDER)
        return False
    seen.add(place)
    return True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def told(passed_over: Iterable[PassedOver]) -> str:
    """How many files and folders are passed over, by reason, the most first."""
    counts = Counter(one.reason for one in passed_over)
    return "; ".join(
        f"{count:,} ({reason})" for reason, count in sorted(counts.items(), key=lambda one: (-one[1], one))
    )
