"""What all models of an evaluation share: a sample of the run, its texts as tokens, arms, and held-out texts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.corpus.side_files import side_files
from curate.digest import EVALUATING, code_of, digest_of
from curate.distill.evaluate.arms import Output, Sample, arms_of, curve_of, draw_sample, pool_of
from curate.distill.evaluate.heldout import HeldoutTexts, heldout_content, read_heldout, reference_texts, without_leaks
from curate.distill.evaluate.measure import Arms, tokenizer_of, with_controls
from curate.distill.evaluate.retention import Heldout
from curate.distill.evaluate.tokens import Encoded, encode
from curate.distill.reference import open_reference
from curate.ledger.run import Decided
from curate.recipe.evaluate import Evaluate


@dataclass(frozen=True, eq=False)
class Prepared:
    """What all models of an evaluation share."""

    pool: Encoded
    heldout: Encoded
    about: Heldout
    left_out: HeldoutTexts
    vocabulary: int
    arms: Arms
    sample: Sample
    outputs: Mapping[str, Output]


def digest_of_evaluation(of: Decided, section: Evaluate, decisions: str) -> str:
    """The digest of all that the figures follow from."""
    fields = section.model_dump(mode="json", exclude={"heldout", "track"})
    content = [heldout_content(section), [file.content_xxh3_128 for file in open_reference(of.recipe)]]
    return digest_of([fields, content, decisions, of.recipe.seed, code_of(*EVALUATING)])


def prepare(of: Decided, section: Evaluate, outputs: Mapping[str, Path], most_bytes: int, folder: Path) -> Prepared:
    """Draw the sample, read all texts, leave out held-out ones that they have, and write them all in tokens."""
    sample = draw_sample(of.run, of.recipe.seed, most_bytes)
    texts = pool_of(of, sample, outputs)
    size = len(sample.keys)
    measured = texts.texts.slice(0, size)
    heldout = read_heldout(section, of.recipe.input.column, of.recipe.seed)
    paths = [file.path for file in open_reference(of.recipe)]
    seeds = [pattern for domain in of.recipe.tier3.domains for pattern in domain.seeds] if of.recipe.tier3 else []
    paths += side_files([of.located(pattern) for pattern in seeds], "tier3.domains", "seeds")
    left = without_leaks(
        heldout, reference_texts(paths, of.recipe.input.column), measured,
        sample.documents["doc_id"].to_pylist(), section,
    )  # fmt: skip
    tokenizer = tokenizer_of(measured, sample.keys, section.vocabulary, of.recipe.seed, folder)
    pool, asked = encode(tokenizer, texts.texts), encode(tokenizer, left.table["text"])
    arms = arms_of(of, sample, pool, texts, section.draws, of.recipe.seed)
    chosen = with_controls(pool, sample.keys, np.arange(size), arms, section.draws, of.recipe.seed)
    curve = {name: draw for name, draw in curve_of(sample, pool, of.recipe.seed).items() if len(draw[0])}
    chosen = Arms({**chosen.draws, **curve}, {**chosen.controls, **{name: name for name in curve}})
    about = Heldout(left.table["domain"].to_pylist(), asked.n_bytes)
    return Prepared(pool, asked, about, left, tokenizer.get_vocab_size(), chosen, sample, texts.outputs)
