"""A generated corpus that looks like language, with copies and junk among it, and which documents are truly alike.

Texts are walks over the packaged sample: each word is drawn from those that follow the last one there, or, one time in
five, from all. Of N documents 60 in 100 are such texts of about 2.7 kB, 25 are copies of these with words replaced at
rates from 0.1 % to 10 %, 5 are exact copies, and 10 are junk: stubs, lines said again and again, gibberish, bullets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import curate.sample
from curate.kernels.minhash import shingle_sets

SEED, THRESHOLD, SHINGLE = 17, 0.8, 5
EDITED, EXACT, JUNK = 0.25, 0.05, 0.1
RATES = (0.001, 0.003, 0.01, 0.02, 0.03, 0.05, 0.1)
MEAN_WORDS, ANEW, PARAGRAPH = 450, 0.2, 6  # words of a text; share drawn from all; sentences of a paragraph
ENDS = (".", "!", "?", '."', ".”", "?”", "!”")
Words = list[str]
Pairs = list[tuple[int, int]]


@dataclass(frozen=True)
class Walks:
    """Which words follow which in the sample."""

    words: Words  # as they stand there, in its order
    numbers: npt.NDArray[np.int64]  # of each word of the sample, among those that differ
    places: npt.NDArray[np.int64]  # in the sample, of the words that follow, word by word
    first: npt.NDArray[np.int64]  # of each different word, where its followers begin in `places`
    count: npt.NDArray[np.int64]  # of its followers

    def walk(self, steps: int, number: int, draw: np.random.Generator) -> npt.NDArray[np.int64]:
        """Places in the sample, a row a text."""
        found = np.empty((steps, number), np.int64)
        found[0] = draw.integers(0, len(self.words), number)
        for k in range(1, steps):
            last = self.numbers[found[k - 1]]
            following = self.places[self.first[last] + (draw.random(number) * self.count[last]).astype(np.int64)]
            found[k] = np.where(draw.random(number) < ANEW, draw.integers(0, len(self.words), number), following)
        return found.T


def sample_walks() -> Walks:
    """Those of the sample's good documents."""
    files = sorted(Path(curate.sample.__path__[0]).glob("*.parquet"))
    table = pq.read_table(files, columns=["text", "label"])
    texts = table.filter(pc.equal(table["label"], "good"))["text"].to_pylist()
    words = [word for text in texts for word in text.split()]
    known: dict[str, int] = {}
    numbers = np.array([known.setdefault(word, len(known)) for word in words])
    count = np.bincount(numbers)
    places = (np.argsort(numbers, kind="stable") + 1) % len(words)  # the first follows the last
    return Walks(words, numbers, places, np.cumsum(count) - count, count)


def generate(number: int, seed: int = SEED) -> list[str]:
    """`number` documents in random order, the same for the same seed."""
    draw = np.random.default_rng(seed)
    walks = sample_walks()
    edited, exact, junk = (round(share * number) for share in (EDITED, EXACT, JUNK))
    texts = _texts(walks, number - edited - exact - junk, draw)
    copies = [_edit(texts[k], walks.words, draw) for k in draw.integers(0, len(texts), edited)]
    repeats = [texts[k] for k in draw.integers(0, len(texts), exact)]
    everything = [*texts, *copies, *repeats, *(_junk(k, walks.words, draw) for k in range(junk))]
    return [everything[k] for k in draw.permutation(len(everything))]


def _texts(walks: Walks, number: int, draw: np.random.Generator) -> list[str]:
    """Paragraphs of sentences."""
    lengths = np.clip(draw.gamma(4, MEAN_WORDS / 4, number), 80, 4 * MEAN_WORDS).astype(int)
    texts = []
    for start in range(0, number, 4096):
        some = lengths[start : start + 4096]
        for places, length in zip(walks.walk(int(some.max()), len(some), draw), some, strict=True):
            texts.append(_paragraphs([walks.words[k] for k in places[:length]]))
    return texts


def _paragraphs(words: Words) -> str:
    """Words up to the last that ends a sentence, as lines of a few sentences each."""
    lines, start = [], 0
    ends = [k + 1 for k, word in enumerate(words) if word.endswith(ENDS)]
    for end in [*ends[PARAGRAPH - 1 : -1 : PARAGRAPH], *(ends[-1:] or [len(words)])]:
        lines.append(" ".join(words[start:end]))
        start = end
    return "\n".join(lines)


def _edit(text: str, words: Words, draw: np.random.Generator) -> str:
    """A copy with words replaced at one of the rates, lines as they were."""
    rate = draw.choice(RATES)
    tokens = text.split(" ")
    for k in np.flatnonzero(draw.random(len(tokens)) < rate):
        tokens[k] = words[draw.integers(len(words))]
    return " ".join(tokens)


def _junk(k: int, words: Words, draw: np.random.Generator) -> str:
    """A stub, a sentence again and again, gibberish or a list, in turn."""

    def some(number: int) -> Words:
        return [words[place] for place in draw.integers(0, len(words), number)]

    if k % 4 == 0:
        return " ".join(some(draw.integers(1, 45)))
    if k % 4 == 1:
        return "\n".join([" ".join(some(draw.integers(6, 20)))] * draw.integers(10, 60))
    if k % 4 == 2:
        letters = draw.choice(list("abcdefghijklmnopqrstuvwxyz0123456789#"), 3000)
        return " ".join("".join(part) for part in np.split(letters, np.sort(draw.integers(1, 3000, 400))) if len(part))
    return "\n".join(f"- {' '.join(some(draw.integers(2, 9)))} ..." for _ in range(draw.integers(30, 80)))


def equal_pairs(texts: Sequence[str]) -> Pairs:
    """All pairs of equal documents, as (first, later); of a family, each with the first."""
    first: dict[str, int] = {}
    return [(first[text], row) for row, text in enumerate(texts) if first.setdefault(text, row) != row]


def similar_pairs(texts: Sequence[str]) -> Pairs:
    """All pairs whose 5-word shingles are at the threshold or above it by Jaccard, counted without any signature.

    Of two such sets each has one of the rarest (1 - threshold) of its shingles in common with the other: only those
    are joined, and then the whole sets are compared.
    """
    sets = shingle_sets(pa.array(texts), SHINGLE)
    table = pa.table({"row": pa.array(range(len(texts)), pa.int32()), "shingles": sets})  # noqa: F841 - in the query
    found = duckdb.sql(
        f"""WITH single AS (SELECT row, len(shingles) AS n, unnest(shingles) AS shingle FROM "table"),
        counted AS (SELECT *, count(*) OVER (PARTITION BY shingle) AS frequency FROM single),
        placed AS (SELECT *, row_number() OVER (PARTITION BY row ORDER BY frequency, shingle) AS place FROM counted),
        rare AS (SELECT row, shingle FROM placed WHERE frequency > 1 AND place <= n - ceil({THRESHOLD} * n) + 1)
        SELECT DISTINCT a.row, b.row FROM rare a JOIN rare b ON a.shingle = b.shingle AND a.row < b.row ORDER BY ALL"""
    ).fetchall()
    values, ends = sets.flatten().to_numpy(), np.cumsum(np.r_[0, sets.value_lengths().to_numpy()])
    pairs = []
    for a, b in found:
        one, other = (values[ends[row] : ends[row + 1]] for row in (a, b))
        common = len(np.intersect1d(one, other, assume_unique=True))
        if common >= THRESHOLD * (len(one) + len(other) - common):
            pairs.append((a, b))
    return pairs


def judge(dropped: set[int], alike: Pairs) -> tuple[float, float]:
    """Precision of documents: of those dropped, like one that stays; recall of pairs: of which not both stay."""
    found = sum(a in dropped or b in dropped for a, b in alike)
    right = {x for a, b in alike for x, y in ((a, b), (b, a)) if x in dropped and y not in dropped}
    return len(right) / max(1, len(dropped)), found / max(1, len(alike))
