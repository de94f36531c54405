"""The model of passages: labels by construction, by repetition and by form; training; and its calibration set.

Good are the passages of good documents. Bad are those that an attack spliced into them, whose places are known, and
those of mined documents whose lines several of these share and no good document has. Long prose of mined documents
counts as good as well: what makes it differ from the reference is its topic, and whether its document is bad is not
for this model to decide.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.digest import digest_of
from curate.distill.attacks.registry import attacks
from curate.distill.purify import training as documents
from curate.distill.reference import read_good
from curate.distill.scoring.discriminator import groups_of
from curate.distill.scoring.passages import PassageModel, PassageScorer, save_passages, train_passages
from curate.distill.scoring_stage import Training
from curate.kernels.corpus_lines import line_hashes
from curate.kernels.passages import PROSE, Passages, passage_texts, split_passages
from curate.ledger.ledger import Ledger
from curate.ledger.models import ModelSet
from curate.ledger.names import ATTACKS, PASSAGE_CALIBRATION, PASSAGE_MODEL, PENDING, PURIFY_MODEL
from curate.ledger.parts import Part, finished_part, is_intact, write_part
from curate.storage.files import committed

SPAN = pa.struct([("start", pa.int32()), ("end", pa.int32()), ("p_bad", pa.float32())])
MOST_TEXTS = 3000  # good ones, mined ones, and for each attack a sixth of them
REPEATS = 3  # mined texts that share a line
PROSE_BYTES = 200  # of a passage of prose that is taken for good wherever it is
MOSTLY = 0.5  # share of a passage that is spliced, or of its lines that are repeated

Reals = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


def train(training: Training, mined: pa.Table) -> ModelSet:
    """Train the models of the recipe's second tier, that of passages among them if it asks for it.

    What the ledger has is not trained again, and documents have the same models with passages or without.

    Errors: those of `training.train`.
    """
    models = documents.train(training, mined)
    section, ledger = training.recipe.tier2, training.ledger
    if section is None or section.passages is None:
        return models
    model_part = models.part(PURIFY_MODEL)
    assert model_part is not None
    digest = digest_of(["passages", model_part.digest])
    groups = {PENDING + group: group for group in (PASSAGE_MODEL, PASSAGE_CALIBRATION)}
    known = [replace(part, group=groups.get(part.group, part.group)) for part in ledger.parts if part.digest == digest]
    known = [part for part in known if is_intact(ledger.run, part)]
    if {part.group for part in known} == set(groups.values()):
        return replace(models, parts=(*models.parts, *known))
    training.begin("reading texts to train on")
    good = read_good(training.recipe, training.reference, training.reading, training.strata, section.good)
    collected = training.corpus.collect_texts(mined.select(["file_no", "row"]))
    bad = documents.mined_texts(ledger.run, collected, mined, good["text"].combine_chunks())
    bad = bad.filter(pc.invert(bad["known"]))
    training.begin("training on passages")
    is_training = (pc.equal(table["role"].cast(pa.string()), "training") for table in (good, bad))
    good_texts, bad_texts = (table.filter(mask) for table, mask in zip((good, bad), is_training, strict=True))
    model = train_on(good_texts, bad_texts, pq.read_table(models.files[ATTACKS]), training.recipe.seed)
    training.log.say(
        f"trained on {model.facts['good']:,} good and {model.facts['bad']:,} bad passages: ROC-AUC "
        f"{model.facts['roc_auc']:.2f} on passages of documents that it has not seen"
    )
    calibration = passages_of_calibration(model, documents.calibration_texts(good), list(training.strata))
    parts = [write_part(ledger.run, PASSAGE_CALIBRATION, digest, "00000", calibration), _commit(model, digest, ledger)]
    ledger.add([replace(part, group=PENDING + part.group) for part in parts])
    return replace(models, parts=(*models.parts, *parts))


def _commit(model: PassageModel, digest: str, ledger: Ledger) -> Part:
    path = Path("models") / f"{PASSAGE_MODEL}-{digest[:8]}.npz"
    with committed(ledger.run / path) as aside:
        save_passages(model, aside)
    return finished_part(ledger.run, PASSAGE_MODEL, digest, path, 0)


def passages_of_calibration(model: PassageModel, good: pa.Table, strata: Sequence[str]) -> pa.Table:
    """The calibration set of good texts: doc_id, n_bytes, the passages that may be cut, a column for each stratum."""
    texts = _texts(good["text"])
    columns = {name: good[f"stratum_{k}"] for k, name in enumerate(strata)}
    table = pa.table(
        {
            "doc_id": good["doc_id"],
            "n_bytes": pc.binary_length(texts).cast(pa.int64()),
            "passages": bad_passages(PassageScorer(model), texts, groups_of(texts)),
            **columns,
        }
    )
    return table.sort_by("doc_id")


def bad_passages(scorer: PassageScorer, texts: pa.Array, groups: Hashes) -> pa.Array:
    """For each text the passages that may be cut, a list of SPAN."""
    passages, p_bad = scorer.score(texts, groups)
    may_be_cut = scorer.may_be_cut(passages, p_bad)
    owners = passages.texts[may_be_cut]
    offsets = np.searchsorted(owners, np.arange(len(texts) + 1)).astype(np.int32)
    starts, ends = (pa.array(column[may_be_cut].astype(np.int32)) for column in (passages.starts, passages.ends))
    spans = pa.StructArray.from_arrays([starts, ends, pa.array(p_bad[may_be_cut].astype(np.float32))], fields=[*SPAN])
    return pa.ListArray.from_arrays(pa.array(offsets), spans)


def splices(attacked: pa.Table) -> pa.Table:
    """The attacks that put bad text among good text, at most a sixth of MOST_TEXTS of each, in order."""
    names = np.array(attacked["attack"].to_pylist(), object)
    is_splice = [name in attacks() and attacks()[name].splices for name in names]
    chosen = np.zeros(len(names), bool)
    for name in sorted(set(names[is_splice])):
        chosen[np.flatnonzero(names == name)[: MOST_TEXTS // 6]] = True
    return attacked.filter(pa.array(chosen))


def train_on(good: pa.Table, mined: pa.Table, attacked: pa.Table, seed: int) -> PassageModel:
    """Train on texts: good and mined ones (text), and attacks on good ones (text, spans, original).

    Errors: InputError where they have too few passages of a kind.
    """
    good_texts, mined_texts = (_texts(table.slice(0, MOST_TEXTS)["text"]) for table in (good, mined))
    spliced = splices(attacked)
    spliced_texts = _texts(spliced["text"])
    texts = pa.concat_arrays([good_texts, spliced_texts, mined_texts])
    groups = np.r_[groups_of(good_texts), groups_of(_texts(spliced["original"])), groups_of(mined_texts)]
    passages = split_passages(texts)
    labels = np.full(len(passages.starts), np.nan)
    bounds = passages.offsets[np.cumsum([0, len(good_texts), len(spliced_texts), len(mined_texts)])]
    labels[bounds[0] : bounds[1]] = 0
    labels[bounds[1] : bounds[2]] = _labels_of_splices(split_passages(spliced_texts), spliced["spans"].combine_chunks())
    labels[bounds[2] :] = _labels_of_mined(mined_texts, good_texts)
    return train_passages(texts, groups, labels, passages, seed)


def _texts(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks().cast(pa.large_string())


def _labels_of_splices(passages: Passages, spans: pa.Array) -> Reals:
    """1 for passages that were spliced in for the most part, 0 for those of the original, nan for others."""
    owners = np.repeat(np.arange(len(spans)), pc.list_value_length(spans).to_numpy())
    flat = spans.flatten()
    keys = (owners << 32) + flat.field("start").to_numpy()
    starts, ends = (passages.texts << 32) + passages.starts, (passages.texts << 32) + passages.ends
    sizes = np.r_[0, np.cumsum((flat.field("end").to_numpy() - flat.field("start").to_numpy()).astype(np.int64))]
    spliced = _covered(ends, keys, sizes) - _covered(starts, keys, sizes)
    labels = np.full(len(starts), np.nan)
    labels[spliced == 0] = 0
    labels[spliced > MOSTLY * (ends - starts)] = 1
    return labels


def _covered(places: Integers, starts: Integers, sizes: Integers) -> Integers:
    """The bytes of spans before each place; spans are sorted and do not overlap, `sizes` are their cumulated sizes."""
    index = np.searchsorted(starts, places, side="right")
    last = np.maximum(index - 1, 0)
    within = np.minimum(places - starts[last], sizes[last + 1] - sizes[last]) if len(starts) else np.zeros(len(places))
    return np.where(index > 0, sizes[last] + within, 0).astype(np.int64)


def _labels_of_mined(mined: pa.Array, good: pa.Array) -> Reals:
    """1 for passages of lines that mined texts repeat, 0 for long prose that they do not, nan for others."""
    passages = split_passages(mined)
    lines, counts = np.unique(line_hashes(mined).flatten().to_numpy(), return_counts=True)
    repeated = np.setdiff1d(lines[counts >= REPEATS], line_hashes(good).flatten().to_numpy())
    in_passages = line_hashes(passage_texts(mined, passages))
    sizes = pc.list_value_length(in_passages).to_numpy()
    owners = np.repeat(np.arange(len(sizes)), sizes)
    hits = np.isin(in_passages.flatten().to_numpy(), repeated)
    share = np.bincount(owners, hits, len(sizes)) / np.maximum(sizes, 1)
    is_prose = (passages.kinds == PROSE) & (passages.ends - passages.starts >= PROSE_BYTES) & passages.closed
    labels = np.full(len(share), np.nan)
    labels[~is_prose & (share > MOSTLY)] = 1
    labels[is_prose & (share == 0)] = 0
    return labels
