"""Sort the files of a folder by their role in a recipe: what is left out and why, languages, overlaps."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from curate.corpus.casts import cast_type, how_to_cast
from curate.corpus.columns import is_messages, plain, wider
from curate.corpus.parquet import common_cast
from curate.corpus.text_keys import FileKeys
from curate.display import counted
from curate.errors import InputError
from curate.filters.language.identify import identify
from curate.init.roles import FIELDS, ROLES, Role, role_of
from curate.init.survey import SurveyedFile, survey
from curate.kernels.words import GOPHER_STOP_WORDS
from curate.storage.endings import is_json_lines

COPIED = 0.5  # share of a file's texts that a measuring file has, from which the file is a copy of that
SURE = 0.5  # confidence from which the language of a text counts
FOREIGN = 0.05  # share of texts in other languages from which rules for English judge English alone
MEASURING: tuple[Role, ...] = ("evaluation", "heldout", "reference")

Ask = Callable[[str], Role | None]


@dataclass(frozen=True)
class Languages:
    """The languages of a sample of the input, and what Gopher's rule on English stop words would drop of it."""

    shares: Mapping[str, float]  # of the texts whose language is clear, most frequent first
    texts: int  # in the sample
    foreign_texts: int  # in other languages than English
    foreign_dropped: int

    @property
    def foreign(self) -> bool:
        """Whether a rule for English would drop many texts in other languages."""
        return 1 - self.shares.get("en", 0.0) >= FOREIGN and self.foreign_dropped > 0


@dataclass(frozen=True, kw_only=True)
class SortedFiles:
    """The surveyed files by role. File names are as the recipe writes them."""

    roles: Mapping[Role, tuple[SurveyedFile, ...]]
    why: Mapping[str, str]  # by file name: the reason for its role
    left_out: Mapping[str, str]  # by file name: the reason
    overlaps: tuple[str, ...]  # a line each
    passed_over: Mapping[str, int]  # number of files that no run reads, by ending
    column: str  # of the corpus, with its texts or its messages
    chats: bool
    languages: Languages
    roots: tuple[Path, ...]  # that were surveyed
    every: tuple[Path, ...] = field(repr=False)  # all files there that a run could read
    casts: Mapping[str, str]  # columns whose types differ between files, and the type to read them as
    types: tuple[str, ...]  # a line for each of these

    def knows(self, folder: Path) -> bool:
        """Whether all files of a folder were surveyed."""
        return any(folder == root or root in folder.parents for root in self.roots)

    def column_of(self, file: SurveyedFile) -> str:
        """The column with the texts of a file."""
        return _column_of(file, self.column, self.chats)


def sort_files(roots: Sequence[Path], folder: Path, ask: Ask | None = None) -> SortedFiles:
    """Survey folders and files, and sort the files by role; `ask` decides unclear roles.

    Errors: InputError where there is nothing that could be the corpus.
    """
    surveyed = survey(roots, folder)
    listed = ", ".join(map(str, roots))
    if not surveyed.files:
        raise _nothing_found(listed, surveyed.ignored)
    left_out: dict[str, str] = {file.name: file.problem for file in surveyed.files if file.problem}
    roles, why = _by_role([file for file in surveyed.files if not file.problem], left_out, ask)
    _leave_out_textless(roles, left_out)
    chats = _choose_chats(roles, left_out)
    overlaps = _overlaps(roles, left_out)
    if not roles["input"]:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in [*why.items(), *left_out.items()][:4])
        raise InputError(
            f"init: nothing in {listed} looks like a corpus ({reasons}); name its files: curate init recipe.yaml FILE …"
        )
    _leave_out_bad_lines(roles, left_out)
    column = _column(roles["input"], chats)
    if chats:
        _leave_out_other_chats(roles, left_out, column)
    _leave_out_other_columns(roles, left_out, column)
    casts, types = _casts(roles["input"], column, chats)
    return SortedFiles(
        roles={role: tuple(files) for role, files in roles.items()},
        why=why,
        left_out=left_out,
        overlaps=tuple(overlaps),
        passed_over=surveyed.ignored,
        column=column,
        chats=chats,
        languages=_languages(roles["input"]),
        roots=tuple(roots),
        every=tuple(sorted([*(file.path for file in surveyed.files), *surveyed.readable])),
        casts=casts,
        types=types,
    )


def _nothing_found(listed: str, ignored: Mapping[str, int]) -> InputError:
    more = f" ({_endings(ignored)} there)" if ignored else ""
    return InputError(
        f"init: no Parquet or JSON lines file in {listed}{more}; go to the folder with the data, or name it: "
        "curate init recipe.yaml FOLDER"
    )


Roles = dict[Role, list[SurveyedFile]]


def _by_role(files: Sequence[SurveyedFile], left_out: dict[str, str], ask: Ask | None) -> tuple[Roles, dict[str, str]]:
    roles: Roles = {role: [] for role in ROLES}
    why: dict[str, str] = {}
    answers: dict[tuple[str, ...], Role | None] = {}
    for file in files:
        role, reason = role_of(file.parts, file.columns) if file.parts else ("input", "named")
        if role is None and ask is not None:
            key = (*file.parts[:-1], reason)
            if key not in answers:
                answers[key] = ask(f"{file.name}: {reason}")
            role, reason = answers[key], "as you summary_lines"
        if role is None:
            left_out[file.name] = reason
        else:
            roles[role].append(file)
            why[file.name] = reason
    return roles, why


def _leave_out_textless(roles: Roles, left_out: dict[str, str]) -> None:
    for role, files in roles.items():
        for file in files:
            readable = file.texts if role == "input" else file.plain
            if not readable and file.chats is None:
                left_out[file.name] = f"no column of texts (has: {', '.join(file.columns[:6])})"
        roles[role] = [file for file in files if file.name not in left_out]


def _choose_chats(roles: Roles, left_out: dict[str, str]) -> bool:
    """Whether the corpus consists of chats. A recipe has documents or chats: the kind with more bytes is chosen."""
    chats = [file for file in roles["input"] if not file.texts]
    texts = [file for file in roles["input"] if file.texts]
    is_chats = sum(file.size for file in chats) > sum(file.size for file in texts)
    for file in texts if is_chats else chats:
        kind = "documents" if is_chats else f"chats (column {file.chats})"
        advice = f"a recipe has documents or chats; make one more: curate init other.yaml {file.name}"
        left_out[file.name] = f"{kind}: {advice}"
    roles["input"] = chats if is_chats else texts
    return is_chats


def _overlaps(roles: Roles, left_out: dict[str, str]) -> list[str]:
    """Leave out inputs that are copies of measuring files; return a line for each pair that shares some texts."""
    lines: list[tuple[str, str]] = []
    measuring = [(role, file) for role in MEASURING for file in roles[role]]
    owned = FileKeys.of([file.all_keys for _, file in measuring])
    for file in roles["input"]:
        long, hits_of = owned.count_shared(file.keys)
        for k, hits in hits_of.items():
            role, other = measuring[k]
            if hits >= COPIED * long:
                left_out[file.name] = f"{hits:,} of {long:,} texts are those of {other.name} ({FIELDS[role]})"
            else:
                shared = f"{hits:,} of {long:,} texts are in {other.name} ({FIELDS[role]}) too"
                lines.append((file.name, f"{file.name}: {shared}"))
    roles["input"] = [file for file in roles["input"] if file.name not in left_out]
    owned = FileKeys.of([file.all_keys for file in roles["reference"]])
    for file in roles["heldout"]:
        long, hits_of = owned.count_shared(file.keys)
        for k, hits in hits_of.items():
            shared = f"{hits:,} of {long:,} held-out texts are in {roles['reference'][k].name} (reference) too"
            lines.append((file.name, f"{file.name}: {shared}"))
    return [line for name, line in lines if name not in left_out]


def _column(files: Sequence[SurveyedFile], chats: bool) -> str:
    sizes: Counter[str] = Counter()
    for file in files:
        sizes[(file.chats or "") if chats else file.texts[0]] += file.size + 1
    return "text" if "text" in sizes and not chats else sizes.most_common(1)[0][0]


def _column_of(file: SurveyedFile, column: str, chats: bool) -> str:
    """The column with the texts of a file of the corpus."""
    return column if chats or column in file.texts else file.texts[0]


def _leave_out_other_chats(roles: Roles, left_out: dict[str, str], column: str) -> None:
    """Leave out chats in other columns, since a recipe reads all chats from one column."""
    for file in roles["input"]:
        if not any(member.name == column and is_messages(member.type) for member in file.schema):
            more = f"make one more: curate init other.yaml {file.name}"
            why = f"chats in column {file.chats!r}, and a recipe reads them from one, here {column!r}"
            left_out[file.name] = f"{why}; {more}"
    roles["input"] = [file for file in roles["input"] if file.name not in left_out]


def _leave_out_other_columns(roles: Roles, left_out: dict[str, str], column: str) -> None:
    """Leave out side files whose texts are neither in the corpus's column nor in one named text."""
    for role in ("reference", "heldout", "seeds"):
        for file in roles[role]:
            if not {column, "text"} & {*file.plain, file.chats}:
                text_column = (*file.texts, file.chats or "")[0]
                accepted = " or ".join(dict.fromkeys((repr(column), "'text'")))
                left_out[file.name] = (
                    f"texts in column {text_column!r}, where {FIELDS[role]} reads {accepted}; rename it"
                )
        roles[role] = [file for file in roles[role] if file.name not in left_out]


def _leave_out_bad_lines(roles: Roles, left_out: dict[str, str]) -> None:
    """Leave out side files with bad lines: a run skips bad lines only in the input."""
    for role in ROLES[1:]:
        left_out |= {file.name: f"{file.bad}; mend or remove that line" for file in roles[role] if file.bad_lines}
        roles[role] = [file for file in roles[role] if file.name not in left_out]


def _casts(files: Sequence[SurveyedFile], column: str, chats: bool) -> tuple[dict[str, str], tuple[str, ...]]:
    """Columns whose types differ between files of the input: the type to read each as, and a line about each."""
    inferred = all(is_json_lines(file.path.name) for file in files)
    kinds: dict[str, dict[pa.DataType, str]] = {}  # by column: each type, with a file that has it
    by_schema: dict[tuple[int, tuple[str, ...]], SurveyedFile] = {}  # one file each; files of a kind share a schema
    for file in files:
        by_schema.setdefault((id(file.schema), file.texts), file)
    for file in by_schema.values():
        text = _column_of(file, column, chats)
        for member in file.schema:
            if member.name not in (text, column):
                kinds.setdefault(member.name, {}).setdefault(plain(member.type), file.name)
    casts, lines = {}, []
    for name, examples in kinds.items():
        unified: pa.DataType | None = pa.null()
        for kind in examples:
            unified = None if unified is None else wider(unified, kind, inferred)
        if unified is None:
            cast = common_cast(*examples)
            if all(kind == cast_type(cast) or how_to_cast(kind, cast) for kind in examples):
                casts[name] = cast
                shown = " and ".join(f"{kind} in {file}" for kind, file in list(examples.items())[:2])
                lines.append(f"column {name!r} is {shown}; input.cast reads it as {cast}")
    return casts, tuple(lines)


def _languages(files: Sequence[SurveyedFile]) -> Languages:
    weights: Counter[str] = Counter()
    texts = foreign = dropped = 0
    for file in files:
        for text in file.shown:
            texts += 1
            share, language = identify(" ".join(text.split()))
            if share is None or language is None or share < SURE:
                continue
            weights[language] += file.represents * 1_000_000 // len(file.shown)
            if language != "en":
                foreign += 1
                words = {word.strip(".,;:!?\"'()[]").lower() for word in text.split()}
                dropped += len(words.intersection(GOPHER_STOP_WORDS)) < 2
    total = max(1, sum(weights.values()))
    ordered = sorted(weights.items(), key=lambda entry: (-entry[1], entry[0]))
    return Languages({name: size / total for name, size in ordered}, texts, foreign, dropped)


def _endings(counts: Mapping[str, int]) -> str:
    most = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:5]
    return ", ".join(f"{count:,} {ending}" for ending, count in most)


MOST_LINES = 8  # of one kind
MOST_COLUMNS = 4  # that hold texts


def summary_lines(files: SortedFiles) -> Iterator[str]:
    """Yield what was found, a line each."""
    for role, of_role in files.roles.items():
        if of_role:
            yield f"{FIELDS[role]}: {_file_counts(of_role)}{_role_details(files, role, of_role)}"
    yield from _capped([f"left out: {name}: {reason}" for name, reason in files.left_out.items()], "left out")
    yield from _capped(list(_bad_line_summary(files.roles["input"])), "bad lines")
    yield from _capped([f"types: {line}" for line in files.types], "types")
    if files.passed_over:
        yield f"not read: {_endings(files.passed_over)} (only Parquet and JSON lines are: one object a line)"
    yield from _capped([f"overlap: {line}" for line in files.overlaps], "overlap")
    yield from _language_summary(files.languages)


def _capped(lines: Sequence[str], title: str) -> Iterator[str]:
    yield from lines[:MOST_LINES]
    if len(lines) > MOST_LINES:
        yield f"{title}: {len(lines) - MOST_LINES:,} more"


def _bad_line_summary(files: Sequence[SurveyedFile]) -> Iterator[str]:
    for file in files:
        if file.bad_lines:
            yield (
                f"bad lines: {file.name}: {counted(file.bad_lines, 'line')} beside {file.rows:,} good ones "
                f"({file.bad}); on_error: quarantine leaves out and counts them"
            )


def _file_counts(files: Sequence[SurveyedFile]) -> str:
    rows = sum(file.rows for file in files)
    return f"{counted(len(files), 'file')}, {rows:,} rows"


def _role_details(files: SortedFiles, role: Role, of_role: Sequence[SurveyedFile]) -> str:
    """The reasons for a role; for the corpus, the columns of its texts."""
    if role == "input":
        columns = Counter(files.column_of(file) for file in of_role)
        named = [f", {name!r} in {count:,}" for name, count in columns.most_common() if name != files.column]
        other_columns = "".join(named[:MOST_COLUMNS]) + (
            f" and {len(named) - MOST_COLUMNS} more" if named[MOST_COLUMNS:] else ""
        )
        surveyed = sum(file.is_surveyed for file in of_role)
        note = f"; {surveyed:,} of the files were looked at" if surveyed < len(of_role) else ""
        return f", {'chats' if files.chats else 'texts'} in column {files.column!r}{other_columns}{note}"
    reasons = Counter(files.why[file.name] for file in of_role).most_common(2)
    return f" ({'; '.join(reason for reason, _ in reasons)})"


def _language_summary(languages: Languages) -> Iterator[str]:
    if not languages.shares:
        return
    shown = [f"{name} {share:.0%}" for name, share in list(languages.shares.items())[:6] if share >= 0.005]
    more = f" and {len(languages.shares) - len(shown)} more" if len(languages.shares) > len(shown) else ""
    yield f"languages of {languages.texts:,} sampled texts: {', '.join(shown)}{more}"
    if languages.foreign:
        yield (
            f"rules for English: gopher's too_few_stop_words would drop {languages.foreign_dropped:,} of "
            f"{languages.foreign_texts:,} sampled texts in other languages; the recipe lets it judge English alone"
        )
