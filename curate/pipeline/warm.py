"""Compile the kernels that a run needs before its workers start on tasks, and load them in each worker."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pyarrow as pa

from curate.corpus.edits import Finder, apply_edits, find_edits, sorted_edits
from curate.dedup.lines import cut
from curate.filters import registry
from curate.filters.language import model as language_model
from curate.filters.language.perplexity import GROUP as PERPLEXITY
from curate.kernels.corpus_lines import line_hashes
from curate.kernels.jit import is_compiled
from curate.kernels.minhash import agreeing, band_keys, jaccard, minhash, shingle_sets, values_of
from curate.kernels.survivors import clusters, dealt, resemblance, stars, survivors
from curate.kernels.words_of_list import count_listed_words, word_table
from curate.ledger.names import BLOCK, EDITS, LINE_HASHES, SIGNATURES
from curate.maps.warm import compile_once, warm_texts


def compile_kernels(groups: Iterable[str], editors: Sequence[Finder]) -> None:
    """Compile the kernels that measure these groups, find these edits, and compare documents."""
    measuring = {group: _kernels_of(group) for group in groups if _has_kernels(group)}
    finding = {editor.name: _finding(editor) for editor in editors}
    editing = {EDITS: _edit} if finding or LINE_HASHES in measuring else {}
    compile_once({**measuring, **finding, **editing})


def load_kernels() -> None:
    """Load the kernels of the default groups that an earlier process compiled, so that the first task need not."""
    for group in registry.groups():
        if group not in registry.ON_DEMAND and is_compiled(group):
            _kernels_of(group)()


def _has_kernels(group: str) -> bool:
    return group in registry.groups() or group in (SIGNATURES, LINE_HASHES, BLOCK)


def _kernels_of(group: str) -> Callable[[], object]:
    special: dict[str, Callable[[], object]] = {
        SIGNATURES: _compare,
        LINE_HASHES: _cut_lines,
        PERPLEXITY: lambda: language_model.warm(warm_texts()),
        BLOCK: lambda: count_listed_words(warm_texts(), word_table(["warm"])),
    }
    return special.get(group) or (lambda: [signal(warm_texts()) for signal in registry.groups()[group]])


def _compare() -> None:
    """Call the kernels that find near duplicates and choose survivors."""
    signatures = minhash(warm_texts(), 1, 1)
    sets = shingle_sets(warm_texts(), 1)
    jaccard(sets, sets)
    values = values_of(signatures)
    agreeing(values, values)
    ranks = np.arange(len(values))
    for keys in band_keys(signatures, 1, 1):
        stars(ranks, keys.to_numpy())
        dealt(keys.to_numpy(), 1)
    survivors(ranks[:1], ranks[1:2], len(ranks))
    clusters(ranks[:1], ranks[1:2], len(ranks))
    resemblance(values, np.ones(len(values), np.int64), np.array([0, len(values)]))


def _cut_lines() -> None:
    texts = warm_texts().drop_null()
    cut(texts, find_edits(texts, []), line_hashes(texts))


def _finding(editor: Finder) -> Callable[[], object]:
    return lambda: find_edits(warm_texts(), [editor])


def _edit() -> None:
    edits = pa.table({"row": [0], "start": [0], "end": [1], "replacement": ["w"]})
    apply_edits(warm_texts(), sorted_edits(edits))
