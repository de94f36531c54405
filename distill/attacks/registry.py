"""Attacks: ways to corrupt a good document, so that what comes out is bad (or still good) by construction.

Adding one is one function below `@attack` in a module named in MODULES; an LLM writes others (distill/teacher/prompts).
"""

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

import pyarrow as pa
import xxhash

from curate.distill.attacks.changes import Changed
from curate.distill.attacks.replies import from_reply as from_reply  # the other way to a Changed
from curate.errors import RecipeError, did_you_mean

Corrupt = Callable[[str, Random, Sequence[str]], Changed | None]

MODULES = (
    "curate.distill.attacks.spam",
    "curate.distill.attacks.boilerplate",
    "curate.distill.attacks.facts",
    "curate.distill.attacks.claims",
    "curate.distill.attacks.filler",
    "curate.distill.attacks.order",
    "curate.distill.attacks.repetition",
    "curate.distill.attacks.noise",
    "curate.distill.attacks.form",
    "curate.distill.attacks.tone",
)
RULES = "rules"  # in the column `by`: no model wrote this

_SPAN = pa.struct([(name, pa.int32()) for name in ("start", "end", "original_start", "original_end")])
ATTACKED = pa.schema(
    [
        ("doc_id", pa.string()),
        ("attack", pa.string()),
        ("family", pa.string()),
        ("bad", pa.bool_()),
        ("text", pa.large_string()),
        ("spans", pa.list_(_SPAN)),
        ("by", pa.string()),
    ]
)


@dataclass(frozen=True)
class Attack:
    """A function that corrupts a text, or returns None where there is nothing to attack; pure but for `random`.

    It is given the text, the source of all its chances, and other texts to take pieces from.
    """

    name: str
    family: str
    bad: bool  # whether the result is worse than the original, and not only uglier
    corrupt: Corrupt
    about: str

    def __call__(self, text: str, doc_id: str, seed: int, others: Sequence[str] = ()) -> Changed | None:
        """The text corrupted as this seed and doc_id have it, whatever was corrupted before."""
        return self.corrupt(text, random_for(seed, self.name, doc_id), others)


_attacks: dict[str, Attack] = {}


def attack(name: str, family: str, bad: bool) -> Callable[[Corrupt], Corrupt]:
    """Register an attack; the first line of its docstring says what it does."""

    def register(corrupt: Corrupt) -> Corrupt:
        if name in _attacks:
            raise TypeError(f"two attacks are named {name!r}")
        _attacks[name] = Attack(name, family, bad, corrupt, (corrupt.__doc__ or "").partition("\n")[0])
        return corrupt

    return register


@cache
def attacks() -> dict[str, Attack]:
    """All attacks by name, in the order of MODULES, whichever was imported first."""
    for module in MODULES:
        importlib.import_module(module)
    return dict(sorted(_attacks.items(), key=lambda entry: MODULES.index(entry[1].corrupt.__module__)))


def families() -> dict[str, list[str]]:
    """The names of the attacks of each family."""
    found: dict[str, list[str]] = {}
    for one in attacks().values():
        found.setdefault(one.family, []).append(one.name)
    return found


def random_for(seed: int, purpose: str, doc_id: str) -> Random:
    """A source of chances that depends on nothing but these three."""
    return Random(f"{seed} {purpose} {doc_id}")


def apply_attacks(
    good: pa.Table, names: Iterable[str], per_attack: int | None, seed: int, others: Sequence[str] = ()
) -> pa.Table:
    """Corrupt documents of `good` (doc_id: string, text: large_string) by each of the attacks `names`.

    An attack gets the documents whose ids have the least hashes with the seed, until `per_attack` of them gave it
    something to attack (None: all). `others` are texts that splices are taken from.

    Out:    the columns of ATTACKED, by attack as named, then by hash: the order of `good` does not matter.
    Errors: RecipeError for a name that is no attack.
    """
    chosen = []
    for name in names:
        if name not in attacks():
            raise RecipeError(f"no attack {name!r}{did_you_mean(name, attacks())}")
        chosen.append(attacks()[name])
    ids, texts = good["doc_id"].to_pylist(), good["text"]
    parts = [_attacked(one, ids, texts, per_attack, seed, others) for one in chosen]
    return pa.concat_tables([ATTACKED.empty_table(), *parts])


def _attacked(
    one: Attack, ids: Sequence[str], texts: pa.ChunkedArray, wanted: int | None, seed: int, others: Sequence[str]
) -> pa.Table:
    """The rows that one attack makes."""
    doc_ids: list[str] = []
    found: list[Changed] = []
    for row in _drawn(ids, f"{seed} {one.name}"):
        if wanted is not None and len(found) >= wanted:
            break
        text = texts[row].as_py()
        changed = one(text, ids[row], seed, others) if text else None
        if changed is not None:
            doc_ids.append(ids[row])
            found.append(changed)
    return attacked_table(one, doc_ids, found, RULES)


def attacked_table(one: Attack, doc_ids: Sequence[str], found: Sequence[Changed], by: str) -> pa.Table:
    """Corrupted texts as rows of ATTACKED."""
    n = len(found)
    spans = [[dict(zip(_SPAN.names, span, strict=True)) for span in changed.spans] for changed in found]
    columns = [doc_ids, [one.name] * n, [one.family] * n, [one.bad] * n, [c.text for c in found], spans, [by] * n]
    return pa.table(
        [pa.array(column, kind) for column, kind in zip(columns, ATTACKED.types, strict=True)], schema=ATTACKED
    )


def _drawn(ids: Sequence[str], salt: str) -> Iterator[int]:
    """Rows by a hash of their ids; so a row that is drawn stays drawn when others come, unless one has a lower hash."""
    hashes = [xxhash.xxh3_64_intdigest(f"{salt} {doc_id}".encode()) for doc_id in ids]
    yield from sorted(range(len(ids)), key=lambda row: (hashes[row], ids[row]))
