"""Fit and check the weights of `n_tokens`' estimate against a real tokenizer.

Usage: python benchmarks/token_estimate.py TOKENIZER.json PARQUET [PARQUET ...]

Prints hundredths of a token per character of each kind (least squares of the relative error, on the even documents) and
the error on the odd documents, for the fitted weights and for those in filters/signals/text.py.
"""

import sys

import numpy as np
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from curate import kernels
from curate.filters.signals.text import TOKENS, estimate_tokens, token_kinds


def main(tokenizer_file: str, *corpora: str) -> None:
    """Print the fit and its errors."""
    tokenizer = Tokenizer.from_file(tokenizer_file)
    kinds, tokens, estimates = [], [], []
    for path in corpora:
        for batch in pq.ParquetFile(path).iter_batches(256, columns=["text"]):
            texts = batch.column("text").drop_null()
            count = kernels.count_characters(texts)
            kinds.append(np.stack([column.to_numpy() for column in token_kinds(count).values()], axis=1))
            estimates.append(estimate_tokens(count).to_numpy())
            encoded = tokenizer.encode_batch(texts.to_pylist(), add_special_tokens=False)
            tokens.append(np.array([len(one) for one in encoded]))
    x, y, estimate = np.concatenate(kinds).astype(float), np.concatenate(tokens), np.concatenate(estimates)
    long_enough = y >= 50
    x, y, estimate = x[long_enough], y[long_enough], estimate[long_enough]
    weights = fit(x[::2] / y[::2, None])
    print("fitted  ", dict(zip(TOKENS, np.round(weights * 100).astype(int).tolist(), strict=True)))
    print("in use  ", TOKENS)
    report("fitted", x[1::2] @ weights, y[1::2])
    report("in use", estimate[1::2], y[1::2])


def fit(relative: np.ndarray) -> np.ndarray:
    """Non-negative weights w that make `relative @ w` closest to 1."""
    active = list(range(relative.shape[1]))
    while True:
        solution = np.linalg.lstsq(relative[:, active], np.ones(len(relative)), rcond=None)[0]
        if (solution >= 0).all():
            weights = np.zeros(relative.shape[1])
            weights[active] = solution
            return weights
        active = [k for k, value in zip(active, solution, strict=True) if value >= 0]


def report(name: str, estimate: np.ndarray, tokens: np.ndarray) -> None:
    """Print the error over all documents together and per document."""
    error = np.abs(estimate / tokens - 1)
    total = estimate.sum() / tokens.sum() - 1
    print(
        f"{name:8} {len(tokens):,} documents of 50 tokens and more: total {total:+.1%}, "
        f"per document median {np.median(error):.1%}, 95 % within {np.quantile(error, 0.95):.1%}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
