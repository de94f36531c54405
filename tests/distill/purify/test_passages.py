"""Bad passages: what is cut out of documents, within which bound, and how it is accounted for."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from support.commands import carry_out, command
from support.corpora import write_shard
from support.recipes import TIER2, purifying
from support.runs import digests, documents

from curate.distill.purify.conformal import Losses, risk_threshold
from curate.distill.purify.passage_training import train_on
from curate.distill.purify.passages import cut, loss_steps
from curate.distill.scoring.passages import PassageScorer
from curate.errors import RecipeError
from curate.filters.registry import EDIT_SCHEMA
from curate.kernels.passages import passage_texts, split_passages
from curate.ledger.run import connect

MENU = "• Home\n• News\n• Sport\n• Subscribe to our newsletter\n• Log in\n• Terms of use"
ADVERT = "Buy cheap pills now! Click here: http://cheap-pills.example/buy and save 50% today!!!"


def rows_of(run, query):
    with connect(run) as connection:
        return connection.execute(query).fetchall()


def cut_of(text, *numbers):
    """A text without its passages of these numbers, as edits cut them, and the edits."""
    texts = pa.array([text], pa.large_string())
    starts = split_passages(texts).starts[list(numbers)].tolist()
    documents = pa.table({"lines_sum": pa.array([0], pa.uint64()), "starts": pa.array([starts], pa.list_(pa.int32()))})
    edits, left = cut(texts, EDIT_SCHEMA.empty_table(), documents)
    raw, position, kept = text.encode(), 0, b""
    for start, end in zip(edits["start"].to_pylist(), edits["end"].to_pylist(), strict=True):
        kept += raw[position:start]
        position = end
    kept += raw[position:]
    assert left["left_bytes"].to_pylist() == [len(kept)]
    assert len(edits) == len(numbers)
    return kept.decode()


@pytest.mark.parametrize(
    ("text", "numbers", "left"),
    [
        ("One.\n\nTwo.\n\nThree.", [1], "One.\n\nThree."),
        ("One.\nTwo.\n\nThree.", [1], "One.\n\nThree."),  # of the white space around, the larger stays
        ("One.\n\nTwo.\nThree.", [1], "One.\n\nThree."),
        ("One.\n\nTwo.\n\nThree.\n", [2], "One.\n\nTwo.\n"),  # the end stays as it was
        ("One.\n\nTwo.\n\nThree.", [0], "Two.\n\nThree."),
        ("\n One.\n\n  Two.\n", [0], "  Two.\n"),
        ("One.\n\nTwo.\n\nThree.\n\nFour.", [1, 2], "One.\n\nFour."),
        ("One.\n\nTwo.\n\nThree.", [0, 2], "Two."),
        ("  One.\n\nTwo.\n", [0, 1], ""),
        ("Été.\nÜber.\nÖl.", [1], "Été.\nÖl."),
    ],
)
def test_a_cut_leaves_no_gap_and_joins_no_passages(text, numbers, left):
    assert cut_of(text, *numbers) == left


def drawn(documents, random):
    """Passages of documents, whose p_bad depend on each other: owners, p_bad, sizes, and bytes of each document."""
    counts = random.integers(1, 12, documents)
    owners = np.repeat(np.arange(documents), counts)
    p_bad = np.clip(np.repeat(random.beta(1, 8, documents), counts) + random.normal(0, 0.1, len(owners)), 0, 1)
    sizes = random.integers(20, 800, len(owners))
    return owners, p_bad, sizes, np.bincount(owners, sizes).astype(int)


def losses(owners, p_bad, sizes, n_bytes, bound, least):
    """The share of each document's bytes beyond a bound; 1 where too little is left."""
    gone = np.bincount(owners, sizes * (p_bad > bound), len(n_bytes))
    return np.where((gone > 0) & (n_bytes - gone < least), 1.0, gone / n_bytes)


def test_the_mean_share_of_good_documents_that_is_cut_stays_within_the_bound():
    random, means = np.random.default_rng(1), []
    for _ in range(300):
        owners, p_bad, sizes, n_bytes = drawn(99, random)
        steps = loss_steps(owners, p_bad, sizes, n_bytes, 200)
        bound = risk_threshold(Losses(99, p_bad, steps), 0.05, 0.0)
        own = losses(owners, p_bad, sizes, n_bytes, bound, 200)
        assert own.sum() + 1 <= 0.05 * 100 + 1e-6  # and no lower score would do
        lower = p_bad[p_bad < bound].max()
        assert losses(owners, p_bad, sizes, n_bytes, lower - 1e-9, 200).sum() + 1 > 0.05 * 100
        means.append(losses(*drawn(400, random), bound, 200).mean())
    assert np.mean(means) <= 0.05
    assert np.mean(means) > 0.02  # a bound that cuts nothing would be one too


def test_passages_of_one_score_are_cut_together():
    losses_of = Losses(99, np.array([0.9, 0.9, 0.9, 0.6]), np.array([0.5, 0.5, 0.5, 0.1]))
    assert risk_threshold(losses_of, 0.02, 0.5) == 0.9  # 1 may be lost, and the three together lose 1.5
    assert risk_threshold(losses_of, 0.05, 0.5) == 0.5
    assert risk_threshold(Losses(99, np.zeros(0), np.zeros(0)), 0.02, 0.5) == 0.5


@pytest.fixture(scope="module")
def mixed(corpus, tmp_path_factory):
    """A corpus with menus and adverts in good documents, and its folder."""
    folder = tmp_path_factory.mktemp("mixed")
    table = pq.read_table(corpus / "corpus.parquet")
    good = [row for row in table.to_pylist() if row["label"] == "good"]
    texts = table["text"].to_pylist() + [f"{MENU}\n\n{row['text']}\n\n{ADVERT}" for row in good]
    ids = table["id"].to_pylist() + [f"mixed-{row['id']}" for row in good]
    write_shard(folder / "corpus.parquet", texts, id=ids)
    (folder / "reference.parquet").write_bytes((corpus / "reference.parquet").read_bytes())
    return folder


def recipe(mixed, folder, **tier2):
    fields = {"rounds": 1, "passages": True} | tier2
    return purifying(mixed, folder, dedup={"exact": False, "lines": {"max_repeats": 200}}, tier2=TIER2 | fields)


@pytest.fixture(scope="module")
def run_of_mixed(mixed, tmp_path_factory):
    path, run = recipe(mixed, tmp_path_factory.mktemp("run"))
    carry_out(path)
    return path, run


def test_menus_and_adverts_go_and_the_documents_around_them_stay(run_of_mixed, mixed):
    _, run = run_of_mixed
    kept = {row["id"]: row["text"] for row in pq.read_table(run / "data").to_pylist() if row["id"].startswith("mixed")}
    written = {row["id"]: row["text"] for row in pq.read_table(mixed / "corpus.parquet").to_pylist()}
    assert len(kept) > 20
    assert np.mean([MENU in text for text in kept.values()]) < 0.1
    assert np.mean([ADVERT in text for text in kept.values()]) < 0.1
    remaining = [len(text) / len(written[name].removeprefix(f"{MENU}\n\n").removesuffix(ADVERT)) for name, text in
                 kept.items()]  # fmt: skip
    assert np.mean(remaining) > 0.9


def test_cuts_are_edits_and_every_size_is_that_of_the_output(run_of_mixed):
    _, run = run_of_mixed
    cuts = rows_of(run, "SELECT stage, reason FROM edits GROUP BY ALL ORDER BY 1")
    assert ("purify", "bad_passage") in cuts
    output = {row["doc_id"]: row for row in pq.read_table(run / "data").to_pylist()}
    for doc_id, n_bytes, n_tokens in rows_of(run, "SELECT doc_id, n_bytes, n_tokens FROM decisions WHERE kept"):
        assert len(output[doc_id]["text"].encode()) == n_bytes
        assert output[doc_id]["n_tokens"] == n_tokens
    [(stage, cut_tokens)] = rows_of(run, "SELECT 'purify', sum(n_passage_tokens_cut) FROM decisions WHERE kept")
    [(lost,)] = rows_of(run, f"SELECT tokens_in - tokens_out FROM stages WHERE stage = '{stage}'")
    [(dropped,)] = rows_of(run, "SELECT coalesce(sum(n_tokens), 0) FROM decisions WHERE stage = 'purify'")
    assert lost == cut_tokens + dropped > 0
    assert command("verify", run).returncode == 0


def test_what_is_cut_lies_beyond_the_bound_of_its_stratum_and_nothing_else(run_of_mixed):
    _, run = run_of_mixed
    bounds = dict(rows_of(run, "SELECT coalesce(length_bucket, ''), bound FROM passage_thresholds"))
    beyond = {}
    for doc_id, bucket, p_bad in rows_of(
        run, "SELECT doc_id, length_bucket, p.p_bad FROM passages p JOIN documents USING (doc_id)"
    ):
        assert p_bad > 0.5
        beyond[doc_id] = beyond.get(doc_id, 0) + (p_bad > bounds.get(bucket, bounds[""]))
    cuts = dict(rows_of(run, "SELECT doc_id, count(*) FROM edits WHERE stage = 'purify' GROUP BY 1"))
    assert cuts == {doc_id: count for doc_id, count in beyond.items() if count}


def test_the_manifest_names_the_model_of_passages_and_its_bounds(run_of_mixed):
    _, run = run_of_mixed
    facts = json.loads((run / "manifest.json").read_text("utf-8"))["purify"]
    assert {"purify_model", "passage_model"} <= set(facts["models"])
    bounds = rows_of(run, "SELECT bound, documents FROM passage_thresholds")
    assert [(row["bound"], row["documents"]) for row in facts["passage_thresholds"]] == bounds


def test_why_shows_each_cut_passage_with_its_p_bad(run_of_mixed):
    _, run = run_of_mixed
    [(doc_id,)] = rows_of(run, "SELECT doc_id FROM edits WHERE stage = 'purify' ORDER BY 1 LIMIT 1")
    edits = json.loads(command("why", run, doc_id, "--json").stdout)["edits"]
    cuts = [edit["p_bad"] for edit in edits if edit["reason"] == "bad_passage"]
    assert sorted(cuts) == sorted(
        p_bad
        for (p_bad,) in rows_of(
            run, f"SELECT p_bad FROM passages WHERE doc_id = '{doc_id}' ORDER BY p_bad DESC LIMIT {len(cuts)}"
        )
    )
    assert "p_bad" in command("why", run, doc_id).stdout


def test_a_document_of_which_too_little_is_left_is_dropped(mixed, run_of_mixed, tmp_path):
    _, run = run_of_mixed
    path, other = recipe(mixed, tmp_path, passages={"least": "3kB"})
    done = command("run", path, "--set", f"models.pin={run}", "--quiet")
    assert done.returncode == 0, done.stderr
    gone = documents(other, "doc_id", "reason = 'too_little_left'")
    assert gone
    sizes = dict(rows_of(other, "SELECT doc_id, sum(\"end\" - start) FROM edits WHERE stage = 'purify' GROUP BY 1"))
    raw = dict(documents(other, "doc_id, raw_n_bytes"))
    assert all(raw[doc_id] - sizes[doc_id] < 3000 for (doc_id,) in gone)


def test_another_bound_is_decided_from_the_ledger_as_a_run_decides_it(mixed, run_of_mixed, tmp_path):
    path, run = run_of_mixed
    done = command("what-if", run, "--set", "tier2.max_false_drop=15%", "--json")
    assert done.returncode == 0, done.stderr
    fields = yaml.safe_load(path.read_text()) | {"output": str(tmp_path / "run")}
    fields["tier2"]["max_false_drop"] = "15%"
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(fields))
    carry_out(tmp_path / "recipe.yaml")
    [(kept, tokens)] = rows_of(tmp_path / "run", "SELECT count(*), sum(n_tokens) FROM decisions WHERE kept")
    totals = json.loads(done.stdout)["totals"]
    assert (totals["kept_after_documents"], totals["kept_after_tokens"]) == (kept, tokens)
    assert tokens != sum(tokens for (tokens,) in documents(run, "n_tokens", "kept"))


def test_the_number_of_workers_changes_no_byte_of_passages(mixed, run_of_mixed, tmp_path):
    path, run = recipe(mixed, tmp_path)
    done = command("run", path, "--workers", 2, "--quiet")
    assert done.returncode == 0, done.stderr
    assert digests(run) == digests(run_of_mixed[1])


def test_models_without_passages_are_refused_in_one_line(purified, mixed, tmp_path):
    path, _ = recipe(mixed, tmp_path)
    fields = yaml.safe_load(path.read_text()) | {"models": {"pin": str(purified[1])}}
    path.write_text(yaml.safe_dump(fields))
    with pytest.raises(RecipeError, match="know no passages"):
        carry_out(path)


def test_spliced_passages_are_told_from_those_of_the_text_around_them():
    prose = [f"The {k}th lighthouse was built of stone, and its lamp was lit each night by a keeper who lived there. "
             f"In the year {1800 + k} it was painted white.\n\nShips saw it from {k} miles away, and none was lost "
             "there again, as the book of the harbour says." for k in range(80)]  # fmt: skip
    good = pa.table({"text": pa.array(prose, pa.large_string())})
    mined = pa.table({"text": pa.array([f"{MENU}\n\n{text}" for text in prose[:20]], pa.large_string())})
    spliced = [f"{text}\n\n{ADVERT} {k}" for k, text in enumerate(prose)]
    spans = [[{"start": len(a) + 2, "end": len(b), "original_start": len(a), "original_end": len(a)}]
             for a, b in zip(prose, spliced, strict=True)]  # fmt: skip
    attacked = pa.table({"attack": ["adverts"] * 80, "text": pa.array(spliced, pa.large_string()), "spans": spans,
                         "original": pa.array(prose, pa.large_string())})  # fmt: skip
    model = train_on(good, mined, attacked, seed=1)
    texts = pa.array([f"{MENU}\n\n{prose[3]}\n\n{ADVERT} 99"], pa.large_string())
    passages, p_bad = PassageScorer(model).score(texts, np.zeros(1, np.uint64))
    found = dict(zip(passage_texts(texts, passages).to_pylist(), p_bad > 0.5, strict=True))
    assert found == {MENU: True, f"{ADVERT} 99": True} | dict.fromkeys(prose[3].split("\n\n"), False)
