"""Lists that the user brings: what they match, that their contents count, and how they fail."""

import re
from unicodedata import normalize

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard
from support.listed_words import LISTED, TEXTS
from support.recipes import write_recipe
from support.runs import digests, documents
from support.soak import examples

from curate import kernels
from curate.errors import RecipeError
from curate.filters.block import BlockList, address, count
from curate.kernels.words_of_list import folded
from curate.ledger.ledger import read_ledger

HOSTS = ["a.org", "b.a.org", "ba.org", "A.Org", "org", "c.net", "www.c.net", "", "xn--p1ai", "a.org."]
URLS = st.builds(
    lambda scheme, user, host, rest: f"{scheme}{user}{host}{rest}",
    st.sampled_from(["http://", "HTTPS://", "", "//", " //"]),
    st.sampled_from(["", "me:pw@"]),
    st.sampled_from(HOSTS),
    st.sampled_from(["", "/", "/x", "/x/y?z", "/X", ":80/x", "?x", "#a.org"]),
)
quick = examples(200)


def block_list(kind, *values):
    return BlockList("mine", kind, repr(values), values)


@quick
@given(st.lists(st.none() | TEXTS, max_size=4))
@example(["Darn, darn it; darning a a a x_y X слово", "É😀x ß", "#tag #tags a#tag", "你好 你", "", None])
def test_words_are_found_as_whole_words_in_upper_and_lower_case(texts):
    expected = [None if text is None else sum(begins_at(k, text) for k in range(len(text))) for text in texts]
    found = kernels.count_listed_words(pa.array(texts, pa.string()), kernels.word_table(LISTED))
    assert found.to_pylist() == expected


@quick
@given(st.lists(st.none() | TEXTS, max_size=4))
@example(["Darn, darn it; darning a a a x_y X слово", "darn it it", "a a a", "x'x x", "", None])
def test_words_are_counted_by_label_the_longest_first(texts):
    labels = {word: k % 3 + 1 for k, word in enumerate(LISTED)}
    found = kernels.count_labelled_words(pa.array(texts, pa.string()), kernels.labelled_table(labels), 3)
    assert found.tolist() == [labels_of(text or "", labels) for text in texts]


def labels_of(text, labels):
    """How many words of each label a text has, of those that begin at one place the longest."""
    text, counts = "".join(chr(folded(letter)) for letter in text), [0, 0, 0]
    forms = {
        "".join(chr(folded(c)) for c in normalize(form, word)): label
        for word, label in labels.items()
        for form in ("NFC", "NFD")
    }
    for k in range(len(text)):
        here = [w for w in forms if text.startswith(w, k) and is_border(k, text) and is_border(k + len(w), text)]
        if here:
            counts[forms[max(here, key=len)] - 1] += 1
    return counts


def begins_at(k, text):
    """Whether a listed word begins at a place of a text, as a whole word."""
    text = "".join(chr(folded(letter)) for letter in text)
    words = ["".join(chr(folded(c)) for c in normalize(form, word)) for word in LISTED for form in ("NFC", "NFD")]
    return is_border(k, text) and any(text.startswith(w, k) and is_border(k + len(w), text) for w in words)


def is_border(k, text):
    """Whether no word goes on at a place of a text: neither letters at both sides, nor an accent behind one."""
    joins = r"[^\W\u4e00-\u9fff]\u0301*"  # what makes a word with its like: not letters of a script without spaces
    before = re.search(f"{joins}\\Z", text[:k]) is not None
    return not (before and re.match(f"{joins}|\u0301", text[k:]))


@pytest.mark.parametrize(
    ("word", "text", "n"),
    [
        ("οδος", "ΟΔΟΣ οδος οδοσ", 3),
        ("ΟΔΟΣ", "οδος", 1),
        ("don't", "don’t DON’T don't", 3),
        ("don’t", "don't don’t", 2),
        ("'tis", "’tis 'TIS", 2),
        ("darn", "darn\u0301 darn", 1),
        ("darn", "x\u0301darn", 0),
        ("café", "cafe\u0301 CAFÉ café", 3),
        ("cafe\u0301", "café cafe\u0301s", 1),
        ("cafe", "cafe\u0301", 0),
        ("Émile", "e\u0301mile E\u0301MILE", 2),
        ("कम", "कम कमि", 1),
        ("😀", "😀\ufe0f", 1),
    ],
)
def test_letters_that_differ_by_place_or_typesetting_are_alike(word, text, n):
    assert kernels.count_listed_words(pa.array([text]), kernels.word_table([word])).to_pylist() == [n]


@pytest.mark.parametrize(("letter", "other"), [("É", "é"), ("Ж", "ж"), ("Λ", "λ"), ("Z", "z"), ("ǅ", "ǆ")])
def test_letters_of_all_scripts_have_one_case(letter, other):
    for word, text in ((letter, other), (other, letter)):
        assert kernels.count_listed_words(pa.array([text]), kernels.word_table([word])).to_pylist() == [1]


def test_a_long_list_is_looked_up_as_a_short_one():
    words = [f"word{k}" for k in range(30_000)]
    text = " ".join(f"Word{k}" for k in range(0, 60_000, 7))
    expected = sum(k < 30_000 for k in range(0, 60_000, 7))
    assert kernels.count_listed_words(pa.array([text]), kernels.word_table(words)).to_pylist() == [expected]


@quick
@given(st.lists(st.none() | URLS, max_size=4))
@example(["http://b.a.org/x", "https://ba.org", "me@a.org", "http://c.net/x/y", "http://C.net/X", None, "", "?x"])
def test_sites_and_beginnings_of_addresses_are_told_by_their_host(urls):
    listed = block_list("urls", "a.org", "c.net/x", "xn--p1ai")
    expected = []
    for url in urls:
        host = re.split("[/:?#]", re.sub(r"^ ?(([a-zA-Z]+:)?//)?([^/?#@]*@)?", "", url or ""), maxsplit=1)[0].lower()
        host = host.removesuffix(".").encode("idna").decode()
        ends = {".".join(host.split(".")[k:]) for k in range(len(host.split(".")))}
        hit = bool(ends & {"a.org", "xn--p1ai"}) or (host == "c.net" and address(url or "").startswith("c.net/x"))
        expected.append(None if url is None else int(hit))
    assert count(listed, pa.array([""] * len(urls)), pa.array(urls, pa.string())).to_pylist() == expected


@pytest.mark.parametrize(
    ("entry", "url", "n"),
    [
        ("spam.com", "https://good.org?u=a@spam.com", 0),
        ("spam.com", "https://good.org#a@spam.com", 0),
        ("spam.com", "mailto:joe@spam.com", 0),
        ("spam.com", "Mailto:joe@spam.com", 0),
        ("spam.com", "//spam.com/x", 1),
        ("spam.com", "https://spam.com.", 1),
        ("spam.com", "https://spam.com./x", 1),
        ("spam.com", " \thttps://spam.com ", 1),
        ("spam.com", "spam.com", 1),
        ("spam.com", "me@spam.com", 1),
        ("https://spam.com/", "http://www.spam.com/x", 1),
        ("https://spam.com:443/", "spam.com", 1),
        ("SPAM.com.", "spam.com", 1),
        ("good.org/~joe/", "https://good.org:443/~joe/a", 1),
        ("good.org:8080/~joe/", "https://good.org/~joe/a", 1),
        ("good.org/~joe/", "https://good.org./~joe/a", 1),
        ("good.org/~joe/", "https://good.org/~jane/", 0),
        ("good.org?x=1", "https://good.org/?x=1", 1),
        ("good.org?x=1", "https://good.org", 0),
        ("münchen.de", "https://xn--mnchen-3ya.de/", 1),
        ("xn--mnchen-3ya.de", "https://www.MÜNCHEN.de/", 1),
        ("münchen.de/a", "https://xn--mnchen-3ya.de/a/b", 1),
        ("a..de", "http://ü..de/", 0),
    ],
)
def test_an_address_is_known_however_it_is_written(entry, url, n):
    listed = block_list("urls", address(entry))
    assert count(listed, pa.array(["", ""]), pa.array([url, None])).to_pylist() == [n, None]


def test_a_regular_expression_is_counted_and_cannot_hang():
    texts = pa.array(["aab b aab", None, "", "a" * 100_000])
    assert count(block_list("regex", "a+b"), texts, None).to_pylist() == [2, None, 0, 0]
    assert count(block_list("regex", "(a+)+$"), texts, None).to_pylist() == [0, None, 0, 1]


def corpus(folder):
    texts = [f"{PROSE} {text}" for text in ("Nothing.", "Darn it!", "darn darn", "call 12345", "more", "and more")]
    urls = [None, "http://x.org", "http://x.org", "http://x.org", "http://www.bad.org/a", "http://x.org/bad/1"]
    write_shard(folder / "in" / "a.parquet", texts, url=pa.array(urls, pa.string()))
    (folder / "words.txt").write_text("Darn\n\ndarn\n")
    (folder / "sites.txt").write_text("bad.org\nhttps://X.org/bad/\n")
    return [
        {"reason": "my_words", "words": str(folder / "words.txt")},
        {"reason": "my_numbers", "regex": "[0-9]{5}"},
        {"reason": "my_sites", "urls": str(folder / "sites.txt")},
    ]


def test_listed_documents_are_dropped_for_the_reason_of_the_list_and_the_counts_are_kept(tmp_path):
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"block": corpus(tmp_path)})
    summary = carry_out(recipe)
    assert documents(run, "reason, block_my_words, block_my_numbers, block_my_sites") == [
        (None, 0, 0, None),
        ("my_words", 1, 0, 0),
        ("my_words", 2, 0, 0),
        ("my_numbers", 0, 1, 0),
        ("my_sites", 0, 0, 1),
        ("my_sites", 0, 0, 1),
    ]
    [rules] = [stage for stage in summary["stages"] if stage["stage"] == "rules"]
    assert {reason: n["documents"] for reason, n in rules["dropped"].items()} == {
        "my_words": 2,
        "my_numbers": 1,
        "my_sites": 2,
    }


def test_max_allows_some_and_a_threshold_of_null_switches_a_list_off(tmp_path):
    lists = corpus(tmp_path)
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"block": [lists[0] | {"max": 1}, lists[1]]})
    carry_out(recipe, "tier1.thresholds.my_numbers=null")
    assert [reason for (reason,) in documents(run, "reason")] == [None, None, "my_words", None, None, None]


def test_a_list_that_changes_is_looked_for_again_and_nothing_else_is(tmp_path):
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"block": corpus(tmp_path)[:1]})
    carry_out(recipe)
    before = {part.group: part.digest for part in read_ledger(run).parts}
    first = digests(run)
    carry_out(recipe)
    assert digests(run) == first
    (tmp_path / "words.txt").write_text("more\n")
    carry_out(recipe)
    after = {part.group: part.digest for part in read_ledger(run).parts}
    assert {g for g in before if before[g] != after[g]} - {"decisions", "data"} == {"block"}
    assert [reason for (reason,) in documents(run, "reason")] == [None, None, None, None, "my_words", "my_words"]


def test_words_are_looked_for_in_the_edited_text(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE}\n{PROSE}\n{PROSE}\nDarn menu\n"])
    (tmp_path / "words.txt").write_text("darn")
    lists = [{"reason": "my_words", "words": str(tmp_path / "words.txt")}]
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["c4"], "block": lists})
    carry_out(recipe)
    assert documents(run, "reason, block_my_words") == [(None, 0)]


def test_plan_and_two_workers_know_the_lists(tmp_path):
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"block": corpus(tmp_path)})
    done = command("plan", recipe)
    assert (done.returncode, done.stderr) == (0, "")
    assert "my_words" in done.stdout
    done = command("run", recipe, "--quiet", "--workers", 2)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(documents(run, "doc_id", "kept")) == 1


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ({"words": "gone.txt"}, "tier1.block: mine: gone.txt: no such file"),
        ({"words": "empty.txt"}, "tier1.block: mine: empty.txt: is empty; write one entry a line"),
        ({"urls": "."}, "tier1.block: mine: .: a folder; name its file"),
        ({"words": "latin.txt"}, "tier1.block: mine: latin.txt: not UTF-8 text"),
        ({"regex": "(a"}, "tier1.block: mine: '(a' is not a regular expression of RE2: missing ): (a"),
        ({"regex": r"(a)\1"}, r"tier1.block: mine: '(a)\\1' is not a regular expression of RE2: invalid escape"),
        ({"regex": "a*"}, "tier1.block: mine: 'a*' matches the empty text, and so every document"),
        ({"words": "w.txt", "regex": "a"}, "tier1.block.0: mine: an entry has one of `words`, `regex` and `urls`"),
        ({}, "tier1.block.0: mine: an entry has one of `words`, `regex` and `urls`"),
        ({"wrds": "w.txt"}, "tier1.block.0 has no field 'wrds'; did you mean 'words'?"),
        ({"urls": "mail.txt"}, "tier1.block: mine: 'mailto:joe@spam.com' names no site; write a domain or an address"),
        ({"urls": "w.txt"}, "tier1.block: mine: the input has no column 'url' that holds text"),
        ({"words": "w.txt", "reason": "empty_text"}, "tier1.rules: the reason 'empty_text' is built in"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_in_one_line(tmp_path, monkeypatch, entry, error):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "w.txt").write_text("darn")
    (tmp_path / "mail.txt").write_text("mailto:joe@spam.com")
    write_shard(tmp_path / "in" / "a.parquet", [PROSE])
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", tier1={"block": [{"reason": "mine"} | entry]})
    with pytest.raises(RecipeError, match=re.escape(error)) as told:
        carry_out(recipe)
    assert "\n" not in str(told.value)
