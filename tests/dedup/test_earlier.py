"""`dedup.against`: what an earlier run kept is not kept again."""

import shutil

import pytest
from support.commands import carry_out, command
from support.corpora import write_shard
from support.near_copies import VOCABULARY
from support.recipes import write_recipe
from support.runs import documents

from curate.errors import CurateError
from curate.ledger.run import connect

WORDS = VOCABULARY[:200]
OLD = " ".join(WORDS)
NEAR = " ".join([*WORDS[:199], "other"])
OTHER = " ".join(VOCABULARY[300:400])
DROPPED = "the same " * 30


@pytest.fixture
def earlier(tmp_path):
    """A finished run that kept two documents and dropped two, one of them a copy."""
    (tmp_path / "old").mkdir()
    write_shard(tmp_path / "old" / "in" / "a.parquet", [OLD, OTHER, OTHER, DROPPED])
    recipe, run = write_recipe(tmp_path / "old", tmp_path / "old" / "in", dedup={"near": {}}, name="old",
                               tier1={"rules": [{"reason": "mine", "when": "n_words < 100"}]})  # fmt: skip
    carry_out(recipe)
    return recipe, run


def new_run(folder, earlier, texts, **dedup):
    write_shard(folder / "new" / "in" / "a.parquet", texts)
    fields = {"near": {}, "against": [str(earlier[1])], **dedup}
    recipe, run = write_recipe(folder / "new", folder / "new" / "in", dedup=fields)
    return recipe, run


def test_what_an_earlier_run_kept_is_dropped_and_what_it_dropped_is_not(earlier, tmp_path):
    texts = [OLD.upper(), NEAR, OTHER, DROPPED, "fresh " + " ".join(VOCABULARY[500:600])]
    recipe, run = new_run(tmp_path, earlier, texts, keep="longest")
    carry_out(recipe)
    [old, other, *_] = [row[0] for row in documents(earlier[1], "doc_id")]
    assert documents(run, "stage, reason, duplicate_of") == [
        ("exact", "normalised_duplicate_of_earlier_run", f"old:{old}"),
        ("near", "near_duplicate_of_earlier_run", f"old:{old}"),
        ("exact", "exact_duplicate_of_earlier_run", f"old:{other}"),
        (None, None, None),
        (None, None, None),
    ]
    with connect(run) as connection:
        pairs = connection.execute("SELECT reason, exact FROM duplicate_pairs ORDER BY ALL").fetchall()
        clusters = connection.execute("SELECT survivor, count(*) FROM clusters GROUP BY ALL ORDER BY ALL").fetchall()
    assert pairs == [
        ("exact_duplicate_of_earlier_run", True),
        ("near_duplicate_of_earlier_run", False),
        ("normalised_duplicate_of_earlier_run", True),
    ]
    assert sorted(count for _, count in clusters) == [1, 2]
    assert command("verify", run).returncode == 0


def test_only_the_ledger_of_the_earlier_run_is_read(earlier, tmp_path):
    shutil.rmtree(tmp_path / "old" / "in")
    shutil.rmtree(earlier[1] / "data")
    recipe, run = new_run(tmp_path, earlier, [OLD, NEAR])
    carry_out(recipe, "allow_empty=true")
    assert len(documents(run, "reason", "reason LIKE '%earlier_run'")) == 2


def test_two_earlier_runs_and_a_copy_among_the_new_documents(earlier, tmp_path):
    (tmp_path / "older").mkdir()
    write_shard(tmp_path / "older" / "in" / "a.parquet", ["another one " * 60, OLD])
    recipe, older = write_recipe(tmp_path / "older", tmp_path / "older" / "in", dedup={"near": {}}, name="older")
    carry_out(recipe)
    texts = ["another one " * 60, NEAR, "new text " + OTHER[:400], "new text " + OTHER[:400]]
    recipe, run = new_run(tmp_path, earlier, texts, against=[str(earlier[1]), str(older)], exact=False)
    carry_out(recipe)
    names = [(reason, (survivor or "").split(":")[0]) for reason, survivor in documents(run, "reason, duplicate_of")]
    assert names[:2] == [("near_duplicate_of_earlier_run", "older"), ("near_duplicate_of_earlier_run", "old")]
    assert names[2] == (None, "")
    assert names[3][0] == "near_duplicate"


def test_a_copy_of_a_document_in_any_file_of_an_earlier_run_is_dropped(tmp_path):
    """Their file numbers count down from -1, below those of the run's own files."""
    (tmp_path / "old").mkdir()
    for k, text in enumerate(["another one " * 60, OTHER, OLD]):
        write_shard(tmp_path / "old" / "in" / f"{k}.parquet", [text])
    recipe, old = write_recipe(tmp_path / "old", tmp_path / "old" / "in", dedup={"near": {}}, name="old")
    carry_out(recipe)
    [*_, (third,)] = documents(old, "doc_id")
    recipe, run = new_run(tmp_path, (recipe, old), ["fresh " + OTHER[:400], NEAR], exact=False)
    carry_out(recipe)
    assert documents(run, "reason, duplicate_of") == [(None, None), ("near_duplicate_of_earlier_run", f"old:{third}")]


def test_the_earlier_run_is_part_of_what_decisions_depend_on(earlier, tmp_path):
    recipe, run = new_run(tmp_path, earlier, [OLD, "fresh " + OTHER[:300]])
    carry_out(recipe)
    before = documents(run, "kept")
    carry_out(earlier[0], "tier1.rules=[{reason: all, when: n_words > 150}]")
    carry_out(recipe)
    assert before == [(False,), (True,)]
    assert documents(run, "kept") == [(True,), (True,)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("dedup.against=[nowhere]", "nowhere: no such folder; "),
        (
            "dedup.near={shingle: 4}",
            "has no signatures with permutations: 128, shingle: 4; run it again with dedup.near",
        ),
        ("dedup={exact: false, against: [{old}]}", "compares nothing without dedup.exact or dedup.near"),
        ("output={old}", "is the run itself; name earlier ones"),
        ("dedup.against=[{old}, {old}]", "two runs are named 'old'; documents are told by that name"),
    ],
)
def test_a_run_that_cannot_be_compared_with_is_refused(earlier, tmp_path, change, message):
    recipe, _ = new_run(tmp_path, earlier, [OLD])
    with pytest.raises(CurateError) as refused:
        carry_out(recipe, change.replace("{old}", str(earlier[1])))
    assert message in str(refused.value)


def test_a_run_that_forgot_its_signatures_is_refused(earlier, tmp_path):
    carry_out(earlier[0], "dedup.keep_signatures=false")
    recipe, _ = new_run(tmp_path, earlier, [OLD, DROPPED])
    with pytest.raises(CurateError, match=r"dedup.against: \S+ has forgotten its signatures; run it again with"):
        carry_out(recipe)
    carry_out(recipe, "dedup.near=null")


@pytest.mark.parametrize("what", ["decisions", "signals/signatures", "signals/hashes", "snapshot.json"])
def test_a_run_whose_ledger_is_damaged_is_refused(earlier, tmp_path, what):
    lost = earlier[1] / "ledger" / what
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    recipe, _ = new_run(tmp_path, earlier, [OLD, DROPPED])
    with pytest.raises(CurateError, match=r"dedup.against: \S+/ledger/\S+: missing or damaged; run old again"):
        carry_out(recipe)


def test_a_folder_that_is_no_run_is_named_with_the_field(tmp_path):
    write_shard(tmp_path / "in.parquet", [OLD])
    recipe, _ = write_recipe(tmp_path, tmp_path / "in.parquet", dedup={"against": [str(tmp_path / "none")]})
    with pytest.raises(CurateError, match=r"dedup.against: \S+none: no such folder; "):
        carry_out(recipe)
