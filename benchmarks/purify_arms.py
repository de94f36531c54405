"""Tier 1 against tier 1 and 2 on one pool: what each keeps, and what a language model learns from it."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from purify_corpus import PLANTED, PROXY, Material

from curate.filters.language.model import LanguageModel, form_of, identity_of, scores
from curate.filters.language.train import Training, train
from curate.ledger.run import connect
from curate.sql import literal

TIER1 = ["gopher", "c4", "fineweb"]
ORDER, MEMORY = 4, 2_000_000_000
DRAWS = 3
Tell = Callable[[str, Iterable[Sequence[object]]], None]


def tell_arms(
    material: Material, folder: Path, trained: Path, half: str, carry_out: Callable[..., Path], tell: Tell
) -> None:
    """Print what the arms keep of a pool of web pages, mail, scans and good documents, and what it is worth."""
    pool, held = folder / f"pool-{half}.parquet", folder / "proxy.parquet"
    good = "part = 'good' AND strlen(text) >= 200"
    for path, condition in (
        (pool, f"part NOT IN ('edu', 'good') AND half = {literal(half)} OR {good} AND place < {PLANTED}"),
        (held, f"{good} AND place BETWEEN {PLANTED} AND {PROXY}"),
    ):
        if not path.exists():
            pq.write_table(
                duckdb.sql(
                    f"FROM {literal(str(material.tested))} WHERE {condition} ORDER BY place, text"
                ).to_arrow_table(),
                path,
            )
    rules, tier2 = {"tier1": {"rules": TIER1}}, {"tier2": {}, "models": {"pin": str(trained)}}
    arms = {
        "tier 2 alone": carry_out(folder / f"tier-2-{half}", pool, **tier2),
        "tier 1": carry_out(folder / f"tier-1-{half}", pool, **rules),
        "tier 1 and 2": carry_out(folder / f"tier-1-2-{half}", pool, **rules, **tier2),
    }
    tell("What is kept of one pool", kept_rows(arms))
    tell("What is lost of it, by kind", lost_rows(arms))
    tell(
        "A 4-gram model of equal bytes of each, on good documents that are in none",
        proxy_rows(arms, pool, held, folder),
    )


def kept_rows(arms: dict[str, Path]) -> Iterable[Sequence[object]]:
    """Sums over the pool."""
    yield "kept by", "documents", "tokens", "share of tokens labelled bad", "bad dropped", "planted good dropped"
    bad = "coalesce(input.bad, false)"
    everything = f"""SELECT count(*), sum(n_tokens), sum(n_tokens) FILTER ({bad}) / sum(n_tokens),
        1 - count(*) FILTER ({bad} AND {{kept}}) / total.bad, 1 - count(*) FILTER (input.part = 'good' AND {{kept}})
        / total.good FROM corpus, (SELECT count(*) FILTER ({bad}) AS bad, count(*) FILTER (input.part = 'good') AS good
        FROM corpus) total WHERE {{kept}} GROUP BY total.bad, total.good"""
    for name, run, kept in (
        ("nothing dropped", arms["tier 2 alone"], "true"),
        *((n, r, "kept") for n, r in arms.items()),
    ):
        with connect(run) as connection:
            [[documents, tokens, share, caught, lost]] = connection.execute(everything.format(kept=kept)).fetchall()
        yield name, f"{documents:,}", f"{int(tokens):,}", f"{share:.1%}", f"{caught:.1%}", f"{lost:.1%}"


def lost_rows(arms: dict[str, Path]) -> Iterable[Sequence[object]]:
    """Share of documents that are dropped."""
    yield "documents", "number", *(f"dropped by {name}" for name in arms)
    query = """SELECT input.part || ': ' || if(input.part = 'good', 'planted', if(input.bad, 'bad', 'not bad')),
        count(*), avg(if(kept, 0, 1)) FROM corpus GROUP BY 1 ORDER BY 1"""
    found = []
    for run in arms.values():
        with connect(run) as connection:
            found.append(connection.execute(query).fetchall())
    for rows in zip(*found, strict=True):
        yield rows[0][0], f"{rows[0][1]:,}", *(f"{row[2]:.1%}" for row in rows)


def proxy_rows(arms: dict[str, Path], pool: Path, held: Path, folder: Path) -> Iterable[Sequence[object]]:
    """Bits per byte: mean of draws by seed, and how far apart these lie. Unknown words cost what the model says."""
    sides = {"the pool, at random": _texts([pool])}
    sides |= {name: _texts(sorted((run / "data").glob("*.parquet"))) for name, run in arms.items()}
    size = int(0.9 * min(texts.nbytes for texts in sides.values()))
    wanted = _texts([held])
    yield f"trained on {size / 1e6:.1f} MB of", "bits per byte", "draws differ by", "unknown words"
    for name, texts in sides.items():
        found = np.array([bits_per_byte(_drawn(texts, size, seed), wanted, folder) for seed in range(DRAWS)])
        yield name, f"{found[:, 0].mean():.4f}", f"{np.ptp(found[:, 0]):.4f}", f"{found[:, 1].mean():.2%}"


def _texts(paths: Sequence[Path]) -> pa.Array:
    """The column of texts of some files."""
    columns = [pq.read_table(path, columns=["text"])["text"] for path in paths]
    chunks = [chunk.cast(pa.large_string()) for column in columns for chunk in column.chunks]
    return pa.concat_arrays(chunks)


def _drawn(texts: pa.Array, size: int, seed: int) -> pa.Array:
    """Texts in an order drawn by seed, up to so many bytes."""
    texts = texts.take(pa.array(np.random.default_rng(seed).permutation(len(texts))))
    ends = np.cumsum(pc.binary_length(texts).to_numpy())
    return texts.slice(0, int(np.searchsorted(ends, size, side="right")))


def bits_per_byte(texts: pa.Array, wanted: pa.Array, folder: Path) -> tuple[float, float]:
    """Of `wanted` by a model of `texts`, and the share of its words that the model does not know."""
    given, output = folder / "proxy-texts.parquet", folder / "proxy.binary"
    pq.write_table(pa.table({"text": texts}), given)
    train(Training((str(given),), output, ORDER, (0, 0, 0, 0), "text", "words", MEMORY, 1, quiet=True))
    model = LanguageModel(str(output), "", form_of(str(output)) or "", identity_of(str(output)), None)
    found = scores(wanted, model)
    size = pc.sum(pc.binary_length(wanted)).as_py()
    return -found.logs.sum() * np.log2(10) / size, found.unknown.sum() / found.tokens.sum()
