"""Attacks: what all of them promise, and what each family does to a text."""

import random
import re
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.corpora import SAMPLE
from support.paths import ROOT
from support.soak import examples

from curate.distill.attacks.changes import changed, without_overlaps
from curate.distill.attacks.registry import ATTACKED, apply_attacks, attacks, families, from_reply, random_for
from curate.distill.attacks.templates import generate, generate_several, grammar, parse
from curate.distill.text.passages import claims, is_latin, names, paragraphs, sentences, topics
from curate.errors import RecipeError

NEGATIVE = {
    "seo_fluff",
    "boilerplate_splice",
    "number_entity_swap",
    "contradiction",
    "confident_filler",
    "sentence_shuffle",
    "truncation_splice",
    "repetition",
    "ocr_heavy",
}
PROMPTS = ROOT / "distill" / "teacher" / "prompts"
PAGE = (ROOT / "docs" / "attacks.md").read_text("utf-8")
POSITIVE = {"typos_ocr", "lists_tables", "forum_tone"}
PIECES = [
    "The old tavern in York Street was very unfortunate for homicides; there have been several killed. ",
    "In 1660 Sir John Gooscall was killed by Mr. Balendin, and 12 men of London saw it in May 1661.\n\n",
    "He never returned to the city of Worcester, because more people had not left. ",
    "- a point\n- another point, with 3.5 % of it\n",
    "It is said that the monks of Peter Abbey have a garden.\n",
    "“Is it?” asked Anne Smith. ",
    "all the same all the same ",
    "你好,世界。今天天气很好。我们去公园吧!",
    "ประเทศไทยมีประชากรจำนวนมาก ",
    "Η γλώσσα είναι ελληνική. Αυτό είναι καλό. ",
    "اللغة العربية جميلة. ",
    "e\u0301te\u0301 😀👩‍👩‍👧 ",
    "\n\n",
    "\r\n",
    "\0",
    "\ufeff",
    "{topic} [a|b] \\n ",
    "| a | b |\n",
    "x" * 90 + "\n",
    " ",
    "1",
    ".",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=200)
OTHERS = st.lists(TEXTS, max_size=3)

every_attack = pytest.mark.parametrize("name", list(attacks()))
quick = examples(80)


@pytest.fixture(scope="module")
def good():
    """Good documents of the sample: doc_id and text."""
    table = pa.concat_tables([pq.read_table(path) for path in sorted(SAMPLE.glob("*.parquet"))])
    rows = [row for row in table.select(["id", "text", "label"]).to_pylist() if row["label"] == "good"][:60]
    ids = pa.array([row["id"] for row in rows])
    return pa.table({"doc_id": ids, "text": pa.array([row["text"] for row in rows], pa.large_string())})


def pieces_outside(text, spans, which):
    """What stands between the spans, in bytes of the new text (which = 0) or of the original (which = 2)."""
    data, read, pieces = text.encode(), 0, []
    for span in spans:
        pieces.append(data[read : span[which]])
        read = span[which + 1]
    return [*pieces, data[read:]]


@every_attack
@quick
@given(text=TEXTS, others=OTHERS, seed=st.integers(0, 5))
def test_what_an_attack_did_not_change_is_as_it_was(name, text, others, seed):
    found = attacks()[name](text, "a document", seed, others)
    if found is None:
        return
    assert found.text != text
    assert pieces_outside(found.text, found.spans, 0) == pieces_outside(text, found.spans, 2)
    flat = [[bound for span in found.spans for bound in span[k : k + 2]] for k in (0, 2)]
    for bounds, whole in zip(flat, (found.text, text), strict=True):
        assert bounds == sorted(bounds)
        assert bounds[-1] <= len(whole.encode())
    for start, end, original_start, original_end in found.spans:
        found.text.encode()[start:end].decode()  # no character is cut in two
        assert found.text.encode()[start:end] != text.encode()[original_start:original_end]


@every_attack
@quick
@given(text=TEXTS, others=OTHERS)
def test_an_attack_depends_on_the_seed_and_the_document_alone(name, text, others):
    first = attacks()[name](text, "a", 1, others)
    attacks()[name](text, "b", 1, others)
    assert attacks()[name](text, "a", 1, others) == first


@every_attack
@pytest.mark.parametrize("text", ["", " ", "\n\n\n", "x", "?!", "\0", "\u0301", "好"])
def test_where_there_is_nothing_to_attack_the_answer_is_none(name, text):
    assert attacks()[name](text, "a", 1, []) is None


@every_attack
def test_other_seeds_and_documents_are_attacked_otherwise(name, good):
    others = good["text"].to_pylist()[:9]
    made = apply_attacks(good, [name], None, 17, others).to_pylist()
    again = {row["doc_id"]: row["text"] for row in apply_attacks(good, [name], None, 18, others).to_pylist()}
    assert len(made) >= 30
    assert sum(row["text"] != again.get(row["doc_id"]) for row in made) > 0.8 * len(made)


def test_there_is_an_attack_in_every_family_of_either_kind():
    kinds = {one.family: one.bad for one in attacks().values()}
    assert {family for family, bad in kinds.items() if bad} == NEGATIVE
    assert {family for family, bad in kinds.items() if not bad} == POSITIVE
    assert sorted(name for names in families().values() for name in names) == sorted(attacks())
    assert all(one.bad == kinds[one.family] for one in attacks().values())


def test_the_order_of_documents_and_attacks_changes_nothing(good):
    others = good["text"].to_pylist()[:9]
    backwards = good.take(pa.array(range(len(good))[::-1]))
    whole = apply_attacks(good, attacks(), 5, 17, others)
    assert apply_attacks(backwards, attacks(), 5, 17, others) == whole
    parts = [apply_attacks(good, [name], 5, 17, others) for name in attacks()]
    assert pa.concat_tables(parts) == whole


def test_more_documents_of_an_attack_are_those_before_and_others(good):
    few, many = (apply_attacks(good, ["negation"], n, 17) for n in (5, 20))
    assert len(few) == 5
    assert len(many) == 20
    assert many.slice(0, 5) == few


def test_the_table_says_of_what_by_what_and_where(good):
    table = apply_attacks(good, ["typos", "repetition"], 3, 17)
    assert table.schema == ATTACKED
    texts = dict(zip(good["doc_id"].to_pylist(), good["text"].to_pylist(), strict=True))
    rows = table.to_pylist()
    assert [(row["attack"], row["family"], row["bad"], row["by"]) for row in rows[2:4]] == [
        ("typos", "typos_ocr", False, "rules"),
        ("repetition", "repetition", True, "rules"),
    ]
    for row in rows:
        spans = [tuple(span.values()) for span in row["spans"]]
        assert pieces_outside(row["text"], spans, 0) == pieces_outside(texts[row["doc_id"]], spans, 2)


def test_null_and_empty_texts_are_passed_over():
    table = pa.table({"doc_id": ["a", "b"], "text": pa.array([None, ""], pa.large_string())})
    assert apply_attacks(table, attacks(), None, 17).num_rows == 0


def test_an_unknown_attack_is_refused_with_the_one_that_may_be_meant(good):
    with pytest.raises(RecipeError, match="no attack 'typo'; did you mean 'typos'"):
        apply_attacks(good, ["typo"], 1, 17)


def test_attacks_are_the_same_in_another_process():
    code = (
        "from curate.distill.attacks.registry import attacks; text = open(0).read(); "
        "print([one(text, 'a', 1, [text[::-1]]) for one in attacks().values()])"
    )
    text = "".join(PIECES[:3]) * 3
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7"},
    )
    assert done.stdout == f"{[one(text, 'a', 1, [text[::-1]]) for one in attacks().values()]}\n"


def test_replacements_that_touch_are_one_span_and_those_that_change_nothing_none():
    found = changed("äbcdef", [(0, 1, "x"), (1, 2, "yy"), (3, 4, "d"), (4, 4, "!")])
    assert found.text == "xyycd!ef"
    assert found.spans == ((0, 3, 0, 3), (5, 6, 5, 5))
    assert changed("abc", [(1, 2, "b")]) is None
    with pytest.raises(ValueError, match="overlaps"):
        changed("abc", [(0, 2, ""), (1, 3, "")])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4), st.text("xy", max_size=2))))
def test_replacements_set_apart_do_not_overlap(drawn):
    kept = list(without_overlaps([(start, start + size, new) for start, size, new in drawn]))
    assert bool(kept) == bool(drawn)
    changed("0123456789abc", kept)


def test_sentences_are_told_from_abbreviations_numbers_and_wrapped_lines():
    text = (
        "Mr. Smith paid 3.50 dollars to the U.S. consul, i.e. too much. He went\nhome by the road that he always "
        "took. “Why?” Nobody knew.\n\nA heading\n\n- one point\n- two\n你好。再见。"
    )
    assert [text[a:b] for a, b in sentences(text)] == [
        "Mr. Smith paid 3.50 dollars to the U.S. consul, i.e. too much.",
        "He went\nhome by the road that he always took.",
        "“Why?”",
        "Nobody knew.",
        "A heading",
        "- one point",
        "- two",
        "你好。",
        "再见。",
    ]


def test_claims_are_whole_sentences_that_are_no_questions():
    text = (
        "A heading\n\nThe monks sing in the morning. Who hears them in the dark city? 2.1 All men must listen to this."
    )
    assert [text[a:b] for a, b in claims(text)] == [
        "The monks sing in the morning.",
        "2.1 All men must listen to this.",
    ]


def test_paragraphs_stand_between_blank_lines_or_are_long_lines():
    text = "One.\nOne more.\n\nTwo.\n \nThree."
    assert [text[a:b] for a, b in paragraphs(text)] == ["One.\nOne more.", "Two.", "Three."]
    lines = "\n".join(["word " * 40] * 4)
    assert len(paragraphs(lines)) == 4


def test_topics_are_what_stands_behind_articles_most_frequent_first():
    text = "The blood sugar rises. We measure the blood sugar with a device in the hospital; the hospital is old."
    assert topics(text)[:2] == ["blood sugar", "hospital"]
    assert topics("") == []


def test_names_are_words_with_capitals_that_have_them_within_sentences():
    text = "Then Anne met John Gooscall in London. London was old. However, the men of May liked Anne."
    assert [text[a:b] for a, b in names(text)] == ["Anne", "John Gooscall", "London", "London", "Anne"]


def test_latin_script_is_that_of_most_letters():
    assert is_latin("It is the language of most of the words in this text 你好")
    assert not is_latin("你好世界 " * 20)
    assert not is_latin("Too short")


def test_templates_are_filled_and_tidied():
    words = {
        "a": (parse("[Is|] a {thing} , {^thing}, {*thing}, {!thing}  {#7-7}[!|!]"),),
        "thing": (parse("old {inn}"),),
        "b": (parse("x [kept]"), parse("y"), parse("z")),
    }
    made = generate(words, "a", random.Random(3), {"inn": ["inn yard"]})
    assert made.removeprefix("Is ") == "an old inn yard, Old inn yard, Old Inn Yard, OLD INN YARD 7!"
    assert sorted(generate_several(words, "b", 9, random.Random(3), {})) == ["x [kept]", "y", "z"]


@pytest.mark.parametrize("name", ["seo", "solicitation", "boilerplate", "filler", "forum", "claims"])
def test_every_name_in_a_grammar_can_be_filled_in_many_ways(name):
    words, drawn = grammar(name), random_for(1, name, "x")
    slots = {"topic": ["tavern", "old street"], "main": ["tavern"], "second": ["monk"]}
    for symbol, templates in words.items():
        made = {generate(words, symbol, drawn, slots) for _ in range(50)}
        assert len(made) >= min(8, len(templates)) or max(map(len, made)) < 40
        assert not any("{" in text or "  " in text or "||" in text for text in made)


def attacked(text, name, seed=1, others=()):
    """The text as an attack leaves it, with the first of some seeds that finds something."""
    return next(found.text for k in range(seed, 50) if (found := attacks()[name](text, "a", k, others)))


STORY = (
    "The old tavern in York Street opened in 1660. Its owner was John Balendin, who always kept more horses than "
    "Anne Smith of London.\n\nThe king had visited the tavern before the fire. He said that it is the best house in "
    "London, and 12 soldiers agreed.\n\nNow the tavern is a library. The readers come from York in the morning."
)


@pytest.mark.parametrize("name", ["keyword_stuffing", "clickbait", "boilerplate", "adverts", "confident_filler"])
def test_insertions_are_about_what_the_text_is_about(name):
    def mentions(text):
        return sum(text.lower().count(topic) for topic in topics(STORY))

    made = [attacks()[name](STORY, "a", seed, ()).text for seed in range(20)]
    assert sum(mentions(text) > mentions(STORY) for text in made) >= 14


@pytest.mark.parametrize("name", ["keyword_stuffing", "clickbait", "solicitation", "boilerplate", "adverts"])
def test_no_two_insertions_are_alike(name, good):
    made = apply_attacks(good, [name], None, 17).to_pylist()
    inserted = [
        [row["text"].encode()[span["start"] : span["end"]].decode().strip() for span in row["spans"]] for row in made
    ]
    pieces = [piece for row in inserted for piece in row]
    assert len(set(pieces)) > 0.8 * len(pieces)


def test_a_splice_ends_within_a_sentence_and_goes_on_with_another_text():
    other = "Entirely different words are written here, and they go on for quite some time. " * 6
    found = [attacks()["truncation_splice"](STORY, "a", seed, [other]) for seed in range(30)]
    assert sum("different words" in one.text or "go on for" in one.text for one in found) > 10


def test_shuffled_sentences_are_the_same_sentences():
    found = attacked(STORY, "sentence_shuffle")
    assert sorted(found[a:b] for a, b in sentences(found)) == sorted(STORY[a:b] for a, b in sentences(STORY))


def test_swapped_names_are_names_of_the_text_or_of_others():
    other = "Then we saw Queen Mary of the Scots with Robert Bruce, in the hills of Fife, at the end of the day."
    for seed in range(10):
        found = attacks()["name_swap"](STORY, "a", seed, [other])
        data = found.text.encode()
        new = {data[start:end].decode() for start, end, _, _ in found.spans}
        assert new <= {STORY[a:b] for a, b in names(STORY)} | {other[a:b] for a, b in names(other)}


def test_swapped_numbers_are_other_numbers():
    for seed in range(10):
        found = attacks()["number_swap"](STORY, "a", seed, ())
        for start, end, _, _ in found.spans:
            assert found.text.encode()[start:end].isdigit()


@pytest.mark.parametrize(
    ("sentence", "opposites"),
    [
        ("The garden has a wall.", {"The garden has no wall."}),
        ("The garden is not behind the house.", {"The garden is behind the house."}),
        (
            "Many people prefer the higher tower.",
            {"Few people prefer the higher tower.", "Many people prefer the lower tower."},
        ),
        (
            "As for Anne, she walked to school in April.",
            {
                "As for Anne, she never walked to school in April.",
                "As for Anne, she rarely walked to school in April.",
            },
        ),
    ],
)
def test_a_contradicted_sentence_says_the_opposite(sentence, opposites):
    text = f"{sentence} A word or two."
    found = {attacks()["negation"](text, "a", seed, ()).text.removesuffix(" A word or two.") for seed in range(30)}
    assert found == opposites


def test_typos_and_light_noise_leave_most_words_and_heavy_noise_spoils_many(good):
    def share_of_words(name):
        rows = apply_attacks(good, [name], None, 17).to_pylist()
        texts = dict(zip(good["doc_id"].to_pylist(), good["text"].to_pylist(), strict=True))
        left = [len(set(row["text"].split()) & set(texts[row["doc_id"]].split())) for row in rows]
        return sum(left) / sum(len(set(texts[row["doc_id"]].split())) for row in rows)

    assert share_of_words("typos") > 0.9
    assert share_of_words("ocr_light") > 0.9
    assert share_of_words("ocr_heavy") < 0.7


def test_lists_keep_every_word_of_the_text():
    for seed in range(20):
        found = attacks()["lists_tables"](STORY, "a", seed, ())
        words = iter(found.text.split())
        assert all(word in words for word in STORY.split())  # in order


def test_forum_tone_keeps_numbers_and_most_words():
    for seed in range(20):
        found = attacks()["forum_tone"](STORY, "a", seed, ())
        assert "1660" in found.text
        words = set(found.text.lower().replace("\n", " ").split())
        kept = [word for word in STORY.lower().split() if word.strip(".,") in {w.strip(".,!>") for w in words}]
        assert len(kept) > 0.75 * len(STORY.split())


@pytest.mark.parametrize("name", ["sentence_shuffle", "truncation_splice", "repetition", "ocr_heavy", "typos"])
def test_scripts_without_spaces_are_attacked_too(name):
    text = "今天天气很好。我们去公园吧!你喜欢喝茶还是咖啡?他昨天从北京来了。这本书非常有意思,我已经读了两遍。" * 3
    assert attacked(text, name) != text


@pytest.mark.parametrize(
    "name", ["keyword_stuffing", "clickbait", "solicitation", "boilerplate", "adverts", "negation"]
)
def test_english_templates_stay_out_of_other_scripts(name):
    assert attacks()[name]("Η γλώσσα είναι ελληνική και αυτό είναι πολύ καλό για όλους μας. " * 9, "a", 1, ()) is None


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "  \n",
        STORY,
        f"\n{STORY} ",
        f"Sure, here is the rewritten text:\n\n{STORY} And more of it.",
        f"Here's a version: {STORY}",
        "I'm sorry, but I can't help with that request about the old tavern in York Street in London. " * 3,
        f"{STORY} It is gone.\n\nLet me know if you'd like other changes!",
        "The old tavern.",
        f"{STORY} It burnt. " * 4,
        "Entirely unrelated sentences about gardening, tomatoes, watering cans plus several vegetables. " * 4,
        "The old tavern in York Street opened in 1660. " * 9,
    ],
)
def test_replies_that_are_no_rewrite_are_refused(reply):
    assert from_reply(STORY, reply) is None


def test_a_reply_is_the_new_text_with_the_places_that_differ():
    reply = STORY.replace("1660", "1980").replace("Anne Smith of London", "Mary Jones of Paris")
    found = from_reply(STORY, f"```\n{reply}\n```")
    assert found.text == reply
    data, original = found.text.encode(), STORY.encode()
    assert [(data[a:b], original[c:d]) for a, b, c, d in found.spans] == [
        (b" 1980.", b" 1660."),
        (b" Mary Jones of Paris.", b" Anne Smith of London."),
    ]


@quick
@given(original=TEXTS, reply=TEXTS)
def test_what_a_reply_did_not_change_is_as_it_was(original, reply):
    for made in (reply, f"{original}{reply}", f"{reply}{original}", original.replace("the", reply[:30])):
        if found := from_reply(original, made):
            assert found.text.strip() == made.strip()
            assert pieces_outside(found.text, found.spans, 0) == pieces_outside(original, found.spans, 2)


@pytest.mark.parametrize("path", sorted(PROMPTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_prompt_for_an_attack_has_its_fields_and_the_family_it_belongs_to(path):
    prompt = yaml.safe_load(path.read_text("utf-8"))
    if not prompt["name"].startswith("attack_"):
        return
    assert list(prompt) == ["name", "version", "about", "family", "kind", "system", "user", "sampling"]
    assert prompt["name"] == path.stem
    assert prompt["user"].count("{text}") == 1
    assert set(prompt["sampling"]) == {"max_tokens", "temperature", "top_p"}
    assert prompt["family"] in {"negative": NEGATIVE | {"machine_prose"}, "positive": POSITIVE}[prompt["kind"]]


def page_blocks(language):
    return re.findall(rf"^```{language}\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)


def test_every_attack_stands_in_the_docs_as_it_is():
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (yes|no) \| (.*) \|$", PAGE, re.MULTILINE)
    assert rows == [(name, a.family, "yes" if a.bad else "no", a.about) for name, a in attacks().items()]


def test_the_examples_in_the_docs_are_what_comes_out():
    text, other = page_blocks("text")[:2]
    shown = re.findall(r"^`(\w+)`:\n\n```text\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)
    assert {attacks()[name].family for name, _ in shown} == NEGATIVE | POSITIVE
    for name, expected in shown:
        assert attacks()[name](text, "lighthouse", 12, [other]).text == expected


def test_the_attack_that_the_docs_add_works():
    imports = """
from collections.abc import Sequence
from random import Random
from curate.distill.attacks.registry import Attack, attack, attacks
from curate.distill.attacks.changes import Changed, changed
from curate.distill.text.passages import sentences
"""
    call = "print(shouting('One is here. Two is there. Three are none.', Random(1), ()).text)"
    code = "\n".join([imports, page_blocks("python")[1], call])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert sorted(done.stdout.split()) != sorted(["One", "is", "here.", "Two", "is", "there.", "Three", "are", "none."])
    assert done.stdout.lower() == "one is here. two is there. three are none.\n"


def test_the_prompt_that_the_docs_add_has_the_fields_of_one():
    [added] = [yaml.safe_load(block) for block in page_blocks("yaml")]
    assert list(added) == list(yaml.safe_load((PROMPTS / "attack_seo_fluff.yaml").read_text("utf-8")))


@pytest.mark.parametrize("name", ["negation", "opposite_claim", "forum_tone"])
def test_rules_for_english_leave_other_languages_alone(name):
    text = "El hombre no puede ver la casa en la noche. No es posible que todos los amigos no hablen con el rey. " * 4
    assert attacks()[name](text, "a", 1, ()) is None
