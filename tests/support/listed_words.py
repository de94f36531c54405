"""Lists of words and texts that hold them."""

from hypothesis import strategies as st

PIECES = [
    "darn", "Darn it", "darning", "é", "É", "x_y", "x", "X", "😀", "\u2028", " ", ".", "a", "A", "слово",
    "СЛОВО", "ß", "SS", "#tag", "Σ", "ς", "’", "'", "\u0301", "E\u0301", "你好", "你", "-", "\n",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=10).map("".join) | st.text("aA xé", max_size=12)
LISTED = ("darn", "darn it", "É", "😀", "x", "a a", "Слово", "#tag", "ß", "你", "σ", "x'x", "'a")
