"""Text that was decoded wrongly, against Python's own codecs and a regular expression."""

import re

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.commands import carry_out
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe
from support.runs import documents
from support.soak import examples

from curate import kernels
from curate.filters.signals.broken import broken_text

SPECIAL = "".join(bytes([byte]).decode("cp1252", "ignore") for byte in range(0x80, 0xA0))
FOLLOWING = f"[\u0080-\u00bf{SPECIAL}]"
MOJIBAKE = re.compile(f"[ÂÃÄÅÎÏÐÑØÙ]{FOLLOWING}|[à-ï]{FOLLOWING}{{2}}|[ð-ô]{FOLLOWING}{{3}}|Â ")
PIECES = [
    "a",
    " ",
    "Â",
    "Ã",
    "©",
    "â",
    "€",
    "™",
    "\u00a0",
    "é",
    "É",
    "”",
    "ð",
    "Ÿ",
    "˜",
    "€",
    "\u0080",
    "你",
    "Ð",
    "°",
    "\n",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text(max_size=20)
quick = examples(300)


def misread(text, codec="cp1252"):
    """UTF-8 read as something else; what Windows-1252 lacks is read as Latin-1, as browsers do."""
    return "".join(bytes([byte]).decode(codec, "ignore") or chr(byte) for byte in text.encode())


@quick
@given(st.lists(st.none() | TEXTS, max_size=4))
@example(["Ã©", "â€™", "Â ", "Â\u00a0x", "ðŸ˜€", "É»", "CAFÉ” ", "Ã", "â€", "ÂÂ ", None, ""])
def test_mojibake_is_what_a_regular_expression_says(texts):
    expected = [None if text is None else sum(map(len, MOJIBAKE.findall(text))) for text in texts]
    assert kernels.count_mojibake(pa.array(texts, pa.string())).to_pylist() == expected


@pytest.mark.parametrize("codec", ["cp1252", "latin-1"])
@pytest.mark.parametrize("text", ["façade", "naïve — “so”", "Привет", "Ελλάδα", "你好", "żółw", "😀", "مرحبا"])
def test_what_was_read_wrongly_is_found_and_what_was_read_rightly_is_not(codec, text):
    wrong = misread(text, codec)
    others = sum(c.isascii() for c in text)
    assert kernels.count_mojibake(pa.array([text, wrong])).to_pylist() == [0, len(wrong) - others]


@quick
@given(st.lists(TEXTS, max_size=4))
def test_ratios_are_per_character(texts):
    columns = broken_text(pa.array(texts, pa.string()))
    for k, text in enumerate(texts):
        controls = sum(
            len(c.encode()) > 0 and re.fullmatch(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]", c) is not None for c in text
        )
        counts = [sum(map(len, MOJIBAKE.findall(text))), controls, text.count("\ufffd")]
        expected = [pytest.approx(n / len(text), abs=1e-6) if text else None for n in counts]
        assert [
            columns[name][k].as_py() for name in ("mojibake_ratio", "control_ratio", "replacement_ratio")
        ] == expected


def test_the_set_drops_what_is_broken_for_what_is_broken(tmp_path):
    texts = [
        f"{PROSE} Café, naïve and “so on”, \u00a0 you’d say.",
        f"{PROSE} {misread('Café, naïve and “so on”')}",
        f"{PROSE} \x1b$B \x1b(B",
        f"{PROSE} caf\ufffd\ufffd",
        f"{PROSE} \t\r\n one \ufeff",
    ]
    write_shard(tmp_path / "in" / "a.parquet", texts)
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["broken_text"]})
    carry_out(recipe)
    reasons = ["too_much_mojibake", "too_many_control_characters", "too_many_replacement_characters"]
    assert [reason for (reason,) in documents(run, "reason")] == [None, *reasons, None]
