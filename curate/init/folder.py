"""What a folder holds for a recipe: files by what they are for, what is left out and why, languages, overlaps."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from curate.corpus.casts import cast_type, how_to_cast
from curate.corpus.columns import is_messages, plain, wider
from curate.corpus.parquet import common_cast
from curate.corpus.text_keys import Owned
from curate.display import counted
from curate.errors import InputError
from curate.filters.language.identify import likeliest
from curate.init.roles import FIELDS, ROLES, Role, role_of
from curate.init.survey import Seen, survey
from curate.kernels.words import GOPHER_STOP_WORDS
from curate.storage.endings import is_json_lines

COPIED = 0.5  # of a file's texts that another role has, from which it is that role's and not the corpus's
SURE = 0.5  # confidence from which a text's language is told
FOREIGN = 0.05  # of the texts, from which rules made for English are kept from other languages
MEASURING: tuple[Role, ...] = ("evaluation", "heldout", "reference")

Ask = Callable[[str], Role | None]


@dataclass(frozen=True)
class Languages:
    """Languages of a sample of the input, with what Gopher's rule on English stop words would drop of it."""

    shares: Mapping[str, float]  # most first; without texts of which the language is not clear
    texts: int  # that were looked at
    others: int  # in other languages than English
    others_dropped: int

    @property
    def foreign(self) -> bool:
        """Whether a rule for English would drop a good part of the corpus."""
        return 1 - self.shares.get("en", 0.0) >= FOREIGN and self.others_dropped > 0


@dataclass(frozen=True)
class Folder:
    """Files by role. Names are as the recipe writes them."""

    roles: Mapping[Role, tuple[Seen, ...]]
    why: Mapping[str, str]  # by name: what told the role
    left_out: Mapping[str, str]  # by name: why
    overlaps: tuple[str, ...]
    passed_over: Mapping[str, int]  # files that no run reads, by ending
    column: str  # of the corpus: its texts, or its messages
    chats: bool
    languages: Languages
    places: tuple[Path, ...]  # that were looked into
    every: tuple[Path, ...] = field(repr=False)  # all files there that a run could read
    casts: Mapping[str, str]  # columns that files have in types which do not fit, and what to read them as
    types: tuple[str, ...]  # a line for each of these

    def knows(self, place: Path) -> bool:
        """Whether all files of a folder were looked at."""
        return any(place == one or one in place.parents for one in self.places)

    def column_of(self, file: Seen) -> str:
        """The column of a file that holds its texts."""
        return _column_of(file, self.column, self.chats)


def look_into(places: Sequence[Path], folder: Path, ask: Ask | None = None) -> Folder:
    """Sort the files of some places by what they are for; `ask` settles what cannot be told.

    Errors: InputError where there is nothing that could be the corpus.
    """
    there = survey(places, folder)
    seen, passed = there.files, there.passed
    where = ", ".join(map(str, places))
    if not seen:
        more = f" ({_endings(passed)} there)" if passed else ""
        raise InputError(
            f"init: no Parquet or JSON lines file in {where}{more}; go to the folder with the data, or name it: "
            "curate init recipe.yaml FOLDER"
        )
    left: dict[str, str] = {file.name: file.problem for file in seen if file.problem}
    roles, why = _by_role([file for file in seen if not file.problem], left, ask)
    _leave_out_textless(roles, left)
    chats = _settle_chats(roles, left)
    overlaps = _overlaps(roles, left)
    if not roles["input"]:
        told = "; ".join(f"{name}: {reason}" for name, reason in [*why.items(), *left.items()][:4])
        raise InputError(
            f"init: nothing in {where} looks like a corpus ({told}); name its files: curate init recipe.yaml FILE …"
        )
    _leave_out_bad_lines(roles, left)
    column = _column(roles["input"], chats)
    if chats:
        _leave_out_other_chats(roles, left, column)
    _leave_out_other_columns(roles, left, column)
    casts, types = _casts(roles["input"], column, chats)
    return Folder(
        {role: tuple(files) for role, files in roles.items()}, why, left, tuple(overlaps), passed, column, chats,
        _languages(roles["input"]), tuple(places),
        tuple(sorted([*(file.path for file in seen), *there.others])), casts, types,
    )  # fmt: skip


Roles = dict[Role, list[Seen]]


def _by_role(files: Sequence[Seen], left: dict[str, str], ask: Ask | None) -> tuple[Roles, dict[str, str]]:
    roles: Roles = {role: [] for role in ROLES}
    why: dict[str, str] = {}
    answers: dict[tuple[str, ...], Role | None] = {}
    for file in files:
        role, told = role_of(file.parts, file.columns) if file.parts else ("input", "named")
        if role is None and ask is not None:
            together = (*file.parts[:-1], told)
            if together not in answers:
                answers[together] = ask(f"{file.name}: {told}")
            role, told = answers[together], "as you said"
        if role is None:
            left[file.name] = told
        else:
            roles[role].append(file)
            why[file.name] = told
    return roles, why


def _leave_out_textless(roles: Roles, left: dict[str, str]) -> None:
    for role, files in roles.items():
        for file in files:
            readable = file.texts if role == "input" else file.plain
            if not readable and file.chats is None:
                left[file.name] = f"no column of texts (has: {', '.join(file.columns[:6])})"
        roles[role] = [file for file in files if file.name not in left]


def _settle_chats(roles: Roles, left: dict[str, str]) -> bool:
    """Whether the corpus is of chats: a recipe has documents or chats, and what most bytes are of is taken."""
    chats = [file for file in roles["input"] if not file.texts]
    texts = [file for file in roles["input"] if file.texts]
    is_chats = sum(file.size for file in chats) > sum(file.size for file in texts)
    for file in texts if is_chats else chats:
        what = "documents" if is_chats else f"chats (column {file.chats})"
        left[file.name] = f"{what}: a recipe has documents or chats; make one more: curate init other.yaml {file.name}"
    roles["input"] = chats if is_chats else texts
    return is_chats


def _overlaps(roles: Roles, left: dict[str, str]) -> list[str]:
    """Leave out of the input what is a copy of what measures it; lines about files that share some texts."""
    lines: list[tuple[str, str]] = []
    measuring = [(role, file) for role in MEASURING for file in roles[role]]
    owned = Owned.of([file.all_keys for _, file in measuring])
    for one in roles["input"]:
        long, hits_of = owned.shared(one.keys)
        for k, hits in hits_of.items():
            role, other = measuring[k]
            if hits >= COPIED * long:
                left[one.name] = f"{hits:,} of {long:,} texts are those of {other.name} ({FIELDS[role]})"
            else:
                told = f"{hits:,} of {long:,} texts are in {other.name} ({FIELDS[role]}) too"
                lines.append((one.name, f"{one.name}: {told}"))
    roles["input"] = [file for file in roles["input"] if file.name not in left]
    owned = Owned.of([file.all_keys for file in roles["reference"]])
    for one in roles["heldout"]:
        long, hits_of = owned.shared(one.keys)
        for k, hits in hits_of.items():
            name = roles["reference"][k].name
            lines.append((one.name, f"{one.name}: {hits:,} of {long:,} held-out texts are in {name} (reference) too"))
    return [line for name, line in lines if name not in left]


def _column(files: Sequence[Seen], chats: bool) -> str:
    sizes: Counter[str] = Counter()
    for file in files:
        sizes[(file.chats or "") if chats else file.texts[0]] += file.size + 1
    return "text" if "text" in sizes and not chats else sizes.most_common(1)[0][0]


def _column_of(file: Seen, column: str, chats: bool) -> str:
    """The column of a file of the corpus that holds its texts."""
    return column if chats or column in file.texts else file.texts[0]


def _leave_out_other_chats(roles: Roles, left: dict[str, str], column: str) -> None:
    """A recipe reads the chats of all its files from one column."""
    for file in roles["input"]:
        if not any(one.name == column and is_messages(one.type) for one in file.schema):
            more = f"make one more: curate init other.yaml {file.name}"
            why = f"chats in column {file.chats!r}, and a recipe reads them from one, here {column!r}"
            left[file.name] = f"{why}; {more}"
    roles["input"] = [file for file in roles["input"] if file.name not in left]


def _leave_out_other_columns(roles: Roles, left: dict[str, str], column: str) -> None:
    """Files beside the corpus are read by the corpus's column, or by one named text."""
    for role in ("reference", "heldout", "seeds"):
        for file in roles[role]:
            if not {column, "text"} & {*file.plain, file.chats}:
                held, reads = (*file.texts, file.chats or "")[0], " or ".join(dict.fromkeys((repr(column), "'text'")))
                left[file.name] = f"texts in column {held!r}, where {FIELDS[role]} reads {reads}; rename it"
        roles[role] = [file for file in roles[role] if file.name not in left]


def _leave_out_bad_lines(roles: Roles, left: dict[str, str]) -> None:
    """Of the input bad lines are left out by a run; files beside it are read whole or not at all."""
    for role in ROLES[1:]:
        left |= {file.name: f"{file.bad}; mend or remove that line" for file in roles[role] if file.bad_lines}
        roles[role] = [file for file in roles[role] if file.name not in left]


def _casts(files: Sequence[Seen], column: str, chats: bool) -> tuple[dict[str, str], tuple[str, ...]]:
    """Columns whose types do not fit between files of the input, what to read them as, and a line that says so."""
    inferred = all(is_json_lines(file.path.name) for file in files)
    kinds: dict[str, dict[pa.DataType, str]] = {}  # of each column, each type with a file that has it
    first: dict[tuple[int, tuple[str, ...]], Seen] = {}  # of each schema, which files of one kind share
    for file in files:
        first.setdefault((id(file.schema), file.texts), file)
    for file in first.values():
        text = _column_of(file, column, chats)
        for one in file.schema:
            if one.name not in (text, column):
                kinds.setdefault(one.name, {}).setdefault(plain(one.type), file.name)
    casts, told = {}, []
    for name, files_of in kinds.items():
        known: pa.DataType | None = pa.null()
        for kind in files_of:
            known = None if known is None else wider(known, kind, inferred)
        if known is None:
            cast = common_cast(*files_of)
            if all(kind == cast_type(cast) or how_to_cast(kind, cast) for kind in files_of):
                casts[name] = cast
                shown = " and ".join(f"{kind} in {file}" for kind, file in list(files_of.items())[:2])
                told.append(f"column {name!r} is {shown}; input.cast reads it as {cast}")
    return casts, tuple(told)


def _languages(files: Sequence[Seen]) -> Languages:
    weights: Counter[str] = Counter()
    texts = others = dropped = 0
    for file in files:
        for text in file.shown:
            texts += 1
            share, language = likeliest(" ".join(text.split()))
            if share is None or language is None or share < SURE:
                continue
            weights[language] += file.stands_for * 1_000_000 // len(file.shown)
            if language != "en":
                others += 1
                words = {word.strip(".,;:!?\"'()[]").lower() for word in text.split()}
                dropped += len(words.intersection(GOPHER_STOP_WORDS)) < 2
    whole = max(1, sum(weights.values()))
    ordered = sorted(weights.items(), key=lambda one: (-one[1], one[0]))
    return Languages({name: size / whole for name, size in ordered}, texts, others, dropped)


def _endings(passed: Mapping[str, int]) -> str:
    most = sorted(passed.items(), key=lambda one: (-one[1], one[0]))[:5]
    return ", ".join(f"{count:,} {ending}" for ending, count in most)


MOST_LINES = 8  # of one kind
MOST_COLUMNS = 4  # that hold texts


def said(found: Folder) -> Iterator[str]:
    """What was seen, a line each."""
    for role, files in found.roles.items():
        if files:
            yield f"{FIELDS[role]}: {_files(files)}{_told(found, role, files)}"
    yield from _some([f"left out: {name}: {reason}" for name, reason in found.left_out.items()], "left out")
    yield from _some(list(_said_of_bad_lines(found.roles["input"])), "bad lines")
    yield from _some([f"types: {line}" for line in found.types], "types")
    if found.passed_over:
        yield f"not read: {_endings(found.passed_over)} (only Parquet and JSON lines are: one object a line)"
    yield from _some([f"overlap: {line}" for line in found.overlaps], "overlap")
    yield from _said_of_languages(found.languages)


def _some(lines: Sequence[str], what: str) -> Iterator[str]:
    yield from lines[:MOST_LINES]
    if len(lines) > MOST_LINES:
        yield f"{what}: {len(lines) - MOST_LINES:,} more"


def _said_of_bad_lines(files: Sequence[Seen]) -> Iterator[str]:
    for file in files:
        if file.bad_lines:
            yield (
                f"bad lines: {file.name}: {counted(file.bad_lines, 'line')} beside {file.rows:,} good ones "
                f"({file.bad}); on_error: quarantine leaves out and counts them"
            )


def _files(files: Sequence[Seen]) -> str:
    rows = sum(file.rows for file in files)
    return f"{counted(len(files), 'file')}, {rows:,} rows"


def _told(found: Folder, role: Role, files: Sequence[Seen]) -> str:
    """What told a role, and where the corpus's texts are."""
    if role == "input":
        columns = Counter(found.column_of(file) for file in files)
        named = [f", {name!r} in {count:,}" for name, count in columns.most_common() if name != found.column]
        others = "".join(named[:MOST_COLUMNS]) + (
            f" and {len(named) - MOST_COLUMNS} more" if named[MOST_COLUMNS:] else ""
        )
        looked = sum(file.is_looked_at for file in files)
        some = f"; {looked:,} of the files were looked at" if looked < len(files) else ""
        return f", {'chats' if found.chats else 'texts'} in column {found.column!r}{others}{some}"
    reasons = Counter(found.why[file.name] for file in files).most_common(2)
    return f" ({'; '.join(reason for reason, _ in reasons)})"


def _said_of_languages(found: Languages) -> Iterator[str]:
    if not found.shares:
        return
    shown = [f"{name} {share:.0%}" for name, share in list(found.shares.items())[:6] if share >= 0.005]
    more = f" and {len(found.shares) - len(shown)} more" if len(found.shares) > len(shown) else ""
    yield f"languages of {found.texts:,} sampled texts: {', '.join(shown)}{more}"
    if found.foreign:
        yield (
            f"rules for English: gopher's too_few_stop_words would drop {found.others_dropped:,} of {found.others:,} "
            "sampled texts in other languages; the recipe lets it judge English alone"
        )
