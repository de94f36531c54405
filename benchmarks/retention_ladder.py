"""Measure one selection by n-grams and by decoders of 1.3 and 10 million weights, and how far these agree on arms.

Usage: python benchmarks/retention_ladder.py FOLDER [SEED [POOL [MINUTES]]]

FOLDER has pools as quality_pools.py writes them; pool 1 of seed 2 is measured by default. All arms have SHARE of the
pool's tokens, and all models of a kind are trained for as many steps. Decoders need torch; without it only n-grams are
measured. Models are scored on the first CHARACTERS of at most EACH held-out texts of a kind.

Decoders are trained an arm at a time until MINUTES (default: 60) are over; two kinds of models are compared on the arms
that both have. A second call goes on there.
"""

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from purify import tell
from retention_arms import OpenPool, interval, open_pool
from retention_selections import PLANTED, VARIANTS, Draws, planted_alone, selections

from curate.distill.evaluate.agreement import agreement
from curate.distill.evaluate.heldout import read_heldout
from curate.distill.evaluate.measure import RANDOM, TOKENIZER, VOCABULARY, Arms, Proxy, measure_arms, random_draw
from curate.distill.evaluate.proxy_ngram import NgramProxy
from curate.distill.evaluate.proxy_transformer import SIZES, TransformerProxy
from curate.distill.evaluate.retention import FULL, OURS, ArmRetention, HeldoutDomains, ModelBits, retention
from curate.distill.evaluate.tokens import encode
from curate.recipe.evaluate import Evaluate

SHARE = 0.15
EACH, CHARACTERS = 20, 2000
STEPS = {"decoder_1m": (300, 3e-3), "decoder_10m": (100, 1e-3)}  # and the highest learning rate
FIRST = (RANDOM, OURS, "lowest perplexity", "classifier only", "rules only")  # the order in which arms are trained


def ladder() -> list[Proxy]:
    """N-grams, and the decoders where torch is installed; 2,048 tokens a step."""
    decoders = [
        TransformerProxy(
            name=name, **SIZES[name], context=128, batch=16, steps=steps, learning_rate=rate, budget="compute"
        )
        for name, (steps, rate) in STEPS.items()
    ]
    return [NgramProxy(), *(decoders if find_spec("torch") else [])]


def with_short_texts(pool: OpenPool) -> OpenPool:
    """The pool with fewer and shorter held-out texts."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(cache_of(pool) / TOKENIZER))
    files = [str(path) for path in sorted((pool.folder / "heldout").glob("*.parquet"))]
    table = read_heldout(Evaluate(heldout=files, most=EACH), "text", 1)
    texts = encode(tokenizer, pc.utf8_slice_codeunits(table["text"].combine_chunks(), 0, CHARACTERS))
    domains = HeldoutDomains(table["domain"].to_pylist(), texts.n_bytes)
    return replace(pool, corpus=replace(pool.corpus, heldout=texts), domains=domains)


def cache_of(pool: OpenPool) -> Path:
    """Where tokens and models of a pool are kept."""
    return pool.folder / "measured" / str(VOCABULARY)


def arms_of(pool: OpenPool, folder: Path, seed: int) -> Arms:
    """All arms at SHARE, whose control is one draw of random documents with the tokens of ours."""
    chosen: dict[str, Draws] = {
        arm: by_share[SHARE] for arm, by_share in selections(pool, [SHARE], folder, seed, VARIANTS).items()
    }
    chosen[PLANTED] = [planted_alone(pool, SHARE, seed)]
    arms = {arm: list(draws)[:1] for arm, draws in chosen.items()}
    everything = np.arange(len(pool.doc_ids))
    size = int(pool.corpus.pool.n_tokens[arms[OURS][0]].sum())
    arms |= {FULL: [everything], RANDOM: [random_draw(pool.corpus.pool, pool.keys, everything, size, seed, 0)]}
    return Arms(arms, {arm: RANDOM for arm in arms if arm != FULL})


def measured(pool: OpenPool, arms: Arms, proxy: Proxy, deadline: float) -> list[ModelBits]:
    """Models of all arms, or of those that there is time for."""
    models: dict[str, ModelBits] = {}
    order = [*FIRST, *(arm for arm in arms.draws if arm not in (*FIRST, FULL))]
    for arm in (arm for arm in order if arm in arms.draws):
        pair = Arms({name: arms.draws[name] for name in (FULL, arm)}, arms.controls)
        models |= {model.arm: model for model in measure_arms(pool.corpus, pair, proxy, cache_of(pool), 1)}
        if time.monotonic() > deadline:
            break
    return list(models.values())


def arm_rows(rows: Mapping[str, Sequence[ArmRetention]]) -> Iterable[Sequence[object]]:
    """R and G of each arm by each kind of model."""
    yield ("arm", "% tokens", *(f"{kind}: {figure}" for kind in rows for figure in ("bits per byte", "R", "G", "95 %")))
    by_kind = {kind: {row.arm: row for row in of if row.domain is None} for kind, of in rows.items()}
    first = next(iter(by_kind.values()))
    full = first[FULL].tokens
    for arm in sorted(first, key=lambda arm: first[arm].bits_per_byte):
        cells: list[str] = []
        for kind in by_kind.values():
            row = kind.get(arm)
            figures = ("", "", "", "") if row is None else (
                f"{row.bits_per_byte:.4f}", f"{row.retained:.3f}",
                "" if row.gap_closed is None else f"{row.gap_closed:.2f}", interval(row.gap_low, row.gap_high),
            )  # fmt: skip
            cells += figures
        yield arm, f"{first[arm].tokens / full:.1%}", *cells


def agreement_rows(pool: OpenPool, models: Sequence[ModelBits], arms: Arms) -> Iterable[Sequence[object]]:
    """How far each two kinds of models agree on the arms that both have."""
    yield "models", "arms", "rank correlation", "95 %", "pairs in the same order"
    for pair in combinations(dict.fromkeys(model.proxy for model in models), 2):
        shared = set.intersection(*({model.arm for model in models if model.proxy == kind} for kind in pair))
        both = [model for model in models if model.proxy in pair and model.arm in shared]
        for row in agreement(both, arms.controls, pool.domains):
            yield (" and ".join(row["models"]), row["arms"], f"{row['rank_correlation']:.2f}",
                   f"{row['low']:.2f} to {row['high']:.2f}", f"{row['same_order']} of {row['pairs']}")  # fmt: skip


def main(folder: Path, seed: int, name: str, minutes: float) -> None:
    """Print the tables."""
    deadline = time.monotonic() + 60 * minutes
    pool = with_short_texts(open_pool(folder / f"seed-{seed}" / name))
    arms = arms_of(pool, folder / f"seed-{seed}" / f"runs-{name}", seed)
    rows, models = {}, []
    for proxy in ladder():
        started = time.process_time()
        of_kind = measured(pool, arms, proxy, deadline)
        models += of_kind
        print(f"{proxy.about(VOCABULARY)}: {len(of_kind)} of {len(arms.draws)} arms, "
              f"{time.process_time() - started:.0f} CPU seconds", flush=True)  # fmt: skip
        rows[proxy.name] = retention(of_kind, arms.controls, pool.domains, seed)
    tell(f"Pool {name}, seed {seed}, {SHARE:.0%} of the tokens", arm_rows(rows))
    tell("Agreement", agreement_rows(pool, models, arms))


if __name__ == "__main__":
    given = sys.argv[1:]
    main(
        Path(given[0]), int(given[1]) if len(given) > 1 else 2, given[2] if len(given) > 2 else "1",
        float(given[3]) if len(given) > 3 else 60,
    )  # fmt: skip
