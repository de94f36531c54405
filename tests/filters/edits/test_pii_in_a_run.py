"""Personal data in a run: redacted, counted or dropped as the recipe says, and copied nowhere."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard
from support.personal_data import FOUND, PEM
from support.recipes import write_recipe
from support.runs import documents

from curate.corpus.edits import apply_edits, find_edits
from curate.errors import RecipeError
from curate.filters import registry
from curate.filters.edits import pii
from curate.ledger.run import connect


def files_with(run, values):
    """Files of a run, data/ too, that hold one of the values."""
    wanted = [value.encode() for value in values]
    held = []
    for path in run.rglob("*"):
        if path.is_file():
            raw = path.read_bytes()
            if path.suffix == ".parquet":  # as it is written and, where compressed, as it is read
                raw += json.dumps(pq.read_table(path).to_pylist(), default=str, ensure_ascii=False).encode()
            held += [path.relative_to(run).as_posix() for value in wanted if value in raw]
    return sorted(set(held))


def test_what_is_redacted_stands_nowhere_in_the_run(tmp_path):
    values = [value for kind, value, _ in FOUND if kind != "private_key"] + [PEM.splitlines()[1]]
    texts = [f"{PROSE} It is {value} and no other. {PROSE}{k}" for k, (_, value, _) in enumerate(FOUND)]
    write_shard(tmp_path / "in" / "a.parquet", texts, number=list(range(len(texts))))
    recipe, run = write_recipe(
        tmp_path, tmp_path / "in", tier1={"rules": ["gopher"], "pii": "redact"}, dedup={"near": {"verify": "exact"}}
    )
    done = command("run", recipe)
    assert done.returncode == 0, done.stderr
    assert files_with(run, values) == []
    assert not any(value in done.stdout + done.stderr for value in values)
    out = {row["number"]: row["text"] for row in pq.read_table(run / "data").to_pylist()}
    for k, (kind, value, _) in enumerate(FOUND):
        assert k not in out or out[k] == texts[k].replace(value, f"<{kind.upper()}>")
    with connect(run) as connection:
        rows = connection.execute("SELECT reason, replacement, count(*) FROM edits GROUP BY ALL").fetchall()
    assert {(reason, replacement) for reason, replacement, _ in rows} == {(k, f"<{k.upper()}>") for k in pii.KINDS}
    assert sum(n for *_, n in rows) == len(FOUND)


def test_counting_and_dropping_copy_nothing_into_the_ledger(tmp_path):
    texts = [f"{PROSE} {value} {PROSE}{k}" for k, (_, value, _) in enumerate(FOUND)] + [PROSE + PROSE]
    write_shard(tmp_path / "in" / "a.parquet", texts)
    for action in ("count", "drop"):
        recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"pii": action}, output=str(tmp_path / action))
        carry_out(recipe)
        run = tmp_path / action
        inside = [name for name in files_with(run, [v for _, v, _ in FOUND]) if not name.startswith("data/")]
        assert inside == []
        counts = documents(run, "raw_n_personal_data")
        assert counts == [(1,)] * len(FOUND) + [(0,)]
        dropped = len(FOUND) if action == "drop" else 0
        assert len(documents(run, "reason", "reason = 'personal_data'")) == dropped


@pytest.mark.parametrize(
    ("chosen", "dropped"),
    [
        ("drop", [0, 1, 2]),
        ({"action": "drop", "keep_reserved": True}, [1, 2]),
        ({"action": "drop", "kinds": ["email"]}, [0, 1]),
        ({"action": "drop", "kinds": ["email", "iban"], "keep_reserved": True}, [1]),
        ({"action": "count"}, []),
        ("off", []),
    ],
)
def test_kinds_and_reserved_examples_are_for_the_recipe_to_choose(tmp_path, chosen, dropped):
    values = ["jane@example.com", "jane@roe.org", "212-736-5000", "nobody"]
    write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE} {value} {PROSE}" for value in values])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"pii": chosen})
    carry_out(recipe)
    reasons = [reason for (reason,) in documents(run, "reason")]
    assert [k for k, reason in enumerate(reasons) if reason == "personal_data"] == dropped


@pytest.mark.parametrize("chosen", [{"kinds": ["email"]}, {"keep_reserved": True}])
def test_a_choice_without_an_action_is_refused_in_one_line(tmp_path, chosen):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE])
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", tier1={"pii": chosen})
    error = f"tier1.pii: `{next(iter(chosen))}` needs an `action` beside it: redact, drop, count or off"
    with pytest.raises(RecipeError, match=re.escape(error)) as told:
        carry_out(recipe)
    assert "\n" not in str(told.value)


def test_what_is_redacted_is_for_the_recipe_to_choose(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE} jane@example.com, jane@roe.org, 212-736-5000 {PROSE}"])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"pii": "redact"})
    ends = {
        "tier1.seed=1": "<EMAIL>, <EMAIL>, <PHONE> ",
        "tier1.pii={action: redact, keep_reserved: true}": "jane@example.com, <EMAIL>, <PHONE> ",
        "tier1.pii={action: redact, kinds: [phone]}": "jane@example.com, jane@roe.org, <PHONE> ",
        "tier1.thresholds.email=null": "jane@example.com, jane@roe.org, <PHONE> ",
    }
    for change, middle in ends.items():
        carry_out(recipe, *([] if change == "tier1.seed=1" else [change]))
        assert pq.read_table(run / "data")["text"].to_pylist() == [f"{PROSE} {middle}{PROSE}"]


def test_chats_are_not_redacted_but_may_be_counted(tmp_path):
    chats = pa.array([[{"role": "user", "content": f"{PROSE} a@roe.org"}]])
    pq.write_table(pa.table({"messages": chats}), tmp_path / "a.parquet")
    fields = {"input": {"paths": [str(tmp_path / "a.parquet")], "messages": "messages"}}
    recipe, run = write_recipe(tmp_path, "", **fields, tier1={"pii": "redact"})
    with pytest.raises(RecipeError, match=r"tier1\.pii: redact changes text, and chats"):
        carry_out(recipe)
    carry_out(recipe, "tier1.pii=count")
    assert documents(run, "raw_n_emails") == [(1,)]


def test_personal_data_that_a_line_cut_touches_goes_too():
    text = f"{PROSE}\nnot a sentence jane@roe.org\n{PROSE}\n{PEM}\nlast line"
    editors = [
        registry.Editor(name, tuple(registry.published_bounds(registry.edits()[name]).items()))
        for name in ("c4_lines", "personal_data")
    ]
    array = pa.array([text])
    [edited] = apply_edits(array, find_edits(array, editors)).to_pylist()
    assert not any(secret in edited for secret in ("jane", "MIIE", "abc", "KEY-"))
