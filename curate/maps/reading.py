"""How documents are read and measured: all that a task needs to know of the recipe."""

from dataclasses import dataclass

import pyarrow as pa

from curate.corpus.edits import Finder
from curate.filters import block
from curate.filters.contamination.signals import Sought
from curate.filters.language.model import LanguageModel


@dataclass(frozen=True)
class Reading:
    """How documents are read: the columns of the recipe."""

    text: str
    id: str | None
    input_columns: tuple[tuple[str, pa.DataType], ...]
    editors: tuple[Finder, ...] = ()
    permutations: int = 0  # of a signature
    shingle: int = 0  # words
    sought: Sought | None = None  # what of evaluation sets
    blocks: tuple[block.BlockList, ...] = ()
    models: tuple[LanguageModel, ...] = ()
    casts: tuple[tuple[str, str], ...] = ()  # columns that the recipe reads as another type

    @property
    def by_language(self) -> bool:
        """Whether a model is for some documents alone."""
        return any(model.language for model in self.models)
