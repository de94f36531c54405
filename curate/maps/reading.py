"""How documents are read and measured: all that a task needs from the recipe."""

from dataclasses import dataclass

import pyarrow as pa

from curate.corpus.edits import Finder
from curate.filters import block
from curate.filters.contamination.signals import EvaluationNgrams
from curate.filters.language.model import LanguageModel


@dataclass(frozen=True)
class Reading:
    """Columns, editors and models by which documents are read and measured."""

    text: str
    id: str | None
    input_columns: tuple[tuple[str, pa.DataType], ...]
    editors: tuple[Finder, ...] = ()
    permutations: int = 0  # values of a signature
    shingle: int = 0  # words of a shingle
    sought: EvaluationNgrams | None = None  # n-grams of evaluation sets
    blocks: tuple[block.BlockList, ...] = ()
    models: tuple[LanguageModel, ...] = ()
    casts: tuple[tuple[str, str], ...] = ()  # columns, and the types that the recipe casts them to

    @property
    def by_language(self) -> bool:
        """Whether any model is for one language only."""
        return any(model.language for model in self.models)


def editor_identities(reading: Reading) -> list[object]:
    """The name, bounds and code of each editor: what the edits of documents depend on."""
    return [(editor.name, editor.bounds, editor.code) for editor in reading.editors]
