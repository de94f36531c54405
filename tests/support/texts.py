"""Texts that Hypothesis draws for kernels, and texts that kernels once got wrong."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from support.characters import CODES

import curate.sample

WORDS_AND_MARKS = [
    "the", "The", "THAT", "of", "with", "because", "before", "don't", "it's", "x1", "1the", "3.14", "snake_case",
    "internationalisation", "#", "##tag", ".", "..", "...", "....", "…", "!", "?", ",", "-", "--", "*", "•", "·",
    "(", ")", '"', "'", "”", "’", "«", "»", "@", "$", "^", "`", "~", "a", "B", "z", "0", "9",
]  # fmt: skip
SPACES = [*" \n\t\v\f\x1c\x1f\x85\xa0\u2003\u2028\u3000", "  ", "\n\n", "\r\n"]
SCRIPTS = [
    "你好世界々〇漢豈𠀀「」。！",
    "ひらがなゔゞカタカナーヴｶﾞ゛\u304b\u3099\u309a",
    "ภาษาไทยำ้๑ๆພາສາລາວໆ໑",
    "ភាសាខ្មែរ១ៗမြန်မာ၁ႏ",
    "العربيةـ٣،؟ٱלְעבריתשָׁלוֹםשׁ",
    "हिन्दीक़\u0958।३বাংলা",
    "བོད་ཡིག།༌ኢትዮጵያ፡አዲስ።ꆈꌠꁱꂷꦗꦮᬩᬮᥖᥭᨲ",
    "한국어ㄱ가\u1100\u1112\u1161\u1175\u11a7\u11a8\u11c2\ua960\ud7b0\ud7fb",
    "ΑΒΓΣΆσςабвЁИ́Աա։Ꭰꭰ\u2126\U00010400\U0001e900\U0001e943\U0001d400",
    "éÉèEeAaOo\u0301\u0308\u0323\u0328\u20dd\u0344\u0345",
    "İIıẞßﬁǅǄÅ\u212b\u212aK\u023a\u2c65ŉ²½Ⅷ①٪€©™∑",
    "😀👩\u200d🏽🇩🇪\ufe0f\U000e0041",
    "\0\x07\x7f\x80\ufeff\ufffd\u200b\u00ad\U000f0000\U0010fffd",
]
PIECES = st.one_of(
    st.sampled_from(WORDS_AND_MARKS),
    st.sampled_from(SPACES),
    st.one_of([st.text(script, min_size=1, max_size=6) for script in SCRIPTS]),
    st.sampled_from(CODES).map(chr),
)
TEXTS = st.lists(PIECES, max_size=30).map("".join)
ARRAYS = st.lists(st.none() | TEXTS, max_size=6)
TORN = [b"\xc3", b"\xe4\xbd", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\xff"]
SAMPLE_TEXTS = [
    text
    for path in sorted(Path(curate.sample.__path__[0]).glob("*.parquet"))
    for text in pq.read_table(path, columns=["text"])["text"].to_pylist()
]
FEW_WORDS = ["a", "b", "the", "The", "seven77", "eight888", "nine99999", "nine99998", "a,", "é", "don’t", "你",
             "「好」。", "internationalisation", "internationalization", "\0", "\0\0", "\x01"]  # fmt: skip


REPEATING = st.lists(st.sampled_from(FEW_WORDS), max_size=60).map(" ".join)
PASSAGES = st.lists(TEXTS, max_size=4).flatmap(
    lambda texts: st.lists(st.sampled_from([*texts, " ", "a "]), max_size=12).map("".join)
)
LINES = st.lists(st.one_of(PIECES, st.sampled_from(["", " ", "a", "a \0", "\0a", "eight ch", "nine char"])), max_size=4)
LINED = LINES.flatmap(lambda lines: st.lists(st.sampled_from([*lines, "", "\u2003", "b\r", "b"]), max_size=25)).map(
    "\n".join
)
CAPITALS = ["ΣΟΦΟΣ Σ ΟΔΟΣ.", "İstanbul İ", "Kelvin 3Å Ωhm", "ΆΈΉ", "Ⱥ ⱥ STRASSE ẞ", "a你好b ไทย_x", "ÀÉ Привет МИР"]


def documents(*texts):
    return pa.table({"doc_id": [f"d{k}" for k in range(len(texts))], "text": pa.array(texts, pa.large_string())})
