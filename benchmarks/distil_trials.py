"""Print what settings of importance and likeness are worth, as Markdown: how well scores tell good texts from noise.

Usage: python benchmarks/distil_trials.py CORPORA FOLDER

CORPORA and FOLDER are as in purify.py. A model knows half of the good documents of each domain and is held against the
pages, mails and scans of the other half and those good documents; ROC-AUC, 0.5 is chance:

    all      good documents of known domains against pages, spam and the worst scans
    lacked   good documents of a domain that the model was not given against the same, the mean over all domains
    mail     messages against spam, and the same of lingspam: good texts as no reference has them
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from purify_corpus import part_corpora

from curate.distill.scoring.calibration import roc_auc
from curate.distill.scoring.importance import Settings, contrast_of, corpus_of, distribution_of, importance
from curate.distill.scoring.likeness import likeness, train_likeness
from curate.distill.scoring.linear_model import Settings as ModelSettings
from curate.distill.scoring.linear_model import groups_of

SEED = 1
MOST = 100_000  # bytes of a text
Reals = npt.NDArray[np.float64]

TRIALS: dict[str, tuple[str, object]] = {
    "importance": ("importance", Settings()),
    "2^16 buckets": ("importance", Settings(bits=16)),
    "the unknown says nothing": ("importance", Settings(uniform=0.3, unknown=0.3)),
    "the unknown says more": ("importance", Settings(uniform=0.15, unknown=0.5)),
    "little shared": ("importance", Settings(shared=0.1)),
    "more shared": ("importance", Settings(shared=0.5)),
    "one domain for all": ("one domain", Settings()),
    "likeness": ("likeness", 0.5),
    "all domains alike": ("likeness", 0.0),
    "domains by size": ("likeness", 1.0),
}


def main(corpora: str, folder: str) -> None:
    """Print the table."""
    material = part_corpora(Path(corpora), Path(folder), SEED)
    known = _short(pa.concat_tables(pq.read_table(path) for path in sorted(material.reference.glob("*.parquet"))))
    tested = _short(pq.read_table(material.tested))
    print("| trial | all | lacked | mail | lingspam |\n|---|---|---|---|---|")
    for name, (kind, settings) in TRIALS.items():
        print(
            f"| {name} |",
            " | ".join(f"{value:.3f}" for value in _figures(kind, settings, known, tested)),
            "|",
            flush=True,
        )


def _short(table: pa.Table) -> pa.Table:
    return table.filter(pc.less(pc.binary_length(table["text"]), MOST))


def _figures(kind: str, settings: object, known: pa.Table, tested: pa.Table) -> list[float]:
    bad = pc.fill_null(tested["bad"], False).to_numpy()
    part, domain = (np.array(tested[name].to_pylist(), dtype=object) for name in ("part", "domain"))
    good, noise = part == "good", bad & np.isin(part, ["web", "mail", "lingspam", "ocr"])

    def told(scores: Reals, better: npt.NDArray[np.bool_], worse: npt.NDArray[np.bool_]) -> float:
        return roc_auc(scores[better | worse], better[better | worse])

    scores = _scores(kind, settings, known, tested)
    lacked = []
    for name in sorted(set(known["domain"].to_pylist())):
        without = _scores(kind, settings, known.filter(pc.not_equal(known["domain"], name)), tested)
        lacked.append(told(without, good & (domain == name), noise))
    mails = [told(scores, (part == name) & ~bad, (part == name) & bad) for name in ("mail", "lingspam")]
    return [told(scores, good, noise), float(np.mean(lacked)), *mails]


def _scores(kind: str, settings: object, known: pa.Table, tested: pa.Table) -> Reals:
    """The scores of tested texts, which are the corpus too."""
    texts, others = (table["text"].cast(pa.large_string()).combine_chunks() for table in (known, tested))
    domains = known["domain"].to_pylist()
    if isinstance(settings, Settings):
        named = ["all"] * len(domains) if kind == "one domain" else domains
        target = distribution_of(texts, named, groups_of(texts), replace(settings, folds=4))
        column = importance(contrast_of(target, corpus_of(others, groups_of(others), settings)), others)["importance"]
    else:
        groups = groups_of(pa.concat_arrays([texts, others]))
        assert isinstance(settings, float)
        model = train_likeness(texts, domains, others, groups, ModelSettings(), SEED, settings)
        column = likeness(model, others)
    scores: Reals = column.cast(pa.float64()).fill_null(-99.0).to_numpy()
    return scores


if __name__ == "__main__":
    main(*sys.argv[1:])
