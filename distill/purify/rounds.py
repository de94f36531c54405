"""Adversarial purification: a discriminator that is trained, round by round, on what fooled it.

Good texts stand against texts mined from the corpus and against good texts that were corrupted, whose label is known by
construction. It composes adversarial filtering (Zellers et al. 2018, arXiv 1808.05326) with the out-of-fold scores of
AFLite (Le Bras et al. 2020, arXiv 2002.04108). Unlike there, what no longer fools is kept: a model that sees only the
hardest examples forgets the easy families.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.distill.attacks.by_teacher import write_attacks
from curate.distill.attacks.registry import ATTACKED, apply_attacks, attacks, families
from curate.distill.purify.conformal import threshold
from curate.distill.scoring.calibration import roc_auc
from curate.distill.scoring.discriminator import Model, Settings, groups_of, score, train
from curate.distill.teacher.prompts import all_prompts
from curate.distill.teacher.protocol import Teacher
from curate.errors import InputError, RecipeError, did_you_mean
from curate.recipe.tier2 import Tier2

FOOLED = 3.0  # weight of an attack that fooled the model before, against 1 for the others
FLAT = 0.01  # change of the fool rate from which on no further round is worth its time
FALSE_DROPS = 0.02  # share of good training texts that may seem bad: an attack beyond that bound does not fool
UNSEEN = 0.6  # AUC up to which a family cannot be seen: to train on it would teach that good texts are bad
WORSE = 0.01  # fall of the AUC on texts nobody corrupted from which on a round is thrown away
LEAST = {"training": 40, "testing": 5}  # texts without which nothing can be learnt or told
MINED_TEXTS = "texts (of 200 bytes or more, the quarter with the least coarse_score)"
GOOD, MINED = "good", "mined"  # families of what is no attack

ROUNDS = pa.schema(
    [
        ("round", pa.int32()),
        ("family", pa.string()),
        ("bad", pa.bool_()),
        ("trained", pa.bool_()),
        ("held_out", pa.bool_()),
        ("made", pa.int64()),  # fresh attacks on training texts in this round
        ("fooled", pa.int64()),  # of these, that the model of the round before got wrong
        ("fool_rate", pa.float64()),
        ("tested", pa.int64()),  # attacks on texts that are never trained on
        ("auc", pa.float64()),  # of these against good texts, by the model of this round
        ("caught", pa.float64()),  # share of these beyond the bound that FALSE_DROPS sets
    ]
)
MADE = pa.schema([("round", pa.int32()), *ATTACKED, ("original", pa.large_string()), ("fooled", pa.bool_())])

Floats = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Trained:
    """What the rounds came to."""

    model: Model
    made: pa.Table  # MADE
    rounds: pa.Table  # ROUNDS; round 0 is before any attack
    facts: dict[str, Any] = field(default_factory=dict)  # for the manifest


@dataclass(frozen=True)
class Material:
    """Texts by what they are for. Training and testing ones are never the same."""

    good: pa.Table  # doc_id, text
    mined: pa.Table
    testing_good: pa.Table
    testing_mined: pa.Table

    @classmethod
    def of(cls, good: pa.Table, mined: pa.Table) -> "Material":
        """Sort texts (doc_id, text, role) by their roles.

        Errors: InputError where one role has too few.
        """
        found = {}
        kinds = (("good", good, "reference", "texts"), ("mined", mined, "input.paths", MINED_TEXTS))
        for name, table, field_name, what in kinds:
            for role, least in LEAST.items():
                texts = table.filter(pc.equal(table["role"].cast(pa.string()), role)).select(["doc_id", "text"])
                if len(texts) < least:
                    raise InputError(
                        f"{field_name}: {len(texts)} of {len(table)} {what} are for {role}, and tier2 needs {least}: "
                        "give more documents, or leave tier2 out"
                    )
                found[name, role] = texts
        return cls(*(found[name, role] for role in ("training", "testing") for name in ("good", "mined")))


@dataclass(frozen=True)
class Tested:
    """How a model does on attacks on texts that nothing was trained on."""

    auc: dict[str, float]  # by family
    caught: dict[str, float]
    real: float  # AUC of mined texts against good ones


@dataclass(frozen=True)
class Standing:
    """Where the rounds stand."""

    model: Model
    tested: Tested
    made: pa.Table  # MADE: the attacks of all rounds
    unseen: frozenset[str] = frozenset()  # families of bad texts that the model cannot see


def check_families(section: Tier2) -> None:
    """Refuse families that there are not.

    Errors: RecipeError with the name that may have been meant.
    """
    known = {*families(), *(prompt.family or "" for prompt in all_prompts().values())} - {""}
    for name, where in [
        *((name, "tier2.families") for name in section.families or ()),
        *([(section.held_out, "tier2.held_out")] if section.held_out else []),
    ]:
        if name not in known:
            raise RecipeError(f"{where}: no family {name!r}{did_you_mean(name, known)}")
    if section.families and set(section.families) <= {section.held_out}:
        raise RecipeError(f"tier2.families: {section.held_out} alone is held out; name others, or set held_out: null")


def purify(
    good: pa.Table, mined: pa.Table, section: Tier2, teacher: Teacher | None, seed: int,
    tell: Callable[[str], None] = lambda step: None,
) -> Trained:  # fmt: skip
    """Train a discriminator of good texts (doc_id, text, role) against mined and corrupted ones.

    A teacher that is None writes nothing. `tell` is told which step begins.

    Errors: InputError where there are too few texts.
    """
    material = Material.of(good, mined)
    names = [n for n, one in attacks().items() if section.families is None or one.family in section.families]
    tests = apply_attacks(
        material.testing_good, names, section.attacks, seed=seed, others=material.testing_mined["text"].to_pylist()
    )
    tell("training, before any attack")
    model = _train(material, MADE.empty_table(), frozenset(), seed)
    now = Standing(model, _test(model, material, tests), MADE.empty_table())
    rows = _rows(0, MADE.empty_table(), now, tests, section)
    rates: list[float] = []
    written: Counter[str] = Counter()
    stopped = "all rounds were made"
    for number in range(1, section.rounds + 1):
        tell(f"round {number}: attacking")
        fresh, counts = _attacked(material, names, section, teacher, seed, number)
        fresh = _judged(fresh, material, now.model, number)
        tell(f"round {number}: training")
        found = _next(now, fresh, material, tests, seed)
        if found.tested.real < now.tested.real - WORSE:
            stopped = f"round {number} was thrown away: mined texts were told from good ones less well than before it"
            break
        now = found
        written.update(counts)
        rows += _rows(number, fresh, now, tests, section)
        rates.append(_fool_rate(fresh, now.unseen))
        if len(rates) > 1 and abs(rates[-1] - rates[-2]) < FLAT:
            stopped = f"after round {number} the fool rate no longer changed"
            break
    facts = {
        "stopped": stopped,
        "good": len(material.good),
        "mined": len(material.mined),
        "attacks": sum(family not in now.unseen for family in now.made["family"].to_pylist()),
        "unseen_families": sorted(now.unseen),
        "auc_of_mined": round(now.tested.real, 6),
        "written": dict(written),
    }
    return Trained(now.model, now.made, pa.Table.from_pylist(rows, ROUNDS), facts)


def _attacked(
    material: Material, names: Sequence[str], section: Tier2, teacher: Teacher | None, seed: int, number: int
) -> tuple[pa.Table, Counter[str]]:
    """The attacks of a round on the good training texts, by rules and by a teacher; none of the held-out family."""
    own = _seed_of(seed, number)
    trained = [name for name in names if attacks()[name].family != section.held_out]
    fresh = apply_attacks(material.good, trained, section.attacks, seed=own, others=material.mined["text"].to_pylist())
    texts = dict(zip(material.good["doc_id"].to_pylist(), material.good["text"].to_pylist(), strict=True))
    fresh = fresh.append_column("original", pa.array(map(texts.get, fresh["doc_id"].to_pylist()), pa.large_string()))
    if teacher is None:
        return fresh, Counter()
    more, counts = write_attacks(teacher, material.good, section, own)
    return pa.concat_tables([fresh, more]), counts


def _next(now: Standing, fresh: pa.Table, material: Material, tests: pa.Table, seed: int) -> Standing:
    """The model after a round; families that it cannot see are taken out of its training."""
    made = pa.concat_tables([now.made, fresh])
    unseen = now.unseen
    while True:
        model = _train(material, made, unseen, seed)
        tested = _test(model, material, tests)
        bad = set(tests.filter(tests["bad"])["family"].to_pylist()) & set(made["family"].to_pylist())
        more = {name for name in bad - unseen if tested.auc[name] <= UNSEEN}
        if not more:
            return Standing(model, tested, made, unseen)
        unseen = unseen | more


def _seed_of(seed: int, number: int) -> int:
    """The seed of a round, so that each attacks other texts in other ways."""
    return seed * 1009 + number


def _train(material: Material, made: pa.Table, unseen: frozenset[str], seed: int) -> Model:
    """A model of good and mined texts and the attacks but for those of families that it cannot see.

    Attacks that fooled weigh more. Mined texts keep at least half of the weight of all bad ones, and good texts that of
    all good ones: too many attacks count for less each.
    """
    made = made.filter(pa.array([family not in unseen for family in made["family"].to_pylist()], pa.bool_()))
    sides = {GOOD: material.good, MINED: material.mined}
    texts = pa.concat_arrays([*(_chunk(table["text"]) for table in sides.values()), _chunk(made["text"])])
    sizes = [len(table) for table in sides.values()]
    bad = np.r_[np.repeat([False, True], sizes), made["bad"].to_numpy()]
    weights = np.r_[np.ones(sum(sizes)), attack_weights(made)]
    attacked = np.r_[np.zeros(sum(sizes), bool), np.ones(len(made), bool)]
    for side in (False, True):
        own, theirs = (bad == side) & ~attacked, (bad == side) & attacked
        if theirs.any():
            weights[theirs] *= min(1.0, weights[own].sum() / weights[theirs].sum())
    groups = np.r_[*(groups_of(_chunk(table["text"])) for table in sides.values()), _groups(made, material)]
    names = [*(name for name, table in sides.items() for _ in range(len(table))), *made["family"].to_pylist()]
    return train(texts, bad, weights, groups, names, Settings(), seed)


def attack_weights(made: pa.Table) -> Floats:
    """What each attack counts: one that fooled more than one that did not, and each family as much as any other."""
    _, own = np.unique(np.array(made["family"].to_pylist(), object).astype(str), return_inverse=True)
    equal = len(made) / np.maximum(np.bincount(own)[own] * (own.max(initial=0) + 1), 1)
    counted: Floats = np.where(made["fooled"].to_numpy(), FOOLED, 1.0) * equal
    return counted


def _groups(made: pa.Table, material: Material) -> Hashes:
    """The groups of attacks: those of the whole good texts that they were made of; a teacher saw but the beginning."""
    whole = dict(zip(material.good["doc_id"].to_pylist(), material.good["text"].to_pylist(), strict=True))
    return groups_of(pa.array(map(whole.get, made["doc_id"].to_pylist()), pa.large_string()))


def _chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks().cast(pa.large_string())


def _judged(fresh: pa.Table, material: Material, model: Model, number: int) -> pa.Table:
    """Fresh attacks, and whether they fool a model that has not seen them."""
    p = scores(model, _chunk(fresh["text"]), _groups(fresh, material))
    bound = _bound(model, material.good)
    fooled = np.where(fresh["bad"].to_numpy(), p <= bound, p > bound)
    fresh = fresh.add_column(0, "round", pa.array(np.full(len(fresh), number, np.int32)))
    return fresh.append_column("fooled", pa.array(fooled)).select(MADE.names).cast(MADE)


def scores(model: Model, texts: pa.Array, groups: Hashes | None = None) -> Floats:
    """p_bad of texts, of attacks with the groups of their originals; of a text that says nothing, 0."""
    return np.asarray(pc.fill_null(score(model, texts, groups), 0).to_numpy(), np.float64)


def _bound(model: Model, good: pa.Table) -> float:
    """The p_bad beyond which documents would be dropped, by good texts that are scored out of their folds."""
    found = threshold(scores(model, _chunk(good["text"])), FALSE_DROPS)
    return 1.0 if found is None else found


def _fool_rate(fresh: pa.Table, unseen: frozenset[str]) -> float:
    """The share of attacks that fool, as the mean of the families of bad texts that can be seen at all."""
    table = fresh.filter(fresh["bad"]).group_by("family").aggregate([("fooled", "mean")])
    rates = [row["fooled_mean"] for row in table.to_pylist() if row["family"] not in unseen]
    return float(np.mean(rates)) if rates else 0.0


def _test(model: Model, material: Material, tests: pa.Table) -> Tested:
    """Test a model on attacks on texts that nothing was trained on."""
    good = scores(model, _chunk(material.testing_good["text"]))
    bound = _bound(model, material.good)
    p, family = scores(model, _chunk(tests["text"])), np.array(tests["family"].to_pylist(), object)
    found = {name: p[family == name] for name in sorted(set(family))}
    return Tested(
        {name: _auc(good, p) for name, p in found.items()},
        {name: float(np.mean(p > bound)) for name, p in found.items()},
        _auc(good, scores(model, _chunk(material.testing_mined["text"]))),
    )


def _auc(good: Floats, bad: Floats) -> float:
    """The probability that a bad text scores higher than a good one, ties counting half."""
    return roc_auc(np.r_[good, bad], np.r_[np.zeros(len(good), bool), np.ones(len(bad), bool)])


def _rows(number: int, fresh: pa.Table, now: Standing, tests: pa.Table, section: Tier2) -> list[dict[str, Any]]:
    """The rows of ROUNDS of one round."""
    bad = dict(zip(tests["family"].to_pylist(), tests["bad"].to_pylist(), strict=True))
    bad |= dict(zip(fresh["family"].to_pylist(), fresh["bad"].to_pylist(), strict=True))
    rows = []
    for name in sorted(bad):
        of_family = fresh.filter(pc.equal(fresh["family"], name))
        made, fooled = len(of_family), int(np.sum(of_family["fooled"].to_numpy()))
        rows.append({
            "round": number, "family": name, "bad": bad[name], "trained": made > 0 and name not in now.unseen,
            "held_out": name == section.held_out, "made": made,
            "fooled": fooled, "fool_rate": fooled / made if made else None,
            "tested": pc.sum(pc.equal(tests["family"], name)).as_py() or 0,
            "auc": now.tested.auc.get(name), "caught": now.tested.caught.get(name),
        })  # fmt: skip
    return rows
