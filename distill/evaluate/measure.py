"""Retention: models of the same kind are trained on arms of a corpus, and asked about the same held-out texts.

Only the training texts differ between arms: tokenizer, model, settings and held-out texts are the same. Each arm but
the full one has a control, random documents of as many tokens, in several draws: without it no figure is made.

    from curate.distill.evaluate import evaluate_arms
    from curate.distill.proxy_ngram import NgramProxy

    found = evaluate_arms(full, {"ours": ours}, heldout, NgramProxy(), Path("runs/evaluation"))
    print(found.retention.select(["arm", "domain", "tokens", "retained", "gap_closed"]).to_pylist())

`full` and `ours` are arrays of texts, `heldout` a table of text and domain that shares no document with them (see
`curate.distill.evaluate.heldout`). What was measured lies in the folder, by its content, and is not measured again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from xxhash import xxh3_128

from curate.digest import NGRAMS, TRANSFORMERS, code_of, digest_of
from curate.distill.draws import Keys, mixed
from curate.distill.evaluate.proxy_ngram import NgramProxy, ngram_bits
from curate.distill.evaluate.proxy_transformer import TransformerProxy, transformer_bits
from curate.distill.evaluate.retention import FULL, Heldout, Measured, Reals, retention
from curate.distill.evaluate.tokens import TRAINING_BYTES, Encoded, Integers, encode, train_tokenizer
from curate.filters.signals.hashes import hash_texts
from curate.storage.files import committed

if TYPE_CHECKING:
    from tokenizers import Tokenizer

RANDOM = "random"
DRAWS = 3
VOCABULARY = 8192
SAME_SIZE = 0.01  # arms whose tokens differ by less share a control
TOKENIZER = "tokenizer.json"

Proxy = NgramProxy | TransformerProxy


@dataclass(frozen=True, eq=False)
class Arms:
    """Which texts of a pool each draw of each arm has: places in it, one for each time that a text is trained on."""

    draws: Mapping[str, Sequence[Integers]]
    controls: Mapping[str, str]  # the random arm of as many tokens, of each arm but the full one


@dataclass(frozen=True, eq=False)
class Evaluation:
    """R, G and gain by arm and domain (`curate.distill.evaluate.retention.RETENTION`), and the bits of each model."""

    retention: pa.Table
    measured: Sequence[Measured]


def evaluate_arms(
    full: pa.Array, arms: Mapping[str, pa.Array], heldout: pa.Table, proxy: Proxy, folder: Path,
    draws: int = DRAWS, seed: int = 0, vocabulary: int = VOCABULARY, threads: int = 2,
) -> Evaluation:  # fmt: skip
    """Evaluate arms of a corpus, given as texts, against the corpus and against random documents.

    In:     texts without nulls; `heldout` with columns text and domain.
    Cost:   per model about 0.3 s per MB of text on two cores (order 4, 8,192 tokens), and 1 s; encoding 0.15 s per MB.
    """
    texts, (of_full, *of_arms) = _pooled([full, *arms.values()])
    keys = np.asarray(hash_texts(texts)[1])
    tokenizer = tokenizer_of(texts, keys, vocabulary, seed, folder)
    pool, asked = encode(tokenizer, texts), encode(tokenizer, heldout["text"])
    given = {name: [places] for name, places in zip(arms, of_arms, strict=True)}
    chosen = with_controls(pool, keys, of_full, given, draws, seed)
    measured = measure_arms(pool, chosen, asked, tokenizer.get_vocab_size(), proxy, folder, threads)
    about = Heldout(heldout["domain"].to_pylist(), asked.n_bytes)
    return Evaluation(retention(measured, chosen.controls, about, seed), measured)


def _pooled(arms: Sequence[pa.Array]) -> tuple[pa.Array, list[Integers]]:
    """All texts, each once, and the places of those of each arm."""
    chunks = [pa.chunked_array([arm.cast(pa.large_string())]).combine_chunks() for arm in arms]
    pooled = pa.concat_arrays(chunks).dictionary_encode()
    places = np.asarray(pooled.indices, np.int64)
    bounds = np.cumsum([len(arm) for arm in arms])
    return pooled.dictionary, np.split(places, bounds[:-1])


def tokenizer_of(texts: pa.Array, keys: Keys, vocabulary: int, seed: int, folder: Path) -> "Tokenizer":
    """A tokenizer that is trained on a random sample of the texts, and saved in the folder."""
    order = np.argsort(mixed(keys, seed, TOKENIZER), kind="stable")
    sizes = np.cumsum(np.asarray(pc.fill_null(pc.binary_length(texts), 0), np.int64)[order])
    sample = order[: int(np.searchsorted(sizes, TRAINING_BYTES)) + 1]
    tokenizer = train_tokenizer(texts.take(pa.array(sample)), vocabulary)
    with committed(folder / TOKENIZER) as aside:
        aside.write_text(tokenizer.to_str(), "utf-8")
    return tokenizer


def with_controls(
    pool: Encoded, keys: Keys, full: Integers, arms: Mapping[str, Sequence[Integers]], draws: int, seed: int
) -> Arms:
    """Arms with their draws, the full one, and for each size random draws from it, the first of which is RANDOM."""
    chosen: dict[str, Sequence[Integers]] = {FULL: [full], **arms}
    sizes: dict[str, int] = {}
    controls: dict[str, str] = {}
    for name, (places, *_) in arms.items():
        tokens = int(pool.n_tokens[places].sum())
        same = [other for other, size in sizes.items() if abs(tokens - size) <= SAME_SIZE * size]
        control = same[0] if same else f"{RANDOM}, as {name}" if sizes else RANDOM
        controls[name] = control
        if not same:
            sizes[control] = tokens
            chosen[control] = [random_draw(pool, keys, full, tokens, seed, draw) for draw in range(draws)]
            controls[control] = control
    return Arms(chosen, controls)


def random_draw(pool: Encoded, keys: Keys, places: Integers, tokens: int, seed: int, draw: int) -> Integers:
    """Random documents of so many tokens; draws of fewer tokens are among those of more."""
    own = np.add(keys[places], np.arange(len(places), dtype=np.uint64), dtype=np.uint64)  # of equal texts each counts
    return filled(pool, places[np.argsort(mixed(own, seed, f"{RANDOM} {draw}"), kind="stable")], tokens)


def filled(pool: Encoded, places: Integers, tokens: int) -> Integers:
    """The first documents, sorted, that have so many tokens or the nearest number; all where there are fewer."""
    sizes = np.concatenate([[0], np.cumsum(pool.n_tokens[places])])
    stop = int(np.searchsorted(sizes, tokens))
    if 0 < stop < len(sizes) and tokens - sizes[stop - 1] < sizes[stop] - tokens:
        stop -= 1
    return np.sort(places[:stop])


def models_of(proxy: Proxy, draws: int) -> int:
    """How many models an arm of so many draws has."""
    return proxy.seeds if isinstance(proxy, TransformerProxy) and draws == 1 else draws


def measure_arms(
    pool: Encoded, arms: Arms, heldout: Encoded, vocabulary: int, proxy: Proxy, folder: Path, threads: int = 2,
    tell: Callable[[str, bool], None] = lambda model, known: None,
) -> list[Measured]:  # fmt: skip
    """Train a model on each draw of each arm and ask it, unless the folder knows what it says.

    A transformer has several models of an arm of one draw where it has several seeds. `tell` is given each model that
    comes next, and whether it is known.
    """
    common = [asdict(proxy), _code(proxy), vocabulary, _content(heldout.numbers, heldout.bounds)]
    full = int(pool.n_tokens[arms.draws[FULL][0]].sum())
    found = []
    for arm, draws in arms.draws.items():
        models = models_of(proxy, len(draws))
        for draw in range(models):
            places = draws[draw % len(draws)]
            own = pool.take(places)
            tokens = int(own.n_tokens.sum())
            steps = 0
            if isinstance(proxy, TransformerProxy):
                steps = proxy.steps_for(full if proxy.budget == "compute" else tokens)
            digest = digest_of([common, steps, draw if steps else 0, _content(own.numbers, own.bounds)])
            path = folder / "parts" / f"{digest}.parquet"
            tell(f"{arm} {draw + 1}/{models}", path.exists())
            if not path.exists():
                if isinstance(proxy, TransformerProxy):
                    made = transformer_bits(pool, places, heldout, vocabulary, proxy, steps, draw, threads)
                else:
                    made = ngram_bits(pool, places, heldout, vocabulary, proxy, folder, threads)
                with committed(path) as aside:
                    pq.write_table(pa.table({"bits": made}), aside)
            bits: Reals = pq.read_table(path)["bits"].to_numpy()
            found.append(Measured(arm, draw, len(places), tokens, bits))
    return found


def _code(proxy: Proxy) -> str:
    """The digest of the code that measures."""
    return code_of(__name__, *(TRANSFORMERS if isinstance(proxy, TransformerProxy) else NGRAMS))


def _content(*arrays: npt.NDArray[np.generic]) -> str:
    content = xxh3_128()
    for array in arrays:
        content.update(np.ascontiguousarray(array).tobytes())
    return str(content.hexdigest())
