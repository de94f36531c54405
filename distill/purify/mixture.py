"""The share of bad documents in a corpus: a mixture proportion, from scores of the corpus and of good texts.

The corpus is a mixture of good and bad documents. If its good ones score like the good texts, then for any score t

    P(corpus ≤ t) ≥ (1 - bad share) · P(good ≤ t),

so each t bounds the share of good documents from above. The best t is the one with the lowest bound once sampling error
is counted (Garg et al. 2021, "Mixture proportion estimation and PU learning: a modern approach", arXiv 2111.00980; the
error of a distribution function is that of Massart 1990). Good documents of kinds that the good texts lack count as bad
as far as they score higher.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DOUBT = 0.1  # probability that the true share is below `at_least`

Scores = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class BadShare:
    """The estimated share of bad documents, and its lower bound."""

    share: float
    at_least: float


def bad_share(corpus: Scores, good: Scores) -> BadShare:
    """Estimate the share of bad documents from p_bad of a uniform sample and of good texts, by models unseen to both.

    Cost:   a sort of both.
    """
    if not len(corpus) or not len(good):
        return BadShare(0.0, 0.0)
    cuts = np.unique(good)
    of_corpus, of_good = (np.searchsorted(np.sort(s), cuts, side="right") / len(s) for s in (corpus, good))
    corpus_error, good_error = (math.sqrt(math.log(4 / DOUBT) / 2 / len(s)) for s in (corpus, good))
    usable = of_good > good_error
    of_corpus, of_good = of_corpus[usable], of_good[usable]
    if not len(of_good):
        return BadShare(0.0, 0.0)
    good_at_most = (of_corpus + corpus_error) / (of_good - good_error)
    best = int(np.argmin(good_at_most))
    return BadShare(
        share=max(0.0, 1 - float(of_corpus[best] / of_good[best])), at_least=max(0.0, 1 - float(good_at_most[best]))
    )
