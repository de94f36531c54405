"""What line rules cut, against slow and obvious Python."""

import re
import unicodedata

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.soak import examples

from curate import kernels
from curate.corpus.edits import apply_edits, find_edits
from curate.errors import RecipeError
from curate.filters import registry
from curate.filters.rules.resolve import resolve, resolve_editors
from curate.kernels.c4 import POLICY_PHRASES
from curate.kernels.refinedweb import ANYWHERE, AT_BEGINNING, AT_END, COUNTED
from curate.kernels.unicode import CLASS_BLOCKS, CLASS_INDEX, SPACELESS
from curate.recipe.tier1 import Tier1

MARK = r"\[(?:[0-9]*|edit|citation needed)\]"
PIECES = [
    "A good line of five words.",
    "Short one.",
    "no end",
    "ends in dots...",
    "JavaScript must be on to read this.",
    "x" * 13,
    "We use cookies on this fine site.",
    "你好，世界今天很好。",
    "यह एक अच्छा वाक्य है।",
    "هل هذا سطر جيد جدا؟",
    "“Quoted and closed.”",
    "[1]",
    "[edit]",
    "[citation needed]",
    "[12",
    "HELLO",
    "12 34",
    "3 likes",
    "(1.2K Views)",
    "Word",
    "Sign in",
    "sign-up now ",
    "Read more...",
    "read more",
    "read more…",
    "4 items in cart",
    "item in cart",
    "\n",
    "\n",
    "\n\n",
    " ",
    "\t",
    ".",
    "!",
    "é",
    "1",
    "\u2028",
    "\r\n",
]
ADDRESSES = [
    "https://a.b/c?d=e.",
    "www.x.org,",
    "www.",
    "http://",
    "ftp://é",
    "xhttp://y",
    "see ",
    "\n",
    "\n\n\n",
    " ",
    "\t",
    "(",
    ")",
    "é",
    "word",
    '"',
    "<",
    ":",
    "://",
    "W",
    "WWW.z",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=9).map("".join) | st.text("ab. \n[1]", max_size=20)
ARRAYS = st.lists(st.none() | TEXTS, max_size=4)
quick = examples(200)


def bounds_of(edit, **changed):
    """The bounds of an edit as published, but for those changed."""
    return registry.published_bounds(registry.edits()[edit]) | changed


def found(edit, texts, **changed):
    """The edits in texts, and the edited texts."""
    editor = registry.Editor(edit, tuple(bounds_of(edit, **changed).items()))
    table = find_edits(pa.array(texts, pa.string()), [editor])
    return table.to_pylist(), apply_edits(pa.array(texts, pa.string()), table).to_pylist()


def n_words(line):
    return kernels.count_words(pa.array([line]))["words"][0].as_py()


def spaceless(c):
    return bool(CLASS_BLOCKS[CLASS_INDEX[ord(c) >> 7], ord(c) & 127] & SPACELESS)


def carved(text, judge):
    """What stays of a text, and the reasons for what goes in order, by `judge`: a line to (reason, its edited self)."""
    out, reasons, cut_before, cut_behind = [], [], False, False
    for line in text.split("\n"):
        if not line.strip():
            if not (cut_before and (not out or not out[-1].strip())):
                out.append(line)
                cut_before = False
            continue
        reason, edited, inner = judge(line)
        cut_before = cut_behind = reason is not None
        reasons += [reason] if reason else inner
        if reason is None:
            out.append(edited)
    if cut_behind:
        while out and not out[-1].strip():
            out.pop()
        return "\n".join(out) + "\n" * (bool(out) and text.endswith("\n")), reasons
    return "\n".join(out), reasons


def c4_judge(bounds):
    """C4's rules on a line, in their order."""

    def judge(line):
        whole = line.strip()
        together = "".join(" " if spaceless(c) else c for c in whole).split()
        longest = bounds["line_with_long_word"]
        if longest is not None and max(map(len, together), default=0) > longest:
            return "line_with_long_word", line, []
        marks = re.findall(MARK, whole) if bounds["citation_mark"] else []
        body = re.sub(rf"(?:\s*{MARK})+\s*$", "", whole) if marks else whole
        without = re.sub(MARK, "", body) if marks else body
        if bounds["line_without_terminal_punctuation"] and (
            not body or body[-1] not in ".!?\"'”’»。！？」』।۔؟։" or body.endswith("...")
        ):
            return "line_without_terminal_punctuation", line, []
        if bounds["line_too_short"] is not None and n_words(without) < bounds["line_too_short"]:
            return "line_too_short", line, []
        lower = "".join(c.lower() if c.isascii() else c for c in body)
        places = {p: lower.find(p) for p in (*POLICY_PHRASES, "javascript")}
        if bounds["line_with_javascript"] and places["javascript"] >= 0 and not bounds["line_with_policy"]:
            return "line_with_javascript", line, []
        if bounds["line_with_policy"] and any(places[p] >= 0 for p in POLICY_PHRASES) and places["javascript"] < 0:
            return "line_with_policy", line, []
        if max(places.values()) >= 0 and (bounds["line_with_javascript"] or bounds["line_with_policy"]):
            either = "line_with_javascript" if places["javascript"] >= 0 else "line_with_policy"
            if bounds[either]:
                return either, line, []
        return None, re.sub(MARK, "", line) if marks else line, ["citation_mark"] * len(marks)

    return judge


@quick
@given(
    ARRAYS,
    st.sampled_from(
        [
            {},
            {"line_without_terminal_punctuation": None},
            {"line_too_short": 3, "citation_mark": None},
            {"line_too_short": None, "line_with_policy": None},
            {"line_with_javascript": None},
        ]
    ),
)
@example(["a.\n\nbad"], {})
@example(["A good line of five words.\nbad\n\nA good line of five words."], {})
@example(["\n\nbad\n\nA good line of five words.\n\n\n"], {})
@example(["A good line of five words. [1] [2]\nbad\n\n[edit]\n"], {})
@example(["We use cookies on this fine site, and JavaScript must be on to read it."], {})
def test_c4_cuts_the_lines_that_its_rules_name_and_leaves_no_gaps(texts, changed):
    bounds = bounds_of("c4_lines", line_with_long_word=12, **changed)
    edits, edited = found("c4_lines", texts, line_with_long_word=12, **changed)
    expected = [None if text is None else carved(text, c4_judge(bounds)) for text in texts]
    assert edited == [None if one is None else one[0] for one in expected]
    assert [edit["reason"] for edit in edits] == [reason for one in expected if one for reason in one[1]]


def refinedweb_judge(bounds):
    """RefinedWeb's rules on a line, in their order."""

    def judge(line):
        whole = line.strip()
        upper = sum(unicodedata.category(c) in ("Lu", "Lt") for c in whole)
        if bounds["line_in_capitals"] is not None and upper / len(whole) > bounds["line_in_capitals"]:
            return "line_in_capitals", line, []
        if bounds["line_of_numbers"] and all(c.isspace() or unicodedata.category(c) == "Nd" for c in whole):
            return "line_of_numbers", line, []
        marks = r"[\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]*"
        count = rf"{marks}[0-9][0-9,.]*[kmb]? +(?:{'|'.join(COUNTED)}){marks}"
        if bounds["line_is_counter"] and re.fullmatch(count, whole, re.IGNORECASE | re.ASCII):
            return "line_is_counter", line, []
        if bounds["line_of_one_word"] is not None and n_words(whole) < bounds["line_of_one_word"]:
            return "line_of_one_word", line, []
        if bounds["navigation"] is None or n_words(whole) > bounds["navigation"]:
            return None, line, []
        rest, n = without_navigation(whole)
        if n and not any(c.isalpha() for c in rest):
            return "navigation", line, []
        return None, line.replace(whole, rest), ["navigation"] * n

    return judge


def without_navigation(line):
    """A short line without what leads to other pages, and how many such things were in it."""
    word = r"[A-Za-z0-9\x80-\U0010ffff]"
    n = 0
    rest, k = re.subn(rf"\A(?:{'|'.join(AT_BEGINNING)})(?!{word}) *", "", line, flags=re.IGNORECASE | re.ASCII)
    n += k
    ends = "|".join(map(re.escape, AT_END))
    rest, k = re.subn(rf" *(?<!{word})(?:{ends})\Z", "", rest, flags=re.IGNORECASE | re.ASCII)
    n += k
    rest, k = re.subn(rf" *(?<!{word})(?:{'|'.join(ANYWHERE)})(?!{word})", "", rest, flags=re.IGNORECASE | re.ASCII)
    return rest, n + k


@quick
@given(
    ARRAYS,
    st.sampled_from(
        [
            {},
            {"line_in_capitals": 0.9},
            {"line_of_one_word": None, "navigation": 3},
            {"line_of_numbers": None, "line_of_one_word": 3},
            {"navigation": None},
        ]
    ),
)
@example(["Sign in read more\nSign in, to read more...\nAll the items in cart are here\n4 items in cart"], {})
def test_refinedweb_cuts_the_lines_that_its_rules_name_and_leaves_no_gaps(texts, changed):
    bounds = bounds_of("refinedweb_lines", **changed)
    edits, edited = found("refinedweb_lines", texts, **changed)
    expected = [None if text is None else carved(text, refinedweb_judge(bounds)) for text in texts]
    assert edited == [None if one is None else one[0] for one in expected]
    assert [edit["reason"] for edit in edits] == [reason for one in expected if one for reason in one[1]]


@quick
@given(st.lists(st.none() | st.lists(st.sampled_from(ADDRESSES), max_size=9).map("".join), max_size=4))
@example(["see https://a.b/c(d). And www.x.org!\n\n\n\nend"])
def test_dclm_cuts_addresses_and_surplus_newlines(texts):
    address = rb"[ \t]*(?<![A-Za-z0-9\x80-\xff])(?:(?:https?|ftp)://|www\.(?=[\x00-\xff]))[\x21\x23-\x3b\x3d\x3f-\x7f]*"

    def without(text):
        pieces = re.split(rb"(?i)(" + address + rb"|\n{3,})", text.encode())
        for k in range(1, len(pieces), 2):
            kept = re.search(rb"[!'),.:;?\]}]*\Z", pieces[k])[0]
            pieces[k] = b"\n\n" if pieces[k].startswith(b"\n") else kept
        return b"".join(pieces).decode()

    assert found("dclm_addresses", texts)[1] == [None if text is None else without(text) for text in texts]


@pytest.mark.parametrize(
    "line",
    [
        "今天天气很好，我们去公园。",
        "今天天气真的很好！",
        "你今天要去公园吗？",
        "यह एक बहुत अच्छा वाक्य है।",
        "هل هذا سطر جيد جدا هنا؟",
        "یہ ایک بہت اچھا جملہ ہے۔",
        "ይህ፡በጣም፡ጥሩ፡ረጅም፡ነው!",
        "Да, это хорошая строка текста.",
        "He said: “This is the end of it.”",
    ],
)
def test_a_sentence_in_any_script_is_a_line_that_c4_keeps(line):
    assert found("c4_lines", [line])[0] == []


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("Keep this line of five.\nbad\nKeep this line of five.", "Keep this line of five.\nKeep this line of five."),
        ("Keep this line of five.\nbad", "Keep this line of five."),
        ("Keep this line of five.\nbad\n", "Keep this line of five.\n"),
        ("Keep this line of five.\n\nbad\n\nbad\n", "Keep this line of five.\n"),
        (
            "Keep this line of five.\n\nbad\n\nKeep this line of five.",
            "Keep this line of five.\n\nKeep this line of five.",
        ),
        (
            "Keep this line of five.\nbad\n\nKeep this line of five.",
            "Keep this line of five.\n\nKeep this line of five.",
        ),
        ("bad\n\nKeep this line of five.\n", "Keep this line of five.\n"),
        ("bad\nbad", ""),
        ("\n \n", "\n \n"),
    ],
)
def test_no_blank_lines_pile_up_where_lines_are_cut(text, edited):
    assert found("c4_lines", [text])[1] == [edited]


def test_each_cut_line_is_an_edit_with_its_own_reason():
    edits, _ = found("c4_lines", ["bad\nToo short.\nThis is javascript in a line.\nThis line is good and stays[1]."])
    assert [(edit["start"], edit["end"], edit["reason"]) for edit in edits] == [
        (0, 4, "line_without_terminal_punctuation"),
        (4, 15, "line_too_short"),
        (15, 45, "line_with_javascript"),
        (72, 75, "citation_mark"),
    ]


def test_lines_that_two_editors_cut_go_once_and_without_a_gap():
    texts = pa.array(["This line is good and stays.\nWORD\nanother"])
    editors = [registry.Editor(name, tuple(bounds_of(name).items())) for name in ("refinedweb_lines", "c4_lines")]
    table = find_edits(texts, editors)
    assert apply_edits(texts, table).to_pylist() == ["This line is good and stays."]
    assert table["reason"].to_pylist() == ["line_in_capitals", "line_of_one_word"]


def test_a_set_gives_an_edit_bounds_of_its_own():
    [editor] = resolve_editors(Tier1(rules=["datatrove_c4"]))
    assert dict(editor.bounds) == bounds_of("c4_lines", line_too_short=3)


def test_two_sets_with_other_bounds_for_an_edit_are_refused_unless_the_recipe_settles_it():
    sets = ["c4", "datatrove_c4"]
    expected = (
        "tier1.rules: c4 has line_too_short: 5, datatrove_c4 has 3; "
        "name one of the two sets, or set tier1.thresholds.line_too_short"
    )
    with pytest.raises(RecipeError) as told:
        resolve(Tier1(rules=sets))
    assert str(told.value) == expected
    [editor] = resolve_editors(Tier1(rules=sets, thresholds={"line_too_short": 4}))
    assert dict(editor.bounds)["line_too_short"] == 4


def test_a_set_cannot_give_an_edit_a_bound_that_it_has_not():
    with pytest.raises(TypeError, match=r"the edit c4_lines has no bound for \['citation_mark'\]"):
        registry.with_bounds(registry.edits()["c4_lines"], {"citation_mark": 1})
