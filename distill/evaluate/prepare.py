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
from curate.distill.evaluate.retention import HeldoutDomains
from curate.distill.evaluate.tokens import EncodedCorpus, encode
from curate.distill.reference import open_reference
from curate.ledger.run import FinishedRun
from curate.recipe.evaluate import Evaluate


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Prepared:
    """What all models of an evaluation share."""

    corpus: EncodedCorpus
    domains: HeldoutDomains  # of the held-out texts
    heldout: HeldoutTexts
    arms: Arms
    sample: Sample
    outputs: Mapping[str, Output]


def digest_of_evaluation(decided_run: FinishedRun, section: Evaluate, decisions: str) -> str:
    """The digest of all inputs of an evaluation."""
    fields = section.model_dump(mode="json", exclude={"heldout", "track"})
    content = [heldout_content(section), [file.content_xxh3_128 for file in open_reference(decided_run.recipe)]]
    return digest_of([fields, content, decisions, decided_run.recipe.seed, code_of(*EVALUATING)])


def prepare(
    decided_run: FinishedRun, section: Evaluate, outputs: Mapping[str, Path], max_bytes: int, folder: Path
) -> Prepared:
    """Draw a sample of at most `max_bytes`, read and encode all texts, leave out leaked held-out ones, draw the arms.

    `folder` receives the tokenizer.
    """
    recipe = decided_run.recipe
    sample = draw_sample(decided_run.run, recipe.seed, max_bytes)
    size = len(sample.keys)
    text_pool = pool_of(decided_run, sample, outputs)
    sample_texts = text_pool.texts.slice(0, size)
    heldout = without_leaks(
        read_heldout(section, recipe.input.column, recipe.seed),
        reference_texts(_trained_on(decided_run), recipe.input.column),
        sample_texts,
        sample.documents["doc_id"].to_pylist(),
        section,
    )
    tokenizer = tokenizer_of(sample_texts, sample.keys, section.vocabulary, recipe.seed, folder)
    corpus = EncodedCorpus(
        pool=encode(tokenizer, text_pool.texts),
        heldout=encode(tokenizer, heldout.table["text"]),
        vocabulary=tokenizer.get_vocab_size(),
    )
    arms = arms_of(decided_run, sample, text_pool, corpus.pool, section.draws)
    with_random = with_controls(corpus.pool, sample.keys, np.arange(size), arms, section.draws, recipe.seed)
    curve = {arm: draws for arm, draws in curve_of(sample, corpus.pool, recipe.seed).items() if len(draws[0])}
    return Prepared(
        corpus=corpus,
        domains=HeldoutDomains(heldout.table["domain"].to_pylist(), corpus.heldout.n_bytes),
        heldout=heldout,
        arms=Arms({**with_random.draws, **curve}, {**with_random.controls, **{arm: arm for arm in curve}}),
        sample=sample,
        outputs=text_pool.outputs,
    )


def _trained_on(decided_run: FinishedRun) -> list[Path]:
    """Files of the reference and of the seeds of domains, which models of the run were trained on."""
    recipe = decided_run.recipe
    seeds = [pattern for domain in recipe.tier3.domains for pattern in domain.seeds] if recipe.tier3 else []
    seed_files = side_files([decided_run.located(pattern) for pattern in seeds], "tier3.domains", "seeds")
    return [file.path for file in open_reference(recipe)] + list(seed_files)
