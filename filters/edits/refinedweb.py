"""RefinedWeb's corrections of lines (Penedo et al. 2023, appendix G.2), and DCLM's additions to them."""

from collections.abc import Mapping

import pyarrow as pa

from curate import kernels
from curate.filters.registry import Bound, EditRule, cut_table, edit

PAPER = "Penedo et al. 2023, G.2"
DCLM = "Li et al. 2024 and its code (dclm_baseline_refinedweb.yaml)"
RULES = (
    EditRule("line_in_capitals", "a line with more than {bound} upper-case letters per character", PAPER, 0.5),
    EditRule("line_of_numbers", "a line of digits and white space", PAPER),
    EditRule("line_is_counter", 'a line that is a count, as in "3 likes"', PAPER),
    EditRule("line_of_one_word", "a line of fewer than {bound} words", PAPER, 2),
    EditRule("navigation", '"sign in", "read more" and "items in cart" in a line of up to {bound} words', PAPER, 10),
)
DCLM_RULES = (
    EditRule("web_address", "a web address and the spaces before it", DCLM),
    EditRule("too_many_newlines", "newlines beyond {bound} in a row", DCLM, 2),
)


@edit("refinedweb_lines", RULES)
def refinedweb_lines(texts: pa.Array, bounds: Mapping[str, Bound]) -> pa.Table:
    """The lines and navigation phrases that RefinedWeb cuts."""
    limits = [float(-1 if (bound := bounds[rule.reason]) is None else bound) for rule in RULES]
    return cut_table(kernels.refinedweb_cuts(texts, limits), RULES)


@edit("dclm_addresses", DCLM_RULES)
def dclm_addresses(texts: pa.Array, bounds: Mapping[str, Bound]) -> pa.Table:
    """The web addresses and empty lines that DCLM cuts."""
    limits = [int(-1 if (bound := bounds[rule.reason]) is None else bound) for rule in DCLM_RULES]
    return cut_table(kernels.address_cuts(texts, limits), DCLM_RULES)
