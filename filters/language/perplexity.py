"""Perplexity of documents by language models, and related signals."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.filters.language.model import LanguageModel, Scores, scores
from curate.filters.registry import Columns, signal
from curate.kernels.arrow import plain_text, text_views

GROUP = "perplexity"
COLUMNS = ("perplexity", "bits_per_byte", "oov_rate", "token_prior_mean", "token_prior_deviation")
MAX_EXPONENT = 30  # of ten, so that the result fits into 32 bits
BITS_PER_LOG10 = np.log2(10)


@signal(group=GROUP, writes=dict.fromkeys(COLUMNS, pa.float32()))
def perplexity(texts: pa.Array) -> Columns:
    """How far a document is from what the models of `tier1.perplexity` expect; null without a model for its language.

    perplexity             of its tokens and line ends (Jelinek et al. 1977): 10 to the minus mean log10 probability
    bits_per_byte          bits that the model needs for a byte of the document
    oov_rate               tokens that the model does not know per token
    token_prior_mean       mean of ln unigram probability of the tokens that it knows (arXiv 2509.18577)
    token_prior_deviation  standard deviation of that
    """
    return measure(texts, None, ())


def measure(texts: pa.Array, languages: pa.Array | None, models: Sequence[LanguageModel]) -> Columns:
    """The columns of the group. Each document is scored by the model for its language, or by the only model."""
    texts = plain_text(texts)
    values = {name: np.full(len(texts), np.nan) for name in COLUMNS}
    for model in models:
        rows = np.arange(len(texts))
        if model.language is not None:
            assert languages is not None
            rows = np.flatnonzero([code == model.language for code in languages.to_pylist()])
        selected = texts.take(pa.array(rows))
        for name, column in _columns(scores(selected, model), np.diff(text_views(selected)[0])).items():
            values[name][rows] = column
    return {name: pa.array(column.astype(np.float32), mask=np.isnan(column)) for name, column in values.items()}


def _columns(scores: Scores, n_bytes: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.float64]]:
    """The columns of documents; nan for documents without tokens."""
    tokens, known_tokens = scores.tokens.astype(float), (scores.tokens - scores.unknown).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = scores.priors / known_tokens
        variance = np.maximum(0, scores.squares / known_tokens - mean**2)
        columns = {
            "perplexity": 10 ** np.minimum(-scores.logs / (tokens + scores.lines), MAX_EXPONENT),
            "bits_per_byte": -scores.logs * BITS_PER_LOG10 / n_bytes,
            "oov_rate": scores.unknown / tokens,
            "token_prior_mean": mean * np.log(10),
            "token_prior_deviation": np.sqrt(variance) * np.log(10),
        }
    return {name: np.where(tokens > 0, column, np.nan) for name, column in columns.items()}
