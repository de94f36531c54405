"""The folders of an input: files to read, and all other files with the reason why they are passed over."""

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
    """The contents of a folder, or the matches of a glob."""

    files: list[Path] = field(default_factory=list)  # to read
    passed_over: list[PassedOver] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)  # folders that cannot be listed, and why

    def pass_over(self, path: Path, reason: str) -> None:
        """Record a file or folder that is not read."""
        self.passed_over.append(PassedOver(os.fsencode(path).decode("utf-8", "replace"), reason))


def ending_reason(name: str) -> str:
    """Why a file that `is_input` refuses is passed over."""
    if is_json_lines(name):
        return PERHAPS_LINES
    ending = redacted(Path(name).suffix)  # a downloaded file's name may contain its URL's query
    return f"{ending} files are not read" if ending else "files without an ending are not read"


def list_folder(top: Path) -> Listing:
    """All files below a folder; links are followed, and a folder with several links is read once."""
    listing = Listing()
    seen: set[tuple[int, int]] = set()
    folders, links = [top], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop()
        if not _is_new(folder, seen, listing):
            continue
        for entry in _entries(folder, listing):
            path = folder / entry.name
            if entry.name.startswith("."):
                listing.pass_over(path, HIDDEN)
            elif not _is_folder(entry):
                _add_file(entry, path, listing)
            elif (reason := _set_aside(path)) is not None:
                listing.pass_over(path, reason)
            else:
                (links if entry.is_symlink() else folders).append(path)
    listing.files.sort()
    listing.passed_over.sort(key=lambda item: item.path)
    return listing


def _add_file(entry: os.DirEntry[str], path: Path, listing: Listing) -> None:
    if not is_input(entry.name):
        listing.pass_over(path, ending_reason(entry.name))
    elif entry.is_symlink() or entry.is_file():  # a broken link is an error where it is opened
        listing.files.append(path)
    else:
        listing.pass_over(path, SPECIAL)


def _set_aside(folder: Path) -> str | None:
    """Why a folder within an input is not read; None where it is."""
    if folder.name.startswith("_"):
        return SET_ASIDE
    return RUN if os.path.lexists(folder / "ledger" / "snapshot.json") else None


def expand_glob(pattern: Path) -> Listing:
    """The files that a glob matches, as `glob.glob` finds them (`**`: folders at any depth; no hidden names).

    A folder that cannot be listed is reported; `glob` skips it in silence.
    """
    listing = Listing()
    folders = [Path(pattern.anchor) if pattern.anchor else Path.cwd()]
    parts = pattern.parts[1:] if pattern.anchor else pattern.parts
    for part in parts[:-1]:
        folders = list(dict.fromkeys(_folders_of(folders, part, listing)))
    last = parts[-1] if parts else ""
    if last == ANY_DEPTH:
        folders, last = list(_folders_of(folders, last, listing)), "*"
    if glob.has_magic(last):
        files = [path for folder in folders for path, is_folder in _matches(folder, last, listing) if not is_folder]
    else:
        files = [path for path in _with_name(folders, last, listing) if not path.is_dir()]
    return Listing(sorted({Path(os.path.abspath(path)) for path in files}), [], listing.unreadable)


def _folders_of(folders: Sequence[Path], part: str, listing: Listing) -> Iterator[Path]:
    """The folders that one part of a glob matches within folders."""
    if part == ANY_DEPTH:
        seen: set[tuple[int, int]] = set()
        pending = list(folders)
        while pending:
            folder = pending.pop()
            if _is_new(folder, seen, listing):
                yield folder
                pending += [path for path, is_folder in _matches(folder, "*", listing) if is_folder]
    elif glob.has_magic(part):
        yield from (path for folder in folders for path, is_folder in _matches(folder, part, listing) if is_folder)
    else:
        yield from (path for path in _with_name(folders, part, listing) if path.is_dir())


def _with_name(folders: Sequence[Path], name: str, listing: Listing) -> Iterator[Path]:
    """The paths with this name in folders; an inaccessible folder is recorded."""
    for folder in folders:
        try:
            os.lstat(folder / name)
            yield folder / name
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            listing.unreadable[folder] = error.strerror or str(error)


def _matches(folder: Path, pattern: str, listing: Listing) -> Iterator[tuple[Path, bool]]:
    """The entries of a folder that a part of a glob matches, and whether each is a folder."""
    matches = re.compile(translate(pattern)).match
    for entry in _entries(folder, listing):
        if matches(entry.name) and (pattern.startswith(".") or not entry.name.startswith(".")):
            yield folder / entry.name, _is_folder(entry)


def _entries(folder: Path, listing: Listing) -> list[os.DirEntry[str]]:
    """The entries of a folder by name; a folder that cannot be listed is recorded."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        listing.unreadable[folder] = error.strerror or str(error)
        return []


def _is_new(folder: Path, seen: set[tuple[int, int]], listing: Listing) -> bool:
    """Whether this folder was not read before; a second path to it is recorded."""
    try:
        status = folder.stat()
    except OSError as error:
        listing.unreadable[folder] = error.strerror or str(error)
        return False
    if (identity := (status.st_dev, status.st_ino)) in seen:
        listing.pass_over(folder, KNOWN_FOLDER)
        return False
    seen.add(identity)
    return True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def counts_by_reason(passed_over: Iterable[PassedOver]) -> str:
    """The numbers of files and folders that are passed over, by reason, largest first."""
    counts = Counter(item.reason for item in passed_over)
    return "; ".join(
        f"{count:,} ({reason})" for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item))
    )
