"""Adversarial purification: a discriminator trained, round by round, on the attacks that fooled it.

Good texts are trained against corrupted good texts, whose label is known by construction, and against texts mined from
the corpus, which a model of the attacks alone selects. It combines adversarial filtering (Zellers et al. 2018, arXiv
1808.05326) with the out-of-fold scores of AFLite (Le Bras et al. 2020, arXiv 2002.04108). Unlike there, attacks that no
longer fool are kept: a model that sees only the hardest examples forgets the easy families.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.distill.attacks.by_teacher import write_attacks
from curate.distill.attacks.registry import ATTACKED, apply_attacks, attacks, families
from curate.distill.purify.conformal import threshold
from curate.distill.purify.selection import LEAST_MINED, MiningFacts, select_bad
from curate.distill.scoring.calibration import roc_auc
from curate.distill.scoring.discriminator import Model, Settings, groups_of, score, train
from curate.distill.teacher.prompts import all_prompts
from curate.distill.teacher.protocol import Teacher
from curate.errors import InputError, RecipeError, did_you_mean
from curate.recipe.tier2 import Tier2

FOOLED = 3.0  # weight of an attack that fooled the previous model, against 1 for the others
FLAT = 0.01  # change of the fool rate below which rounds stop
FALSE_DROPS = 0.02  # share of good training texts above the bound beyond which a text counts as bad
UNSEEN = 0.6  # AUC up to which a family is invisible: training on it would teach that good texts are bad
WORSE = 0.01  # fall of the AUC of mined texts from which on a round is discarded
LEAST = {"training": LEAST_MINED, "testing": 5}  # texts per role
MINED_TEXTS = "texts (of 200 bytes or more, the quarter with the least coarse_score)"
GOOD, MINED = "good", "mined"  # families of texts that are no attacks

ROUNDS = pa.schema(
    [
        ("round", pa.int32()),
        ("family", pa.string()),
        ("bad", pa.bool_()),
        ("trained", pa.bool_()),
        ("held_out", pa.bool_()),
        ("made", pa.int64()),  # new attacks on training texts in this round
        ("fooled", pa.int64()),  # of these, misjudged by the model of the previous round
        ("fool_rate", pa.float64()),
        ("tested", pa.int64()),  # attacks on test texts
        ("auc", pa.float64()),  # of these against good texts, by the model of this round
        ("caught", pa.float64()),  # share of these above the bound of FALSE_DROPS
    ]
)
ATTACK_ROWS = pa.schema([("round", pa.int32()), *ATTACKED, ("original", pa.large_string()), ("fooled", pa.bool_())])

Floats = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundsFacts:
    """What the rounds trained on and why they ended, for the manifest."""

    stopped: str
    good: int
    mined: int
    attacks: int
    unseen_families: list[str]
    auc_of_mined: float | None  # None where none were mined
    mining: MiningFacts
    written: dict[str, int]  # requests to the teacher, by outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Purification:
    """The result of the rounds."""

    model: Model
    attacks: pa.Table  # ATTACK_ROWS
    rounds: pa.Table  # ROUNDS; round 0 is before any attack
    facts: RoundsFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Texts by role; none is both trained on and tested on."""

    good: pa.Table  # doc_id, text
    mined: pa.Table
    testing_good: pa.Table
    testing_mined: pa.Table
    mined_bad: float = 1.0  # estimated share of the mined ones that is bad

    @classmethod
    def of(cls, good: pa.Table, mined: pa.Table) -> "Material":
        """Split texts (doc_id, text, role) by role.

        Errors: InputError where a role has too few.
        """
        return cls(
            good=_of_role(good, "training", "reference", "texts"),
            mined=_of_role(mined, "training", "input.paths", MINED_TEXTS),
            testing_good=_of_role(good, "testing", "reference", "texts"),
            testing_mined=_of_role(mined, "testing", "input.paths", MINED_TEXTS),
        )

    def with_mined(self, selected: pa.Table, mining: MiningFacts) -> "Material":
        """Replace the mined texts by selected ones (doc_id, text, role); by none where too few are bad."""
        by_role = {role: selected.filter(pc.equal(selected["role"], role)).select(["doc_id", "text"]) for role in LEAST}
        mined, testing = by_role["training"], by_role["testing"]
        if len(mined) < LEAST["training"] or not mining.selected_bad:
            return replace(self, mined=mined.slice(0, 0), testing_mined=testing.slice(0, 0))
        tested = testing if len(testing) >= LEAST["testing"] else testing.slice(0, 0)
        return replace(self, mined=mined, testing_mined=tested, mined_bad=mining.selected_bad)


def _of_role(table: pa.Table, role: str, field: str, noun: str) -> pa.Table:
    texts = table.filter(pc.equal(table["role"].cast(pa.string()), role)).select(["doc_id", "text"])
    if len(texts) < LEAST[role]:
        raise InputError(
            f"{field}: {len(texts)} of {len(table)} {noun} are for {role}, and tier2 needs {LEAST[role]}: "
            "give more documents, or leave tier2 out"
        )
    return texts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setup:
    """What is the same in all rounds."""

    texts: Material
    attack_names: Sequence[str]
    passages: Sequence[str]  # of the corpus, for attacks that splice
    tests: pa.Table  # attacks on test texts
    section: Tier2
    teacher: Teacher | None
    seed: int


@dataclass(frozen=True, slots=True)
class _TestResult:
    """How well a model separates test texts, on which nothing is trained."""

    auc: dict[str, float]  # of attacks against good texts, by family
    caught: dict[str, float]
    auc_of_mined: float | None  # of mined texts against good ones; None where none were mined


@dataclass(frozen=True, slots=True)
class _State:
    """The model after a round, and the attacks so far."""

    model: Model
    test: _TestResult
    attacks: pa.Table  # ATTACK_ROWS, of all rounds
    unseen: frozenset[str] = frozenset()  # families of bad texts that are invisible to the model


def check_families(section: Tier2) -> None:
    """Refuse unknown families.

    Errors: RecipeError with the name that may have been meant.
    """
    known_families = {*families(), *(prompt.family or "" for prompt in all_prompts().values())} - {""}
    named = [("tier2.families", name) for name in section.families or ()]
    named += [("tier2.held_out", section.held_out)] if section.held_out else []
    for field, name in named:
        if name not in known_families:
            raise RecipeError(f"{field}: no family {name!r}{did_you_mean(name, known_families)}")
    if section.families and set(section.families) <= {section.held_out}:
        raise RecipeError(f"tier2.families: {section.held_out} alone is held out; name others, or set held_out: null")


def purify(
    good: pa.Table,
    candidates: pa.Table,
    section: Tier2,
    teacher: Teacher | None,
    seed: int,
    begin: Callable[[str], None] = lambda step: None,
) -> Purification:
    """Train a discriminator of good texts (doc_id, text, role) against mined and corrupted ones.

    `candidates` also have `uniform`, `worst` and `known` (training.py). Without a teacher all attacks are by rules.

    Errors: InputError where there are too few texts.
    """
    setup = _setup(Material.of(good, _worst(candidates)), section, teacher, seed)
    begin("attacking, to mine by the attacks")
    made, counts = _attack(setup, 1)
    setup, state, mining = _mine(setup, candidates, made, begin)
    rows = _rows(0, ATTACK_ROWS.empty_table(), state, setup)
    rates: list[float] = []
    written: Counter[str] = Counter()
    stopped = "all rounds were made"
    for number in range(1, section.rounds + 1):
        if number > 1:
            begin(f"round {number}: attacking")
            made, counts = _attack(setup, number)
        begin(f"round {number}: training")
        attacks_of_round = _with_fooled(made, setup.texts, state.model, number)
        following = _next_state(pa.concat_tables([state.attacks, attacks_of_round]), state.unseen, setup)
        if _is_worse(following.test, state.test):
            stopped = f"round {number} was thrown away: mined texts were told from good ones less well than before it"
            break
        state = following
        written.update(counts)
        rows += _rows(number, attacks_of_round, state, setup)
        rates.append(_fool_rate(attacks_of_round, state.unseen))
        if len(rates) > 1 and abs(rates[-1] - rates[-2]) < FLAT:
            stopped = f"after round {number} the fool rate no longer changed"
            break
    return _result(state, setup, rows, stopped, written, mining)


def _worst(candidates: pa.Table) -> pa.Table:
    """The candidates with the lowest coarse_score that are not good texts too."""
    return candidates.filter(pc.and_(candidates["worst"], pc.invert(candidates["known"])))


def _mine(
    setup: _Setup, candidates: pa.Table, made: pa.Table, begin: Callable[[str], None]
) -> tuple[_Setup, _State, MiningFacts]:
    """Select the mined texts by a model of attacks alone, and train the model of round 0 on them.

    Where too few are bad, none are mined, and round 0 is the model of attacks. Without attacks that a model can see,
    mined texts are those with the lowest coarse_score.
    """
    begin("training on attacks alone")
    seeded = _train_on_attacks(setup, made)
    unseen: frozenset[str] = frozenset()
    if seeded is None:
        mining = MiningFacts(by="coarse_score", candidates=len(candidates), selected=len(setup.texts.mined))
    else:
        p_bad = scores(seeded.model, _chunk(candidates["text"]))
        good_p_bad = scores(seeded.model, _chunk(setup.texts.good["text"]))
        selected, mining = select_bad(candidates, p_bad, good_p_bad, setup.section.mined)
        setup, unseen = replace(setup, texts=setup.texts.with_mined(selected, mining)), seeded.unseen
    begin("training, before any attack")
    empty = ATTACK_ROWS.empty_table()
    if seeded and not len(setup.texts.mined):
        model = seeded.model
    else:
        model = _train(setup.texts, empty, frozenset(), setup.seed)
    return setup, _State(model, _test(model, setup), empty, unseen), mining


def _train_on_attacks(setup: _Setup, made: pa.Table) -> _State | None:
    """Train on good texts and attacks alone; None without an attack that such a model can see."""
    if not pc.any(made["bad"]).as_py():
        return None
    texts = setup.texts
    none = texts.mined.slice(0, 0)
    alone = replace(setup, texts=replace(texts, mined=none, testing_mined=none))
    state = _next_state(_attack_rows(made, np.zeros(len(made), bool), 1), frozenset(), alone)
    return state if _visible(state, setup) else None


def _visible(state: _State, setup: _Setup) -> set[str]:
    """The tested families of bad texts that the model of a state sees."""
    tested_bad = set(setup.tests.filter(setup.tests["bad"])["family"].to_pylist())
    trained = set(state.attacks["family"].to_pylist()) - state.unseen
    return {name for name in tested_bad & trained if state.test.auc[name] > UNSEEN}


def _is_worse(after: _TestResult, before: _TestResult) -> bool:
    """Whether a model separates mined texts worse than the model before it; False without mined texts."""
    if after.auc_of_mined is None or before.auc_of_mined is None:
        return False
    return after.auc_of_mined < before.auc_of_mined - WORSE


def _setup(texts: Material, section: Tier2, teacher: Teacher | None, seed: int) -> _Setup:
    names = [n for n, attack in attacks().items() if section.families is None or attack.family in section.families]
    others = texts.testing_mined["text"].to_pylist()
    return _Setup(
        texts=texts,
        attack_names=names,
        passages=texts.mined["text"].to_pylist(),
        tests=apply_attacks(texts.testing_good, names, section.attacks, seed=seed, others=others),
        section=section,
        teacher=teacher,
        seed=seed,
    )


def _result(
    state: _State,
    setup: _Setup,
    rows: Sequence[dict[str, object]],
    stopped: str,
    written: Counter[str],
    mining: MiningFacts,
) -> Purification:
    facts = RoundsFacts(
        stopped=stopped,
        good=len(setup.texts.good),
        mined=len(setup.texts.mined),
        attacks=sum(family not in state.unseen for family in state.attacks["family"].to_pylist()),
        unseen_families=sorted(state.unseen),
        auc_of_mined=None if state.test.auc_of_mined is None else round(state.test.auc_of_mined, 6),
        mining=mining,
        written=dict(written),
    )
    table = pa.Table.from_pylist(rows, ROUNDS)
    return Purification(model=state.model, attacks=state.attacks, rounds=table, facts=facts)


def _attack(setup: _Setup, number: int) -> tuple[pa.Table, Counter[str]]:
    """The attacks of a round (ATTACKED and the original), by rules and by a teacher; none of the held-out family.

    Also returns the counts of requests to the teacher.
    """
    good, section, seed = setup.texts.good, setup.section, _seed_of(setup.seed, number)
    names = [name for name in setup.attack_names if attacks()[name].family != section.held_out]
    attacked = apply_attacks(good, names, section.attacks, seed=seed, others=setup.passages)
    texts = dict(zip(good["doc_id"].to_pylist(), good["text"].to_pylist(), strict=True))
    originals = pa.array(map(texts.get, attacked["doc_id"].to_pylist()), pa.large_string())
    attacked = attacked.append_column("original", originals)
    counts: Counter[str] = Counter()
    if setup.teacher is not None:
        by_teacher, counts = write_attacks(setup.teacher, good, section, seed)
        attacked = pa.concat_tables([attacked, by_teacher])
    return attacked, counts


def _next_state(attacks_so_far: pa.Table, unseen: frozenset[str], setup: _Setup) -> _State:
    """Train the model of a round; families that are invisible to it are removed from training until none is left.

    Without mined texts, some family always remains.
    """
    while True:
        model = _train(setup.texts, attacks_so_far, unseen, setup.seed)
        state = _State(model, _test(model, setup), attacks_so_far, unseen)
        tested_bad = set(setup.tests.filter(setup.tests["bad"])["family"].to_pylist())
        trained = set(attacks_so_far["family"].to_pylist()) - unseen
        visible = _visible(state, setup)
        newly_unseen = (tested_bad & trained) - visible
        if not newly_unseen or not (visible or len(setup.texts.mined)):
            return state
        unseen = unseen | newly_unseen


def _seed_of(seed: int, number: int) -> int:
    """The seed of a round, so that rounds attack different texts in different ways."""
    return seed * 1009 + number


def _train(texts: Material, attacks_so_far: pa.Table, unseen: frozenset[str], seed: int) -> Model:
    """Train on good and mined texts and on the attacks of visible families.

    Attacks that fooled weigh more. Among good texts those that are no attacks keep at least half of the weight: where
    there are too many attacks, each counts less. Among bad texts so do the mined ones, if all of them are bad; their
    half shrinks with the share of them that is estimated to be bad.
    """
    is_visible = [family not in unseen for family in attacks_so_far["family"].to_pylist()]
    attacked = attacks_so_far.filter(pa.array(is_visible, pa.bool_()))
    sources = {GOOD: texts.good, MINED: texts.mined}
    sizes = [len(table) for table in sources.values()]
    bad = np.r_[np.repeat([False, True], sizes), attacked["bad"].to_numpy()]
    weights = np.r_[np.ones(sizes[0]), np.full(sizes[1], texts.mined_bad), attack_weights(attacked)]
    is_attack = np.r_[np.zeros(sum(sizes), bool), np.ones(len(attacked), bool)]
    for side in (False, True):
        real, fake = (bad == side) & ~is_attack, (bad == side) & is_attack
        if real.any() and fake.any():
            kept = texts.mined_bad / 2 if side else 0.5
            weights[fake] *= min(1.0, weights[real].sum() * (1 - kept) / kept / weights[fake].sum())
    names = [*(name for name, table in sources.items() for _ in range(len(table))), *attacked["family"].to_pylist()]
    return train(
        pa.concat_arrays([*(_chunk(table["text"]) for table in sources.values()), _chunk(attacked["text"])]),
        bad,
        weights=weights,
        groups=np.r_[*(groups_of(_chunk(table["text"])) for table in sources.values()), _groups(attacked, texts)],
        families=names,
        settings=Settings(),
        seed=seed,
    )


def attack_weights(attacked: pa.Table) -> Floats:
    """Weights of attacks: an attack that fooled counts more, and each family as much as any other."""
    _, family = np.unique(np.array(attacked["family"].to_pylist(), object).astype(str), return_inverse=True)
    equal = len(attacked) / np.maximum(np.bincount(family)[family] * (family.max(initial=0) + 1), 1)
    weights: Floats = np.where(attacked["fooled"].to_numpy(), FOOLED, 1.0) * equal
    return weights


def _groups(attacked: pa.Table, texts: Material) -> Hashes:
    """The groups of attacks: those of the original texts, which a teacher sees only the beginning of."""
    originals = dict(zip(texts.good["doc_id"].to_pylist(), texts.good["text"].to_pylist(), strict=True))
    return groups_of(pa.array(map(originals.get, attacked["doc_id"].to_pylist()), pa.large_string()))


def _chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks().cast(pa.large_string())


def _with_fooled(attacked: pa.Table, texts: Material, model: Model, number: int) -> pa.Table:
    """New attacks as ATTACK_ROWS: whether each fools a model that has not seen it."""
    p_bad = scores(model, _chunk(attacked["text"]), _groups(attacked, texts))
    bound = _bound(model, texts.good)
    return _attack_rows(attacked, np.where(attacked["bad"].to_numpy(), p_bad <= bound, p_bad > bound), number)


def _attack_rows(attacked: pa.Table, fooled: npt.NDArray[np.bool_], number: int) -> pa.Table:
    rows = attacked.add_column(0, "round", pa.array(np.full(len(attacked), number, np.int32)))
    return rows.append_column("fooled", pa.array(fooled)).select(ATTACK_ROWS.names).cast(ATTACK_ROWS)


def scores(model: Model, texts: pa.Array, groups: Hashes | None = None) -> Floats:
    """p_bad of texts; 0 for blank ones. Attacks have the groups of their originals."""
    return np.asarray(pc.fill_null(score(model, texts, groups), 0).to_numpy(), np.float64)


def _bound(model: Model, good: pa.Table) -> float:
    """The p_bad above which documents would be dropped, by out-of-fold scores of good texts."""
    bound = threshold(scores(model, _chunk(good["text"])), FALSE_DROPS)
    return 1.0 if bound is None else bound


def _fool_rate(attacked: pa.Table, unseen: frozenset[str]) -> float:
    """The share of attacks that fool: the mean over the visible families of bad texts."""
    table = attacked.filter(attacked["bad"]).group_by("family").aggregate([("fooled", "mean")])
    rates = [row["fooled_mean"] for row in table.to_pylist() if row["family"] not in unseen]
    return float(np.mean(rates)) if rates else 0.0


def _test(model: Model, setup: _Setup) -> _TestResult:
    testing = setup.texts.testing_mined
    good = scores(model, _chunk(setup.texts.testing_good["text"]))
    bound = _bound(model, setup.texts.good)
    p_bad = scores(model, _chunk(setup.tests["text"]))
    family = np.array(setup.tests["family"].to_pylist(), object)
    by_family = {name: p_bad[family == name] for name in sorted(set(family))}
    return _TestResult(
        auc={name: _auc(good, values) for name, values in by_family.items()},
        caught={name: float(np.mean(values > bound)) for name, values in by_family.items()},
        auc_of_mined=_auc(good, scores(model, _chunk(mined))) if len(mined := testing["text"]) else None,
    )


def _auc(good: Floats, bad: Floats) -> float:
    """The probability that a bad text scores higher than a good one, ties counting half."""
    return roc_auc(np.r_[good, bad], np.r_[np.zeros(len(good), bool), np.ones(len(bad), bool)])


def _rows(number: int, attacked: pa.Table, state: _State, setup: _Setup) -> list[dict[str, object]]:
    """The rows of ROUNDS of one round."""
    tests = setup.tests
    bad = dict(zip(tests["family"].to_pylist(), tests["bad"].to_pylist(), strict=True))
    bad |= dict(zip(attacked["family"].to_pylist(), attacked["bad"].to_pylist(), strict=True))
    rows: list[dict[str, object]] = []
    for name in sorted(bad):
        of_family = attacked.filter(pc.equal(attacked["family"], name))
        attack_count, fooled = len(of_family), int(np.sum(of_family["fooled"].to_numpy()))
        rows.append(
            {
                "round": number,
                "family": name,
                "bad": bad[name],
                "trained": attack_count > 0 and name not in state.unseen,
                "held_out": name == setup.section.held_out,
                "made": attack_count,
                "fooled": fooled,
                "fool_rate": fooled / attack_count if attack_count else None,
                "tested": pc.sum(pc.equal(tests["family"], name)).as_py() or 0,
                "auc": state.test.auc.get(name),
                "caught": state.test.caught.get(name),
            }
        )
    return rows
