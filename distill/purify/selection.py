"""Selection: which of the candidates drawn from the corpus are trained on as bad, by a model of attacks alone.

Such a model sees good texts and the same texts corrupted: their subjects are the same, so it learns what is bad about a
text rather than which subjects the reference lacks.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.distill.purify.mixture import bad_share

SUSPECT = 0.01  # share of good texts that score like a mined one
LEAST_MINED = 40  # texts; with fewer, attacks alone stand for bad text

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningFacts:
    """How much bad text the corpus was found to have, and how mined texts were chosen, for the manifest."""

    by: str  # "attacks", or "coarse_score" without attacks
    candidates: int
    selected: int
    bad_share: float | None = None  # of the corpus, estimated
    bad_share_at_least: float | None = None
    selected_bad: float | None = None  # share of the selected ones that is bad, estimated


def select_bad(candidates: pa.Table, p_bad: Floats, good_p_bad: Floats, limit: int) -> tuple[pa.Table, MiningFacts]:
    """Select the candidates that score higher than nearly all good texts, at most `limit` of either role.

    In:     candidates with `uniform` (drawn from all documents) and `known` (also a good text), in order of hash, and
            p_bad of them and of good texts, each by a model that has not seen the text.
    """
    uniform, known = (candidates[name].to_numpy() for name in ("uniform", "known"))
    share = bad_share(p_bad[uniform], good_p_bad)
    cut = float(np.quantile(good_p_bad, 1 - SUSPECT, method="lower"))
    above = (p_bad > cut) & ~known
    suspects = float(np.mean(p_bad[uniform] > cut)) if uniform.any() else 0.0
    false_suspects = (1 - share.share) * float(np.mean(good_p_bad > cut))
    selected = candidates.filter(pa.array(above)).slice(0, limit)
    facts = MiningFacts(
        by="attacks",
        candidates=len(candidates),
        selected=len(selected),
        bad_share=round(share.share, 6),
        bad_share_at_least=round(share.at_least, 6),
        selected_bad=round(max(0.0, 1 - false_suspects / suspects), 6) if suspects else 0.0,
    )
    return selected, facts


def mining_lines(facts: MiningFacts, trained: int) -> list[str]:
    """The log lines about the share of bad documents, with a warning where they are too few to learn from.

    `trained` is the number of mined texts that were trained on.
    """
    if facts.bad_share is None or facts.selected_bad is None:
        return []
    lines = [
        f"bad text: about {facts.bad_share:.0%} of the corpus, at least {facts.bad_share_at_least:.0%} "
        f"(with what is unlike any text of the reference); of the mined texts about {facts.selected_bad:.0%}"
    ]
    if not trained:
        lines.append(
            f"warning: {facts.selected} of {facts.candidates:,} documents read like bad text, too few to learn from: "
            "tier2 trains on attacks alone"
        )
    return lines
