"""Evaluation sets in a run: what is found, dropped, cut, told, and measured again."""

import json
import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import carry_out, command, program
from support.corpora import EXCERPT, PROSE, SAMPLE, write_shard
from support.oracles import ngrams_of
from support.paths import ROOT
from support.recipes import write_recipe
from support.runs import digests, documents
from xxhash import xxh3_128_hexdigest

from curate.errors import CurateError, RecipeError
from curate.filters.contamination.benchmarks import texts_of_table
from curate.ledger.ledger import read_ledger
from curate.ledger.run import connect

BENCHMARKS = ROOT.parent / "shared" / "corpora" / "benchmarks"
ITEM = "A farmer has twelve black sheep and nine white goats, so how many animals graze on her three meadows?"
OTHER = "Every second year the committee of the village elects one new treasurer from among its eleven oldest members."
QUOTED = f"{PROSE}\nMy homework: {ITEM.upper()} Who knows?\n{PROSE}"


def run_against(folder, texts, sets, *changes, **section):
    """A run over `texts` without other rules; `sets` maps names of files to items, each a text or a row of columns."""
    for name, items in sets.items():
        (folder / "sets").mkdir(exist_ok=True)
        rows = [item if isinstance(item, dict) else {"question": item} for item in items]
        pq.write_table(pa.Table.from_pylist(rows), folder / "sets" / name)
    write_shard(folder / "in" / "a.parquet", texts, id=[f"d{k}" for k in range(len(texts))])
    tier1 = {"decontaminate": {"against": [str(folder / "sets")], **section}}
    recipe, run = write_recipe(
        folder, folder / "in", tier1=tier1, input={"paths": [str(folder / "in")], "id": "id"}, dedup={"exact": False}
    )
    carry_out(recipe, *changes)
    return recipe, run


def rows_of(run, query):
    with connect(run) as connection:
        return connection.execute(query).fetchall()


def labels(run, where):
    return dict(
        rows_of(run, f"SELECT split_part(input.label, ':', 1), count(*)::INT FROM corpus WHERE {where} GROUP BY 1")
    )


def test_every_contaminated_document_of_the_sample_is_found_and_no_other(tmp_path):
    tier1 = {"rules": ["gopher"], "decontaminate": {"against": [str(EXCERPT)]}}
    recipe, run = write_recipe(tmp_path, SAMPLE, tier1=tier1)
    summary = carry_out(recipe)
    assert summary["stages"][1]["dropped"]["contaminated"]["documents"] == 25
    assert labels(run, "n_contaminated_ngrams > 0") == labels(run, "reason = 'contaminated'") == {"contaminated": 25}
    assert rows_of(run, "SELECT benchmark, items, items_hit, documents_hit FROM benchmarks") == [
        ("gsm8k_excerpt.jsonl", 24, 24, 25)
    ]
    assert rows_of(run, "SELECT count(DISTINCT doc_id), count(*) FILTER (kept) FROM contamination") == [(25, 0)]
    manifest = json.loads((run / "manifest.json").read_text())
    [told] = manifest["benchmarks"]
    assert told | {"items": 24, "items_hit": 24, "documents_hit": 25} == told
    assert (told["name"], told["content_xxh3_128"]) == ("gsm8k_excerpt.jsonl", xxh3_128_hexdigest(EXCERPT.read_bytes()))
    assert manifest["rules"][0]["reason"] == "contaminated"
    assert command("verify", run).returncode == 0


@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="needs the evaluation sets in ../shared/corpora/benchmarks")
def test_sixteen_thousand_items_of_six_sets_hit_no_good_document_of_the_sample(tmp_path):
    recipe, run = write_recipe(tmp_path, SAMPLE, tier1={"decontaminate": {"against": [str(BENCHMARKS)]}})
    carry_out(recipe)
    assert labels(run, "reason = 'contaminated'") == {"contaminated": 25}


def test_a_document_with_an_item_is_dropped(tmp_path):
    _, run = run_against(tmp_path, [PROSE, QUOTED, OTHER], {"a.parquet": [ITEM]})
    assert documents(run, "doc_id, stage, reason, n_contaminated_ngrams") == [
        ("d0", None, None, 0),
        ("d1", "rules", "contaminated", 7),
        ("d2", None, None, 0),
    ]


def test_a_passage_names_the_file_the_row_and_the_bytes(tmp_path):
    texts = [PROSE, QUOTED, f"«{OTHER}» – é {ITEM}"]
    _, run = run_against(tmp_path, texts, {"a.parquet": ["A short one", ITEM], "b.parquet": [OTHER]})
    found = rows_of(
        run, 'SELECT benchmark, item, doc_id, n_ngrams, start, "end", kept FROM contamination ORDER BY 3, 5'
    )
    passages = [texts[int(doc_id[1])].encode()[start:end].decode() for _, _, doc_id, _, start, end, _ in found]
    assert passages == [ITEM.upper()[:-1], OTHER[:-1], ITEM[:-1]]
    assert [row[:4] + row[6:] for row in found] == [
        ("a.parquet", 1, "d1", 7, False),
        ("b.parquet", 0, "d2", 6, False),
        ("a.parquet", 1, "d2", 7, False),
    ]
    assert documents(run, "kept") == [(True,), (False,), (False,)]
    assert rows_of(
        run, "SELECT benchmark, items, ngrams, items_hit, documents_hit FROM benchmarks ORDER BY number"
    ) == [
        ("a.parquet", 2, 7, 1, 2),
        ("b.parquet", 1, 6, 1, 1),
    ]


def test_a_passage_is_cut_where_the_recipe_says_so_and_the_rest_stays(tmp_path):
    recipe, run = run_against(tmp_path, [PROSE, QUOTED, ITEM], {"a.parquet": [ITEM]}, action="cut")
    assert documents(run, "doc_id, reason, n_contaminated_ngrams") == [
        ("d0", None, 0),
        ("d1", None, 7),
        ("d2", "empty_text", 7),
    ]
    kept = pq.read_table(run / "data")["text"].to_pylist()
    assert kept == [PROSE, f"{PROSE}\nMy homework:  Who knows?\n{PROSE}"]
    cuts = rows_of(run, 'SELECT doc_id, reason, stage, "end" - start FROM edits ORDER BY 1')
    assert cuts == [(doc_id, "contaminated", "input", len(ITEM)) for doc_id in ("d1", "d2")]
    assert rows_of(run, "SELECT doc_id, kept FROM contamination ORDER BY 1") == [("d1", True), ("d2", False)]
    before = digests(run)
    carry_out(recipe)
    assert digests(run) == before
    assert command("verify", run, "--inputs").returncode == 0


def test_cuts_of_passages_and_of_lines_are_merged(tmp_path):
    text = f"Menu\n{PROSE} {ITEM} He said so.\nHome\n{ITEM}"
    changes = ("tier1.rules=[c4]", "tier1.decontaminate.action=cut")
    _, run = run_against(tmp_path, [text], {"a.parquet": [ITEM]}, *changes)
    assert pq.read_table(run / "data")["text"].to_pylist() == [f"{PROSE}  He said so.\n"]
    cuts = rows_of(run, "SELECT reason FROM edits ORDER BY start")
    assert [reason for (reason,) in cuts] == [
        "line_without_terminal_punctuation", "contaminated", "line_without_terminal_punctuation", "contaminated",
    ]  # fmt: skip


def test_what_edits_bring_together_is_found_where_documents_are_dropped(tmp_path):
    words = ITEM.split()
    text = f"{PROSE}\n{' '.join(words[:9])} [1] {' '.join(words[9:])}"
    _, run = run_against(tmp_path, [text], {"a.parquet": [ITEM]}, "allow_empty=true")
    assert documents(run, "kept") == [(True,)]
    carry_out(tmp_path / "recipe.yaml", "allow_empty=true", "tier1.rules=[c4]")
    assert documents(run, "reason") == [("contaminated",)]


def test_no_kept_document_has_an_ngram_of_an_item(tmp_path):
    recipe, run = write_recipe(tmp_path, SAMPLE, tier1={"decontaminate": {"against": [str(EXCERPT)], "ngram": 5}})
    carry_out(recipe)
    items = [json.loads(line) for line in EXCERPT.read_text("utf-8").splitlines()]
    known = {found for item in items for text in item.values() for found in ngrams_of(text, 5, 8)}
    dropped = {doc_id for doc_id, _ in rows_of(run, "SELECT doc_id, 1 FROM dropped WHERE reason = 'contaminated'")}
    texts = rows_of(run, "SELECT doc_id, input.text FROM corpus")
    assert dropped == {doc_id for doc_id, text in texts if not known.isdisjoint(ngrams_of(text, 5, 5))}
    assert len(dropped) >= 25


def test_texts_in_lists_and_structs_and_json_lines_are_looked_for(tmp_path):
    long = "Because the twelve sheep and the nine goats are twenty one animals all together, said the teacher"
    items = [
        {"q": "Why?", "choices": {"text": ["No", long], "label": ["A", "B"]}, "n": 3},
        {"q": ITEM, "choices": None, "n": 4},
    ]
    _, run = run_against(tmp_path, [long, ITEM, PROSE], {"a.parquet": items})
    assert documents(run, "kept") == [(False,), (False,), (True,)]
    assert rows_of(run, "SELECT item, doc_id FROM contamination ORDER BY 1") == [(0, "d0"), (1, "d1")]
    (tmp_path / "sets" / "a.parquet").unlink()
    (tmp_path / "sets" / "a.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    carry_out(tmp_path / "recipe.yaml")
    assert rows_of(run, "SELECT benchmark, item, doc_id FROM contamination ORDER BY 2") == [
        ("a.jsonl", 0, "d0"), ("a.jsonl", 1, "d1"),
    ]  # fmt: skip


def test_every_text_of_a_column_is_found_with_its_row():
    columns = {
        "plain": pa.array(["a", None, "b", ""]),
        "list": pa.array([["c", None], [], None, ["d", "e"]], pa.large_list(pa.string())),
        "struct": pa.array([None, {"x": ["f"], "n": 1}, {"x": None, "n": 2}, {"x": ["g", "h"], "n": 3}]),
        "coded": pa.array(["i", "i", None, "j"]).dictionary_encode(),
        "number": pa.array([1, 2, 3, 4]),
    }
    table = pa.table(columns)
    for shown in (
        table,
        pa.concat_tables([table.slice(0, 1), table.slice(1)]),
        pa.concat_tables([table, table]).slice(4),
    ):
        found = [
            (int(row), text)
            for rows, texts in texts_of_table(shown, None)
            for row, text in zip(rows, texts.to_pylist(), strict=True)
            if text
        ]
        rows = {text: [row for row, found_text in found if found_text == text] for text in "abcdefghij"}
        assert rows == dict(zip("abcdefghij", ([0], [2], [0], [3], [3], [1], [3], [3], [0, 1], [3]), strict=True))
    assert [len(texts) for _, texts in texts_of_table(table, ["plain", "number"])] == [4]


def test_only_the_named_columns_are_looked_for(tmp_path):
    items = [{"question": ITEM, "licence": OTHER}]
    _, run = run_against(tmp_path, [ITEM, OTHER, PROSE], {"a.parquet": items}, columns=["question"])
    assert documents(run, "kept") == [(False,), (True,), (True,)]
    with pytest.raises(RecipeError, match=r"columns: no column 'questions'; did you mean 'question'\?"):
        carry_out(tmp_path / "recipe.yaml", "tier1.decontaminate.columns=[question, questions]")


def test_short_texts_are_looked_for_from_so_many_words_on(tmp_path):
    texts = ["the sun rises in the east and sets in the west", "yes it is", PROSE]
    sets = {"a.parquet": ["The sun rises in the east and sets!", "Yes, it is."]}
    recipe, run = run_against(tmp_path, texts, sets)
    assert documents(run, "kept") == [(False,), (True,), (True,)]
    carry_out(recipe, "tier1.decontaminate.min_words=3")
    assert documents(run, "kept") == [(False,), (False,), (True,)]


def measured(run):
    return {part.path: part.group for part in read_ledger(run).parts if part.path.startswith("ledger/signals")}


@pytest.mark.parametrize("change", ["new", "changed", "ngram"])
def test_another_set_measures_only_what_is_told_of_sets(tmp_path, change):
    recipe, run = run_against(tmp_path, [PROSE, ITEM, OTHER], {"a.parquet": [ITEM]})
    before = measured(run)
    assert documents(run, "kept") == [(True,), (False,), (True,)]
    name = "a.parquet" if change == "changed" else "b.parquet"
    if change != "ngram":
        pq.write_table(pa.table({"question": [OTHER]}), tmp_path / "sets" / name)
    carry_out(recipe, *(["tier1.decontaminate.ngram=12"] if change == "ngram" else []))
    after = measured(run)
    assert {group for path, group in after.items() if path not in before} == {"contamination", "overlaps"}
    assert set(before) - set(after) == {p for p, group in before.items() if group in ("contamination", "overlaps")}
    assert documents(run, "kept") == [(True,), (change == "changed",), (change == "ngram",)]
    assert len(list((run / "models").iterdir())) == 2


def test_a_set_that_only_lies_elsewhere_measures_nothing(tmp_path):
    recipe, run = run_against(tmp_path, [PROSE, ITEM], {"a.parquet": [ITEM]})
    before = measured(run)
    (tmp_path / "sets").rename(tmp_path / "moved")
    carry_out(recipe, f"tier1.decontaminate.against=[{tmp_path / 'moved'}]")
    assert measured(run) == before


@pytest.mark.parametrize("damage", [None, b"", b"short"])
def test_a_table_that_is_gone_or_damaged_is_made_again_with_the_same_bytes(tmp_path, damage):
    recipe, run = run_against(tmp_path, [PROSE, ITEM], {"a.parquet": [ITEM]})
    [table] = (run / "models").glob("*.npy")
    held = table.read_bytes()
    table.unlink() if damage is None else table.write_bytes((damage + held[len(damage) :]) if damage else damage)
    carry_out(recipe)
    assert table.read_bytes() == held


def test_the_bound_moves_and_the_rule_can_be_switched_off(tmp_path):
    recipe, run = run_against(tmp_path, [ITEM, PROSE], {"a.parquet": [ITEM]})
    before = measured(run)
    for bound, kept in (("6", False), ("7", True), ("null", True)):
        carry_out(recipe, f"tier1.thresholds.contaminated={bound}")
        assert documents(run, "kept, n_contaminated_ngrams") == [(kept, 7), (True, 0)]
    own = "tier1.rules=[{reason: much, signal: contaminated_word_ratio, max: 0.2}]"
    carry_out(recipe, "tier1.thresholds.contaminated=null", own)
    assert documents(run, "reason") == [("much",), (None,)]
    assert measured(run) == before


@pytest.mark.slow  # test_same_bytes.py has it for all first stages
def test_the_number_of_workers_changes_no_byte(tmp_path):
    found = []
    for workers in (1, 3):
        (tmp_path / str(workers)).mkdir()
        tier1 = {"rules": ["c4"], "decontaminate": {"against": [str(EXCERPT)], "action": "cut"}}
        recipe, run = write_recipe(tmp_path / str(workers), SAMPLE, tier1=tier1, dedup={"near": {}})
        done = program("run", recipe, "--workers", workers, "--quiet", CURATE_UNIT_BYTES="200000")
        assert done.returncode == 0, done.stderr
        found.append(digests(run))
    assert found[0] == found[1]
    assert len([name for name in found[0] if "/overlaps/" in name]) > 2


def test_the_plan_tells_what_sets_would_drop_and_writes_nothing(tmp_path):
    recipe, run = write_recipe(tmp_path, SAMPLE, tier1={"decontaminate": {"against": [str(EXCERPT)]}})
    done = command("plan", recipe, "--json")
    assert done.returncode == 0, done.stderr
    told = {row["reason"]: row["in_sample"] for row in json.loads(done.stdout)["dropped"]}
    assert told["contaminated"] == 25
    assert not run.exists()


def test_gc_removes_the_table_of_a_recipe_that_uses_it_no_longer_and_only_with_all(tmp_path):
    recipe, run = run_against(tmp_path, [PROSE, ITEM], {"a.parquet": [ITEM]})
    assert command("gc", run, "--all").returncode == 0
    assert len(list((run / "models").iterdir())) == 2
    carry_out(recipe, "tier1.decontaminate=null")
    assert command("gc", run).returncode == 0
    assert len(list((run / "models").iterdir())) == 2
    assert command("gc", run, "--all").returncode == 0
    assert not (run / "models").exists()


def test_chats_are_searched_but_not_cut(tmp_path):
    chats = [[{"role": "user", "content": ITEM}], [{"role": "user", "content": PROSE}]]
    pq.write_table(pa.table({"messages": chats}), tmp_path / "chats.parquet")
    pq.write_table(pa.table({"question": [ITEM]}), tmp_path / "set.parquet")
    recipe, run = write_recipe(
        tmp_path, "", input={"paths": [str(tmp_path / "chats.parquet")], "messages": "messages"},
        tier1={"decontaminate": {"against": [str(tmp_path / "set.parquet")]}},
    )  # fmt: skip
    carry_out(recipe)
    assert documents(run, "kept") == [(False,), (True,)]
    with pytest.raises(RecipeError, match=r"chats .* come out unchanged; use drop"):
        carry_out(recipe, "tier1.decontaminate.action=cut")


def test_accents_as_characters_of_their_own_make_no_difference(tmp_path):
    item = "Où est le café où Zoé a oublié son résumé à côté du théâtre de la cité?"
    texts = [*(f"{PROSE} {unicodedata.normalize(form, item)}" for form in ("NFC", "NFD")), PROSE]
    for k, form in enumerate(("NFC", "NFD")):
        folder = tmp_path / form
        folder.mkdir()
        _, run = run_against(folder, texts, {f"{k}.parquet": [unicodedata.normalize(form, item)]})
        assert documents(run, "reason") == [("contaminated",), ("contaminated",), (None,)]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["tier1.decontaminate.columns=[]"], "tier1.decontaminate.columns: is empty"),
        (["tier1.decontaminate.against=[set.parquet, numbers.parquet]", "tier1.decontaminate.columns=[question, nope]"],
         "tier1.decontaminate.columns: no column 'nope'"),
        (["tier1.decontaminate.against=[]"], "tier1.decontaminate.against: is empty"),
        (["tier1.decontaminate.against=['s3://b/x.parquet']"], "read from local files only; copy it"),
        (["tier1.decontaminate.against=[broken.parquet]"], "broken.parquet: cannot be read: "),
        (["tier1.decontaminate.against=[numbers.parquet]"], "numbers.parquet: no text of 8 words or more to look for"),
        (["tier1.decontaminate.against=[a.csv]"], "only Parquet and JSON lines"),
        (["tier1.decontaminate.ngram=0"], "decontaminate.ngram: input should be greater than or equal to 1"),
        (["tier1.decontaminate.actoin=cut"], "did you mean 'action'"),
        (["tier1.decontaminate.action=cut", "tier1.thresholds.contaminated=3"], "no rule has the reason"),
        (["tier1.rules=[{reason: contaminated, when: 'n_words > 3'}]"], "the reason 'contaminated' is built in"),
        (["tier1.decontaminate=null", "tier1.rules=[{reason: x, signal: contaminated_word_ratio, max: 1}]"],
         "a signal of group contamination needs tier1.decontaminate"),
    ],
    ids=lambda value: str(value)[:50],
)  # fmt: skip
def test_errors_are_one_line(tmp_path, monkeypatch, changes, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    (tmp_path / "a.csv").write_text("question\n")
    pq.write_table(pa.table({"n": [1, 2]}), tmp_path / "numbers.parquet")
    pq.write_table(pa.table({"question": [ITEM]}), tmp_path / "set.parquet")
    write_shard(tmp_path / "in" / "a.parquet", [PROSE])
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", tier1={"decontaminate": {"against": ["set.parquet"]}})
    with pytest.raises(CurateError) as error:
        carry_out(recipe, *changes)
    assert told in str(error.value)
    assert "\n" not in str(error.value)
