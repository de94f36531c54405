"""Facts of texts: told alike however they are written, found where they are new, and never personal data."""

import re

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow.parquet import read_table
from support.corpora import SAMPLE
from support.soak import examples

from curate.distill.text.facts import Fact, copy_share, facts_of, kept_facts, length_ratio


def array(*texts):
    return pa.array(texts, pa.large_string())


def new(original, written):
    """How many facts of a written text its original lacks, and which of them are shown."""
    found = kept_facts(array(original), array(written))
    return found["n_new_facts"][0].as_py(), found["new_facts"][0].as_py()


def kept(original, written):
    return kept_facts(array(original), array(written))["facts_kept"][0].as_py()


@pytest.mark.parametrize(
    ("original", "written"),
    [
        ("It cost 1,000 pounds.", "It cost 1000 pounds."),
        ("It cost 1 000 000 euros.", "It cost 1.000.000 €."),
        ("It cost 12,34,567 rupees.", "It cost ₹1234567."),
        ("It rose by 5 %.", "It rose by five percent."),
        ("It rose by 5 per cent.", "It rose by 5%."),
        ("It was $3.5 million.", "It was 3,500,000 dollars."),
        ("It was £2bn.", "It was two billion pounds."),
        ("We ran 5 km.", "We ran five kilometres."),
        ("They ran 5 to 10 km.", "They ran from 5 km up to 10 km."),
        ("It took 2-3 million years.", "It took 2 million years or 3 million years."),
        ("On March 5, 2021 it fell.", "On the 5th of March in 2021 it fell."),
        ("Es war am 05.03.2021.", "It was on March 5, 2021."),
        ("On 2021-03-05 it fell.", "It fell on 5 March 2021."),
        ("It fell on 3/5/2021.", "On March 5, 2021 it fell."),
        ("We met at 08:30 p.m.", "At 8:30 pm we met."),
        ("Published in nineteen eighty-four.", "It came out in 1984."),
        ("Two hundred and six bones.", "There are 206 bones."),
        ("The 21st century.", "The twenty-first century."),
        ("He won the third prize.", "He won the 3rd prize."),
        ("It is 0.50 wide.", "It is 0.5 wide."),
        ("He was 7 in 1990.", "In the 1990s he was seven."),
        ("售价3万元,2021年3月5日。", "2021年3月5日,售价30000元。"),
        ("عام ١٩٩٠ و١٢٫٥ كم", "1990, 12.5"),
        ("２０２０年", "2020年"),
        ("बजट 5 लाख रुपये", "बजट 500000 रुपये"),
        ("По данным, 5 млн рублей.", "5000000 ₽ по данным."),
    ],
)
def test_a_number_is_the_same_however_it_is_written(original, written):
    assert new(original, written) == (0, [])
    assert kept(original, written) == 1.0


@pytest.mark.parametrize(
    ("original", "written", "shown"),
    [
        ("It cost 1,000 pounds.", "It cost 1,100 pounds.", ["1,100 pounds"]),
        ("It rose by 5 %.", "It rose by 5 dollars.", ["5 dollars"]),
        ("We ran 5 km.", "We ran 5 miles.", ["5 miles"]),
        ("It was $3.5 million.", "It was $3.5 billion.", ["$3.5 billion"]),
        ("It fell in March 2021.", "It fell in April 2021.", ["April"]),
        ("They met on Monday.", "They met on Friday.", ["Friday"]),
        ("It was −5 °C.", "It was −15 °C.", ["−15 °C"]),
        ("He won the third prize.", "He won the second prize.", ["second"]),
        ("There are two ways.", "There are three ways.", ["three"]),
        ("Version 3.14.2 is out.", "Version 3.14.3 is out.", ["3.14.3"]),
        ("售价3万元。", "售价4万元。", ["4万元"]),
    ],
)
def test_another_number_is_new(original, written, shown):
    assert new(original, written) == (len(shown), shown)


@pytest.mark.parametrize(
    ("original", "written"),
    [
        ("the results were clear.", "Results were clear. However, they were late."),
        ("Water boils in a pot.", "What boils in a pot? Water does. Why? Because it is hot. How so?"),
        ("It was built by the dutch.", "The Dutch built it."),
        ("Ann Lee met Bo Ek.", "There Ann Lee and Bo Ek met."),
        ("Barack Obama spoke.", "Then Obama's speech began, and I'm told that Obama left."),
        ("He came from Italy.", "He was an Italian."),
        ("The National Aeronautics and Space Administration in brief.", "It is what NASA does, in brief."),
        ("WebAssembly is fast.", "It is said that Web Assembly is fast."),
        ("Call the method get_user of it.", "We call `get_user()` of it."),
        ("It is about cells.", "# Key Facts About Biology\n\n**Main Points:** it is about cells.\n\n- Notes"),
        ("It is about cells.", "1. It is about cells.\n2. So it is.\n\nQ3: What is it?\nStep 4: Look."),
        ("Cells divide.", "“Cells divide,” they say. “Do they?”"),
        ("Er sah viel.", "Er sah viel und auch das noch. " + "Die Leute sahen im Haus den Hund und die Katze. " * 4),
        ("One thing first.", "First, one thing. Second, another."),
        ("Москва большая.", "Город в Москве большой."),
    ],
)
def test_what_begins_a_sentence_or_a_heading_and_what_is_known_is_no_new_name(original, written):
    assert new(original, written) == (0, [])


@pytest.mark.parametrize(
    ("original", "written", "shown"),
    [
        ("Ann Lee met Bo Ek.", "There Ann Lee met Jo Ott.", ["Jo Ott"]),
        ("Ann Lee met Bo Ek.", "Ann Lee met Bo Ek in Paris. Mr. Smith came.", ["Paris", "Smith"]),
        ("It was made by NASA.", "It was made by ESA.", ["ESA"]),
        ("Call get_user now.", "Call get_users_of now.", ["get_users_of"]),
        ("We studied in Oxford.", "We studied at the University of Cambridge.", ["University of Cambridge"]),
        ("он живёт в городе", "он живёт в городе Казань", ["Казань"]),
        ("我在公司工作", "我在Google工作", ["Google"]),
        ("Read on.", "Read https://docs.example.org/a on.", ["https://docs.example.org/a"]),
    ],
)
def test_another_name_is_new(original, written, shown):
    assert new(original, written) == (len(shown), shown)


def test_the_share_of_kept_facts():
    original = "In 1969 Neil Armstrong walked on the Moon for 2.5 hours."
    assert kept_facts(array(original), array(original))["n_facts"].to_pylist() == [4]
    assert kept(original, "Armstrong walked for 2.5 hours in 1969.") == 0.5
    assert kept("nothing to tell here", "nor here") is None


def test_new_facts_are_counted_and_five_are_shown_but_no_personal_data():
    written = "Write to bob.roe@corp-mail.com or call +1 415 555 2671, account 1234567890, in 1, 2, 3, 4, 5 or 6 days."
    count, shown = new("Write or call.", written)
    assert count >= 8
    assert shown == ["1", "2", "3", "4", "5"]


def test_null_texts_give_null():
    found = kept_facts(array(None, "a", "a"), array("a", None, "a"))
    assert {name: column.to_pylist() for name, column in found.items()} == {
        "n_facts": [None, None, 0],
        "facts_kept": [None, None, None],
        "n_new_facts": [None, None, 0],
        "new_facts": [None, None, []],
    }
    assert copy_share(array(None, "a"), array("a", None)).to_pylist() == [None, None]
    assert length_ratio(array(None, "", "ab"), array("a", "a", "aé漢")).to_pylist() == [None, None, 1.5]
    assert len(kept_facts(array(), array())["new_facts"]) == len(copy_share(array(), array())) == 0


def shingles(text, words=5):
    found = re.findall(r"\w+", text.lower())
    return [tuple(found[k : k + words]) for k in range(len(found) - words + 1)]


@examples(60)
@given(st.lists(st.text("ab ", max_size=60), min_size=2, max_size=6))
def test_the_copied_share_is_that_of_the_runs_of_five_words(texts):
    original, written = texts[:-1], texts[1:]
    found = copy_share(array(*original), array(*written)).to_pylist()
    for before, after, share in zip(original, written, found, strict=True):
        runs = shingles(after)
        known = set(shingles(before))
        assert share == (pytest.approx(sum(run in known for run in runs) / len(runs)) if runs else None)


def test_in_scripts_without_spaces_each_letter_is_a_word():
    assert copy_share(array("今天天气很好"), array("今天天气很差")).to_pylist() == [0.5]


PIECES = (
    "The ", "Ann Lee ", "5 km", "$3.5m ", "1,000", " million ", "two hundred and six", ". ", "\n", "- ", "2021-03-05",
    "05/03/2021 ", "NASA", "get_user ", "March ", "３万円", "¼", "Ⅻ", "١٢", "https://a.org/b ", "a@b.org ", "1.2.3",
    ",", "(", "-", " to ", "%", "°", "İ", "ß", "x86",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


@examples(200)
@given(TEXTS | st.text(max_size=80))
@example("-" * 3000)
@example("1" * 5000 + "/" + "2" * 5000)
@example("twenty " * 400)
@example("A.b" * 400)
def test_a_text_has_all_its_own_facts_and_is_a_copy_of_itself(text):
    found = kept_facts(array(text), array(text))
    assert found["n_new_facts"].to_pylist() == [0]
    assert found["facts_kept"].to_pylist() in ([1.0], [None])
    assert copy_share(array(text), array(text)).to_pylist() in ([1.0], [None])
    for fact in facts_of(text).facts:
        assert isinstance(fact, Fact)
        assert 0 <= fact.start < fact.end <= len(text)


def test_the_sample_has_all_its_own_facts_and_none_of_other_texts():
    texts = read_table(SAMPLE / "part-00000.parquet")["text"].combine_chunks().slice(0, 60)
    found = kept_facts(texts, texts)
    assert set(found["n_new_facts"].to_pylist()) == {0}
    assert set(found["facts_kept"].to_pylist()) <= {1.0, None}
    others = pa.concat_arrays([texts[1:], texts[:1]])
    assert sum(n > 0 for n in kept_facts(texts, others)["n_new_facts"].to_pylist()) > 45
