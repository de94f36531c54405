"""C4's cleaning of lines (Raffel et al. 2020, JMLR 21(140), section 2.2)."""

from collections.abc import Mapping

import pyarrow as pa

from curate import kernels
from curate.filters.registry import Bound, EditRule, cut_table, edit

PAPER = "Raffel et al. 2020, 2.2"
CODE = "C4's code in TensorFlow Datasets (c4_utils.py)"
RULES = (
    EditRule("line_with_long_word", "a line with a word of more than {bound} characters", CODE, 1000),
    EditRule("line_without_terminal_punctuation", "a line that does not end in a mark that ends sentences", PAPER),
    EditRule("line_too_short", "a line of fewer than {bound} words", PAPER, 5),
    EditRule("line_with_javascript", 'a line with "javascript"', PAPER),
    EditRule("line_with_policy", 'a line with "privacy policy", "terms of use", "use cookies" or the like', PAPER),
    EditRule("citation_mark", "[1], [edit] and [citation needed] within a line that stays", PAPER),
)


@edit("c4_lines", RULES)
def c4_lines(texts: pa.Array, bounds: Mapping[str, Bound]) -> pa.Table:
    """The lines and citation marks that C4 cuts."""
    limits = [int(-1 if (bound := bounds[rule.reason]) is None else bound) for rule in RULES]
    return cut_table(kernels.c4_cuts(texts, limits), RULES)
