"""Write a set of files as few folders, globs and names, which match no other files."""

import glob
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import accumulate, takewhile
from pathlib import Path

from curate.corpus.folders import expand_glob
from curate.storage.endings import IN_FOLDERS, JSON_LINES, is_input

MOST_FOLDERS = 12  # subfolders that are named one by one


def patterns_of(
    folder: Path, names: Sequence[str], chosen: Collection[str], knows: Callable[[Path], bool]
) -> list[str]:
    """Patterns that match the chosen files of a folder and no others. `names` are all its files, relative to it.

    `knows` tells whether all files of a folder are among `names`. Takes linear time.
    """
    chosen_names = frozenset(chosen)

    def below(lead: str, names_below: Sequence[str]) -> Iterator[str]:
        direct = [name for name in names_below if name.find("/", len(lead)) < 0]
        yield from file_globs(lead, direct, chosen_names, knows(folder / lead))
        inner: dict[str, list[str]] = {}
        for name in names_below:
            end = name.find("/", len(lead))
            if end >= 0:
                inner.setdefault(name[len(lead) : end], []).append(name)
        complete = {
            subfolder
            for subfolder, files in inner.items()
            if knows(folder / lead / subfolder) and _all_read(files, chosen_names)
        }
        globs = {subfolder: [subfolder] for subfolder in complete}
        if len(complete) > MOST_FOLDERS:
            globs = _folder_globs(folder, lead, inner, complete)
        for subfolder, files in inner.items():
            if subfolder in complete:
                yield from (f"{lead}{pattern}" for pattern in globs.get(subfolder, []))
                yield from _by_folder([name for name in files if not is_input(name)], chosen_names, folder, knows)
            elif not chosen_names.isdisjoint(files):
                yield from below(f"{lead}{subfolder}/", files)

    return list(below("", names))


def _all_read(files: Iterable[str], chosen: Collection[str]) -> bool:
    """Whether a run would read files in the folder, and all of them are chosen."""
    readable = [name for name in files if is_input(name)]
    return bool(readable) and all(name in chosen for name in readable)


def _by_folder(
    files: Sequence[str], chosen: Collection[str], folder: Path, knows: Callable[[Path], bool]
) -> Iterator[str]:
    """Globs for files that are only read if they are named."""
    by_folder: dict[str, list[str]] = {}
    for name in files:
        by_folder.setdefault(name[: name.rfind("/") + 1], []).append(name)
    for lead, members in by_folder.items():
        yield from file_globs(lead, members, chosen, knows(folder / lead))


def _folder_globs(
    folder: Path, lead: str, inner: dict[str, list[str]], complete: Collection[str]
) -> dict[str, list[str]]:
    """Patterns for complete subfolders, each under the first of the subfolders that it matches."""
    patterns: dict[str, list[str]] = {}
    for prefix, folders in covered(sorted(inner), complete):
        endings = dict.fromkeys(ending_of(name) for subfolder in folders for name in inner[subfolder] if is_input(name))
        globs = [f"{prefix}*/**/*{ending}" for ending in endings]
        usable = len(folders) > 1 and not glob.has_magic(lead + prefix)
        if usable and _match_exactly(folder, lead, globs, folders, inner):
            patterns[min(folders, key=list(inner).index)] = globs
        else:
            patterns |= {subfolder: [subfolder] for subfolder in folders}
    return patterns


def _match_exactly(
    folder: Path, lead: str, globs: Iterable[str], subfolders: Iterable[str], inner: dict[str, list[str]]
) -> bool:
    """Whether globs match exactly the files of these subfolders, and none of a folder that is passed over, say."""
    matched = [str(path) for pattern in globs for path in expand_glob(folder / f"{lead}{pattern}").files]
    files = [os.path.abspath(folder / name) for subfolder in subfolders for name in inner[subfolder] if is_input(name)]
    return sorted(matched) == sorted(files)


def file_globs(lead: str, members: Sequence[str], chosen: Collection[str], is_complete: bool) -> Iterator[str]:
    """Globs that match only chosen files of a folder; names for files that no such glob matches."""
    by_ending: dict[str, list[str]] = {}
    for name in members:
        by_ending.setdefault(ending_of(name), []).append(name[len(lead) :])
    for ending, names in by_ending.items():
        if not is_complete:
            yield from (f"{lead}{name}" for name in names if f"{lead}{name}" in chosen)
            continue
        for prefix, matching in covered(sorted(names), {name for name in names if f"{lead}{name}" in chosen}):
            fits = len(matching) > 1 and min(map(len, matching)) >= len(prefix) + len(ending)
            if fits and not glob.has_magic(lead + prefix):
                yield f"{lead}{prefix}*{ending}"
            else:
                yield from (f"{lead}{name}" for name in matching)


def covered(names: Sequence[str], chosen: Collection[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the shortest prefixes that only chosen names have, each with these names; `names` are sorted."""
    counts = [0, *accumulate(name in chosen for name in names)]
    waiting = [(0, len(names), 0)]  # ranges of names, and the length of the prefix that groups them
    while waiting:
        first, last, length = waiting.pop()
        if (hits := counts[last] - counts[first]) == 0:
            continue
        if hits == last - first:
            yield names[first][:length], names[first:last]
            continue
        ends = zip(names[first], names[last - 1], strict=False)
        shared = max(length, sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], ends)))
        groups = [first]
        groups += [k for k in range(first + 1, last) if names[k][: shared + 1] != names[k - 1][: shared + 1]]
        waiting += [(a, b, shared + 1) for a, b in reversed(list(zip(groups, [*groups[1:], last], strict=True)))]


def ending_of(name: str) -> str:
    """The ending of a file with its original case, since globs are case-sensitive."""
    lower = name.lower()
    endings = (ending for ending in (*IN_FOLDERS, *JSON_LINES) if lower.endswith(ending))
    return next((name[-len(ending) :] for ending in endings), Path(name).suffix)
