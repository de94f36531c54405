"""Retention: models of the same kind are trained on the arms of a corpus and scored on the same held-out texts.

Only the training texts differ between arms; tokenizer, model, settings and held-out texts are the same. Each arm but
the full one has a control, random documents with as many tokens, in several draws: no figure comes without it.

    from curate.distill.evaluate.measure import evaluate_arms
    from curate.distill.evaluate.proxy_ngram import NgramProxy

    result = evaluate_arms({"full": full, "ours": ours}, heldout, NgramProxy(), Path("runs/evaluation"))
    for row in result.retention:
        print(row.arm, row.domain, row.tokens, row.retained, row.gap_closed)

`full` and `ours` are arrays of texts, `heldout` is a table of text and domain that shares no document with them (see
`curate.distill.evaluate.heldout`). The folder caches the bits of each model by a digest of its inputs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from curate.distill.evaluate.retention import FULL, ArmRetention, Floats, HeldoutDomains, ModelBits, retention
from curate.distill.evaluate.tokens import TRAINING_BYTES, Encoded, EncodedCorpus, Integers, encode, train_tokenizer
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


@dataclass(frozen=True, eq=False, slots=True)
class Arms:
    """The training texts of each draw of each arm: indices in a pool, repeated for each time a text is trained on."""

    draws: Mapping[str, Sequence[Integers]]
    controls: Mapping[str, str]  # of each arm but the full one: the random arm with as many tokens


@dataclass(frozen=True, eq=False, slots=True)
class Evaluation:
    """R, G and gain by arm and domain, and the bits of each model."""

    retention: Sequence[ArmRetention]
    models: Sequence[ModelBits]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class _Model:
    """A model to train: its draw of an arm, and the seed and steps of a transformer."""

    arm: str
    draw: int
    models: int  # of the arm
    chosen: Integers  # its training texts in the pool
    steps: int  # 0 for n-grams


def evaluate_arms(
    arms: Mapping[str, pa.Array],
    heldout: pa.Table,
    proxy: Proxy,
    folder: Path,
    draws: int = DRAWS,
    seed: int = 0,
    vocabulary: int = VOCABULARY,
) -> Evaluation:
    """Evaluate arms of a corpus, given as texts, against random documents of the arm FULL, the corpus.

    In:     texts without nulls; `heldout` with columns text and domain.
    Cost:   per model about 0.3 s per MB of text on two cores (order 4, 8,192 tokens), and 1 s; encoding 0.15 s per MB.
    """
    texts, indices = _deduplicated(arms)
    keys = np.asarray(hash_texts(texts)[1])
    tokenizer = tokenizer_of(texts, keys, vocabulary, seed, folder)
    corpus = EncodedCorpus(
        pool=encode(tokenizer, texts),
        heldout=encode(tokenizer, heldout["text"]),
        vocabulary=tokenizer.get_vocab_size(),
    )
    full = indices.pop(FULL)
    with_random = with_controls(
        corpus.pool, keys, full, {arm: [chosen] for arm, chosen in indices.items()}, draws, seed
    )
    models = measure_arms(corpus, with_random, proxy, folder)
    domains = HeldoutDomains(heldout["domain"].to_pylist(), corpus.heldout.n_bytes)
    return Evaluation(retention(models, with_random.controls, domains, seed), models)


def _deduplicated(arms: Mapping[str, pa.Array]) -> tuple[pa.Array, dict[str, Integers]]:
    """All texts, each once, and the indices of the texts of each arm."""
    chunks = [pa.chunked_array([arm.cast(pa.large_string())]).combine_chunks() for arm in arms.values()]
    unique = pa.concat_arrays(chunks).dictionary_encode()
    bounds = np.cumsum([len(arm) for arm in arms.values()])
    indices = np.split(np.asarray(unique.indices, np.int64), bounds[:-1])
    return unique.dictionary, dict(zip(arms, indices, strict=True))


def tokenizer_of(texts: pa.Array, keys: Keys, vocabulary: int, seed: int, folder: Path) -> "Tokenizer":
    """Train a tokenizer on a random sample of the texts and save it in the folder."""
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
    """The arms, the full one, and random draws from it for each size of an arm; those of the first size are RANDOM."""
    all_draws: dict[str, Sequence[Integers]] = {FULL: [full], **arms}
    sizes: dict[str, int] = {}
    controls: dict[str, str] = {}
    for arm, (first_draw, *_) in arms.items():
        tokens = int(pool.n_tokens[first_draw].sum())
        same_size = [control for control, size in sizes.items() if abs(tokens - size) <= SAME_SIZE * size]
        control = same_size[0] if same_size else f"{RANDOM}, as {arm}" if sizes else RANDOM
        controls[arm] = control
        if not same_size:
            sizes[control] = tokens
            all_draws[control] = [_control(pool, keys, full, tokens, seed, draw) for draw in range(draws)]
            controls[control] = control
    return Arms(all_draws, controls)


def _control(pool: Encoded, keys: Keys, full: Integers, tokens: int, seed: int, draw: int) -> Integers:
    """Random documents with `tokens` tokens: where all have fewer, all of them as often as is needed."""
    complete, rest = divmod(tokens, max(1, int(pool.n_tokens[full].sum())))
    if not complete:
        return random_draw(pool, keys, full, tokens, seed, draw)
    return np.concatenate([*[full] * complete, random_draw(pool, keys, full, rest, seed, draw)])


def random_draw(pool: Encoded, keys: Keys, indices: Integers, tokens: int, seed: int, draw: int) -> Integers:
    """Random documents with `tokens` tokens; a draw of fewer tokens is a subset of the same draw of more."""
    distinct = np.add(keys[indices], np.arange(len(indices), dtype=np.uint64), dtype=np.uint64)  # repeats differ too
    order = np.argsort(mixed(distinct, seed, f"{RANDOM} {draw}"), kind="stable")
    return first_tokens(pool, indices[order], tokens)


def first_tokens(pool: Encoded, indices: Integers, tokens: int) -> Integers:
    """The first documents whose tokens sum to the nearest number, or all where there are fewer; indices sorted."""
    sizes = np.concatenate([[0], np.cumsum(pool.n_tokens[indices])])
    stop = int(np.searchsorted(sizes, tokens))
    if 0 < stop < len(sizes) and tokens - sizes[stop - 1] < sizes[stop] - tokens:
        stop -= 1
    return np.sort(indices[:stop])


def model_count(proxy: Proxy, draws: int) -> int:
    """Number of models of an arm with so many draws: a transformer trains one per seed where there is one draw."""
    return proxy.seeds if isinstance(proxy, TransformerProxy) and draws == 1 else draws


def measure_arms(
    corpus: EncodedCorpus,
    arms: Arms,
    proxy: Proxy,
    folder: Path,
    threads: int = 2,
    report: Callable[[str, bool], None] = lambda model, cached: None,
) -> list[ModelBits]:
    """Bits of the held-out texts by a model of each draw of each arm, trained unless the folder has its bits.

    `report` is called before each model, with its name and whether it is cached.
    """
    common = [asdict(proxy), _code(proxy), corpus.vocabulary, _content(corpus.heldout)]
    measured = []
    for model in _models(corpus.pool, arms, proxy):
        texts = corpus.pool.take(model.chosen)
        digest = digest_of([common, model.steps, model.draw if model.steps else 0, _content(texts)])
        path = folder / "parts" / f"{digest}.parquet"
        report(f"{model.arm} {model.draw + 1}/{model.models}", path.exists())
        if not path.exists():
            bits = _train_and_score(corpus, model, proxy, folder, threads)
            with committed(path) as aside:
                pq.write_table(pa.table({"bits": bits}), aside)
        measured.append(
            ModelBits(
                arm=model.arm,
                proxy=proxy.name,
                budget=proxy.budget,
                draw=model.draw,
                documents=len(model.chosen),
                tokens=int(texts.n_tokens.sum()),
                bits=pq.read_table(path)["bits"].to_numpy(),
            )
        )
    return measured


def _models(pool: Encoded, arms: Arms, proxy: Proxy) -> Iterator[_Model]:
    full_tokens = int(pool.n_tokens[arms.draws[FULL][0]].sum())
    for arm, draws in arms.draws.items():
        models = model_count(proxy, len(draws))
        for draw in range(models):
            chosen = draws[draw % len(draws)]
            steps = 0
            if isinstance(proxy, TransformerProxy):
                tokens = full_tokens if proxy.budget == "compute" else int(pool.n_tokens[chosen].sum())
                steps = proxy.steps_for(tokens)
            yield _Model(arm=arm, draw=draw, models=models, chosen=chosen, steps=steps)


def _train_and_score(corpus: EncodedCorpus, model: _Model, proxy: Proxy, folder: Path, threads: int) -> Floats:
    if isinstance(proxy, TransformerProxy):
        return transformer_bits(corpus, model.chosen, proxy, model.steps, model.draw, threads)
    return ngram_bits(corpus, model.chosen, proxy, folder, threads)


def _code(proxy: Proxy) -> str:
    """Digest of the code that trains and scores the models."""
    return code_of(__name__, *(TRANSFORMERS if isinstance(proxy, TransformerProxy) else NGRAMS))


def _content(texts: Encoded) -> str:
    content = xxh3_128()
    arrays: tuple[npt.NDArray[np.generic], ...] = (texts.ids, texts.bounds)
    for array in arrays:
        content.update(np.ascontiguousarray(array).tobytes())
    return str(content.hexdigest())
