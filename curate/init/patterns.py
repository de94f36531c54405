"""Folders, globs and names that say some of the files of a folder and no others."""

import glob
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import accumulate, takewhile
from pathlib import Path

from curate.corpus.folders import expand_glob
from curate.storage.endings import IN_FOLDERS, JSON_LINES, is_input

MOST_FOLDERS = 12  # of one folder, that are named one by one


def patterns_of(
    folder: Path, names: Sequence[str], chosen: Collection[str], knows: Callable[[Path], bool]
) -> list[str]:
    """What says the chosen ones among the files of a folder: `names` are all of them, relative to it.

    `knows` is true for a folder of which all files are among `names`. Time is linear in these.
    """
    wanted = frozenset(chosen)

    def below(lead: str, some: Sequence[str]) -> Iterator[str]:
        here = [name for name in some if name.find("/", len(lead)) < 0]
        yield from file_globs(lead, here, wanted, knows(folder / lead))
        inner: dict[str, list[str]] = {}
        for name in some:
            end = name.find("/", len(lead))
            if end >= 0:
                inner.setdefault(name[len(lead) : end], []).append(name)
        whole = {one for one, files in inner.items() if knows(folder / lead / one) and _all_read(files, wanted)}
        globs = (
            _folder_globs(folder, lead, inner, whole) if len(whole) > MOST_FOLDERS else {one: [one] for one in whole}
        )
        for one, files in inner.items():
            if one in whole:
                yield from (f"{lead}{pattern}" for pattern in globs.get(one, []))
                yield from _by_folder([name for name in files if not is_input(name)], wanted, folder, knows)
            elif not wanted.isdisjoint(files):
                yield from below(f"{lead}{one}/", files)

    return list(below("", names))


def _all_read(files: Iterable[str], wanted: Collection[str]) -> bool:
    """Whether what a run reads in a folder is wanted, and something is."""
    read = [name for name in files if is_input(name)]
    return bool(read) and all(name in wanted for name in read)


def _by_folder(
    files: Sequence[str], wanted: Collection[str], folder: Path, knows: Callable[[Path], bool]
) -> Iterator[str]:
    """Globs for files that are read only where they are named."""
    found: dict[str, list[str]] = {}
    for name in files:
        found.setdefault(name[: name.rfind("/") + 1], []).append(name)
    for lead, here in found.items():
        yield from file_globs(lead, here, wanted, knows(folder / lead))


def _folder_globs(folder: Path, lead: str, inner: dict[str, list[str]], whole: Collection[str]) -> dict[str, list[str]]:
    """Patterns for whole folders within a folder, each under the first of the folders that it says."""
    found: dict[str, list[str]] = {}
    for prefix, some in covered(sorted(inner), whole):
        endings = dict.fromkeys(ending_of(name) for one in some for name in inner[one] if is_input(name))
        globs = [f"{prefix}*/**/*{ending}" for ending in endings]
        if len(some) == 1 or glob.has_magic(lead + prefix) or not _says(folder, lead, globs, some, inner):
            found |= {one: [one] for one in some}
        else:
            found[min(some, key=list(inner).index)] = globs
    return found


def _says(folder: Path, lead: str, globs: Iterable[str], some: Iterable[str], inner: dict[str, list[str]]) -> bool:
    """Whether globs match the files of some folders and no others, such as those of a folder that is passed over."""
    matched = [str(path) for one in globs for path in expand_glob(folder / f"{lead}{one}").files]
    meant = [os.path.abspath(folder / name) for one in some for name in inner[one] if is_input(name)]
    return sorted(matched) == sorted(meant)


def file_globs(lead: str, here: Sequence[str], wanted: Collection[str], known: bool) -> Iterator[str]:
    """Globs for wanted files of one folder, each with no other file in it; names where these are not to be had."""
    by_ending: dict[str, list[str]] = {}
    for name in here:
        by_ending.setdefault(ending_of(name), []).append(name[len(lead) :])
    for ending, names in by_ending.items():
        if not known:
            yield from (f"{lead}{name}" for name in names if f"{lead}{name}" in wanted)
            continue
        for prefix, some in covered(sorted(names), {name for name in names if f"{lead}{name}" in wanted}):
            fits = len(some) > 1 and min(map(len, some)) >= len(prefix) + len(ending)
            if fits and not glob.has_magic(lead + prefix):
                yield f"{lead}{prefix}*{ending}"
            else:
                yield from (f"{lead}{name}" for name in some)


def covered(names: Sequence[str], wanted: Collection[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """The shortest beginnings that wanted names have and no other of the sorted `names`, with those that have each."""
    counts = [0, *accumulate(name in wanted for name in names)]
    waiting = [(0, len(names), 0)]  # from where to where, and how many characters they have in common by their group
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
    """The ending of a file, as it is written: capitals are as good as small letters, but a glob tells them apart."""
    lower = name.lower()
    known = (ending for ending in (*IN_FOLDERS, *JSON_LINES) if lower.endswith(ending))
    return next((name[-len(ending) :] for ending in known), Path(name).suffix)
