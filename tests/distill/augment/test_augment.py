"""Texts that a teacher writes after chunks: evenly asked for, cleaned, traced to their source, measured."""

import math
from collections import Counter
from dataclasses import dataclass, field

import pyarrow as pa
import pytest
from support.paths import ROOT
from support.stand_in import StandIn
from support.texts import documents

from curate.distill.augment.write import CANDIDATES, clean_reply, grade_faithfulness, prompt_of, schedule, write
from curate.distill.teacher.open import NoModel
from curate.distill.teacher.prompts import all_prompts, load
from curate.distill.text.chunks import chunks_of
from curate.errors import RecipeError, TeacherError

FORMS = ("rewrite", "questions", "explanation")
TEXTS = [f"Rain fell on {k + 3} days in May {1990 + k}. The river Elbe rose by {k + 2} metres. " * 12 for k in range(4)]
RULE = "=" * 10


def chunks():
    return chunks_of(documents(*TEXTS), 400)


def asked_about(body):
    """The text between the rules of a prompt."""
    return body["messages"][-1]["content"].split(RULE)[1].strip()


def reply(text, reason="stop"):
    choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text}}
    return 200, {}, {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}


def answering(made, reason="stop"):
    return StandIn(lambda n, body: reply(made(asked_about(body)), reason))


def test_each_chunk_is_written_in_each_form_and_traced_to_its_place(teach):
    given = chunks()
    table, counts = write(teach(answering(str.upper)), given, "weather", FORMS, None, 17, None)
    assert table.schema == CANDIDATES
    assert +counts == {"asked": 3 * len(given), "written": 3 * len(given)}
    rows = table.to_pylist()
    assert len({row["doc_id"] for row in rows}) == len(rows) == len(given) * 3
    texts = dict(zip(("d0", "d1", "d2", "d3"), TEXTS, strict=True))
    for row in rows:
        source = texts[row["source_doc_id"]].encode()[row["start"] : row["end"]].decode()
        assert row["text"] == source.upper()
        assert (row["domain"], row["model"], row["adapter"], row["faithful"]) == ("weather", "tiny", None, None)
        assert (row["prompt"], row["prompt_sha256"]) == (f"augment_{row['form']}", load(row["prompt"]).digest)
        assert (row["temperature"], row["top_p"]) == (0.7, 0.95)
        assert (row["n_new_facts"], row["facts_kept"], row["copy_share"], row["length_ratio"]) == (0, 1, 1, 1)


def test_what_was_made_up_is_told(teach):
    made = answering(lambda text: text.replace("Elbe", "Rhine").replace(" metres", " miles"))
    table, _ = write(teach(made), chunks(), "weather", ("rewrite",), None, 17, 3)
    for row in table.to_pylist():
        assert "Rhine" in row["new_facts"]
        assert any(fact.endswith(" miles") for fact in row["new_facts"])
        assert row["n_new_facts"] == len(row["new_facts"]) == 2
        assert 0 < row["facts_kept"] < 1
        assert 0 < row["copy_share"] < 1


def test_fewer_requests_are_the_first_ones_and_documents_and_forms_come_evenly():
    ids = [f"d{k}" for k in range(12) for _ in range(1 + k % 4)]
    numbers = [chunk for k in range(12) for chunk in range(1 + k % 4)]
    order = list(schedule(ids, numbers, FORMS, 17))
    assert sorted(order) == sorted((row, form) for row in range(len(ids)) for form in FORMS)
    assert len({ids[row] for row, _ in order[:12]}) == 12
    for n in range(1, len(ids) * 2):
        used = Counter(form for _, form in order[:n])
        assert max(used.values()) - min(used[form] for form in FORMS) <= 2
        of_documents = Counter(ids[row] for row, _ in order[:n])
        assert max(of_documents.values()) - min(of_documents[doc_id] for doc_id in set(ids)) <= 1 + n // 12
    assert order != list(schedule(ids, numbers, FORMS, 18))
    back = range(len(ids))[::-1]
    again = schedule([ids[k] for k in back], [numbers[k] for k in back], FORMS, 17)
    assert [(len(ids) - 1 - row, form) for row, form in again] == order


def test_the_same_seed_asks_and_writes_the_same_and_nothing_twice(teach):
    server = answering(str.title)
    teacher = teach(server)
    first, _ = write(teacher, chunks(), "weather", FORMS, None, 17, 7)
    asked = len(server.bodies)
    again, _ = write(teacher, chunks(), "weather", FORMS, None, 17, 7)
    assert asked == len(server.bodies) == 7
    assert again.equals(first)
    more, _ = write(teacher, chunks(), "weather", FORMS, None, 17, 9)
    assert len(server.bodies) == 9
    assert more.slice(0, 7).equals(first)
    write(teacher, chunks(), "weather", FORMS, None, 18, 7)
    assert len(server.bodies) == 16
    assert len({body["seed"] for _, body in server.bodies}) == 16


def test_what_was_answered_before_a_server_died_is_not_asked_for_again(teach):
    def dying(n, body):
        return reply(asked_about(body)) if n <= 4 else (500, {}, {"message": "out of memory"})

    first = StandIn(dying)
    with pytest.raises(TeacherError):
        write(teach(first, concurrency=1, retries=0), chunks(), "weather", FORMS, None, 17, 9)
    second = answering(str)
    table, counts = write(teach(second, concurrency=1), chunks(), "weather", FORMS, None, 17, 9)
    assert counts["written"] == len(table) == 9
    assert len(second.bodies) == 5


def test_there_is_room_for_twice_the_text_in_any_script(teach):
    server = answering(str)
    short, chinese = "Rain. " * 30, "雨" * 100
    write(teach(server), chunks_of(documents(short, chinese), 400), "weather", ("rewrite",), None, 17, None)
    room = {asked_about(body): body["max_tokens"] for _, body in server.bodies}
    assert room == {short.strip(): 64 + 179 // 2, chinese: 64 + 150}


@pytest.mark.parametrize(
    ("text", "reason", "fate"),
    [
        ("It rained a lot", "length", "cut_off"),
        (" \n", "stop", "empty"),
        ("```\n```", "stop", "empty"),
        ("<think>So it rained, and", "stop", "empty"),
        ("I'm sorry, but I cannot rewrite this.", "stop", "no_text"),
        ("As an AI language model, I have no weather.", "stop", "no_text"),
    ],
)
def test_replies_that_are_no_texts_are_counted_and_dropped(text, reason, fate, teach):
    table, counts = write(teach(answering(lambda _: text, reason)), chunks(), "weather", FORMS, None, 17, 5)
    assert counts[fate] == counts["asked"] == 5
    assert counts["written"] == len(table) == 0
    assert table.schema == CANDIDATES


def test_a_question_that_the_model_refuses_is_counted(teach):
    server = StandIn(lambda n, body: (400, {}, {"message": "too long"}) if n == 2 else reply(asked_about(body)))
    table, counts = write(teach(server, concurrency=1), chunks(), "weather", FORMS, None, 17, 5)
    assert (counts["refused"], counts["written"], len(table)) == (1, 4, 4)


def test_an_adapter_writes_other_texts_under_other_ids(teach):
    server = answering(str)
    server.models, server.parents = ["tiny", "finance"], {"finance": "tiny"}
    teacher = teach(server, model="tiny")
    base, _ = write(teacher, chunks(), "finance", FORMS, None, 17, 4)
    tuned, _ = write(teacher, chunks(), "finance", FORMS, "finance", 17, 4)
    assert [body["model"] for _, body in server.bodies].count("finance") == 4
    assert set(tuned["adapter"].to_pylist()) == {"finance"}
    assert not set(tuned["doc_id"].to_pylist()) & set(base["doc_id"].to_pylist())


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("It rained.", "It rained."),
        ("Here is the rewritten text:\n\nIt rained.", "It rained."),
        ("Sure! Here's a clear version of the text:\nIt rained.", "It rained."),
        ("Certainly!\n\nIt rained.", "It rained."),
        ("**Rewritten text:**\n\nIt rained.", "It rained."),
        ("Rewritten text: It rained.", "It rained."),
        ("```markdown\nIt rained.\n```", "It rained."),
        ("Here is the explanation:\n```\nIt rained.\n```", "It rained."),
        (f"{RULE}\nIt rained.\n{RULE}", "It rained."),
        ("“It rained.”", "It rained."),
        ("“It rained,” he said. “Yes.”", "“It rained,” he said. “Yes.”"),
        ("<think>What now?</think>\n\nIt rained.", "It rained."),
        ("It rained.\n\nLet me know if you need more!", "It rained."),
        ("It rained.\n\n(Note: I kept all numbers.)", "It rained."),
        ("Here are the three kinds of rain:\n\n- drizzle", "Here are the three kinds of rain:\n\n- drizzle"),
        ("Text is what we read. Code:\n```\nx = 1\n```", "Text is what we read. Code:\n```\nx = 1\n```"),
        ("```\na\n```\nand\n```\nb\n```", "```\na\n```\nand\n```\nb\n```"),
        ("Question 1: Did it rain?\nAnswer: Yes.", "Question 1: Did it rain?\nAnswer: Yes."),
    ],
)
def test_a_reply_is_left_without_what_is_no_part_of_the_text(said, left):
    assert clean_reply(said, "On that day it rained.") == left


@pytest.mark.parametrize(
    "original", ["```\nx = 1\n```", "“Rain,” they said.", "Text: It rained.\n\nNote: this was May."]
)
def test_what_the_original_has_too_is_left(original):
    assert clean_reply(original, original) == original


def test_prompts_of_all_forms_are_grounded_and_ask_for_the_text_alone():
    for form in FORMS:
        prompt = prompt_of(form)
        assert prompt.placeholders == {"text"}
        assert "Keep every number, date, name and unit exactly as it is." in prompt.user
        assert "only what the text says" in prompt.system
        assert prompt.user.rstrip().endswith("alone.")
    assert {prompt.form for prompt in all_prompts().values()} == {None, *FORMS}


@dataclass(frozen=True)
class Grading:
    """A teacher whose grade is 4 for a text that names the Elbe, and 1 for others; it is not asked about "?"."""

    asked: list = field(default_factory=list)

    def choose(self, requests, labels):
        self.asked.extend(requests)
        return [self.grade(one.prompt[-1][1].split("New text:")[1], labels) for one in requests]

    def grade(self, text, labels):
        best = "4" if "Elbe" in text else "1"
        return None if "?" in text else {one: math.log(0.8 if one == best else 0.04) for one in labels}


def test_faithfulness_is_an_expected_grade():
    original = pa.array(["The Elbe rose.", "The Elbe rose.", "The Elbe rose.", None], pa.large_string())
    written = pa.array(["Up went the Elbe.", "The Rhine rose.", "?", "x"], pa.large_string())
    teacher = Grading()
    true, false, refused, missing = grade_faithfulness(teacher, original, written, 17).to_pylist()
    assert true == pytest.approx(0.8 * 4 + 0.04 * (0 + 1 + 2 + 3 + 5))
    assert false == pytest.approx(0.8 * 1 + 0.04 * (0 + 2 + 3 + 4 + 5))
    assert refused is missing is None
    assert len(teacher.asked) == 3
    assert "Original:\n==========\nThe Elbe rose.\n" in teacher.asked[0].prompt[-1][1]


def test_every_column_and_count_stands_in_the_docs():
    page = (ROOT / "docs" / "augment.md").read_text("utf-8")
    rows = " ".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    named = {*CANDIDATES.names, "refused", "cut_off", "empty", "no_text"} - {"copy_share", "length_ratio", "faithful"}
    assert {name for name in named if f"`{name}`" not in rows} == set()
    assert all(f"`{name}`" in page for name in CANDIDATES.names)


def test_without_a_model_nothing_is_written():
    with pytest.raises(RecipeError, match="teacher: rules has no language model"):
        write(NoModel(), chunks(), "weather", FORMS, None, 17, 1)
