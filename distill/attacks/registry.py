"""The registry of attacks: functions that corrupt a good document, so that its label is known by construction.

To add an attack, write a function below `@attack` in a module named in MODULES. The attacks that a language model
writes are prompts in distill/teacher/prompts.
"""

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

import pyarrow as pa
import xxhash

from curate.distill.attacks.changes import Changed
from curate.distill.attacks.replies import from_reply as from_reply  # the other way to make a Changed
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
RULES = "rules"  # value of the column `by` for attacks that no model wrote

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
    """An attack and its label.

    `corrupt` takes the text, the random generator, and other texts to take passages from. It returns None where there
    is nothing to attack. It is pure but for the generator.
    """

    name: str
    family: str
    bad: bool  # whether the result is worse than the original, not merely uglier
    corrupt: Corrupt
    about: str
    splices: bool = False  # whether every span that it changes is bad text by itself, which a reader would cut

    def __call__(self, text: str, doc_id: str, seed: int, others: Sequence[str] = ()) -> Changed | None:
        """Corrupt a text. The result depends only on the arguments."""
        return self.corrupt(text, random_for(seed, self.name, doc_id), others)


_attacks: dict[str, Attack] = {}


def attack(name: str, family: str, bad: bool, splices: bool = False) -> Callable[[Corrupt], Corrupt]:
    """Register an attack; the first line of its docstring says what it does.

    `splices` is for attacks that put bad text among good text and change nothing else: their spans label passages.
    """

    def register(corrupt: Corrupt) -> Corrupt:
        if name in _attacks:
            raise TypeError(f"two attacks are named {name!r}")
        _attacks[name] = Attack(name, family, bad, corrupt, (corrupt.__doc__ or "").partition("\n")[0], splices)
        return corrupt

    return register


@cache
def attacks() -> dict[str, Attack]:
    """All attacks by name, in the order of MODULES regardless of import order."""
    for module in MODULES:
        importlib.import_module(module)
    return dict(sorted(_attacks.items(), key=lambda entry: MODULES.index(entry[1].corrupt.__module__)))


def families() -> dict[str, list[str]]:
    """The names of the attacks of each family."""
    names_by_family: dict[str, list[str]] = {}
    for definition in attacks().values():
        names_by_family.setdefault(definition.family, []).append(definition.name)
    return names_by_family


def random_for(seed: int, purpose: str, doc_id: str) -> Random:
    """A random generator seeded by nothing but the arguments."""
    return Random(f"{seed} {purpose} {doc_id}")


def apply_attacks(
    good: pa.Table, names: Iterable[str], per_attack: int | None, seed: int, others: Sequence[str] = ()
) -> pa.Table:
    """Corrupt documents of `good` (doc_id: string, text: large_string) with each of the attacks in `names`.

    Each attack tries documents in the order of their seeded hashes until it has corrupted `per_attack` of them (None:
    all). Passages for splices are taken from `others`.

    Out:    the columns of ATTACKED, in the order of `names`, then of hashes. The order of `good` does not matter.
    Errors: RecipeError for an unknown name.
    """
    selected = []
    for name in names:
        if name not in attacks():
            raise RecipeError(f"no attack {name!r}{did_you_mean(name, attacks())}")
        selected.append(attacks()[name])
    ids, texts = good["doc_id"].to_pylist(), good["text"]
    parts = [_attack_documents(definition, ids, texts, per_attack, seed, others) for definition in selected]
    return pa.concat_tables([ATTACKED.empty_table(), *parts])


def _attack_documents(
    definition: Attack, ids: Sequence[str], texts: pa.ChunkedArray, limit: int | None, seed: int, others: Sequence[str]
) -> pa.Table:
    """The rows of one attack, at most `limit`."""
    doc_ids: list[str] = []
    results: list[Changed] = []
    for row in _in_hash_order(ids, f"{seed} {definition.name}"):
        if limit is not None and len(results) >= limit:
            break
        text = texts[row].as_py()
        changed = definition(text, ids[row], seed, others) if text else None
        if changed is not None:
            doc_ids.append(ids[row])
            results.append(changed)
    return attacked_table(definition, doc_ids, results, RULES)


def attacked_table(definition: Attack, doc_ids: Sequence[str], results: Sequence[Changed], by: str) -> pa.Table:
    """Corrupted texts as rows of ATTACKED."""
    n = len(results)
    spans = [[dict(zip(_SPAN.names, span, strict=True)) for span in changed.spans] for changed in results]
    columns = [
        doc_ids,
        [definition.name] * n,
        [definition.family] * n,
        [definition.bad] * n,
        [c.text for c in results],
        spans,
        [by] * n,
    ]
    return pa.table(
        [pa.array(column, kind) for column, kind in zip(columns, ATTACKED.types, strict=True)], schema=ATTACKED
    )


def _in_hash_order(ids: Sequence[str], salt: str) -> Iterator[int]:
    """Row indices in the order of salted hashes of their ids, so a sample is stable when rows are added."""
    hashes = [xxhash.xxh3_64_intdigest(f"{salt} {doc_id}".encode()) for doc_id in ids]
    yield from sorted(range(len(ids)), key=lambda row: (hashes[row], ids[row]))
