"""Lines that many documents have: how they are told, which are cut, and what is left of the documents."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import example, given
from hypothesis import strategies as st
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard
from support.oracles import words_of
from support.recipes import write_recipe
from support.runs import documents
from support.soak import examples
from support.texts import TEXTS

from curate.corpus.edits import apply_edits
from curate.errors import RecipeError
from curate.kernels.corpus_lines import line_hashes, raw_places, repeated_line_cuts
from curate.kernels.cuts import Cuts
from curate.ledger.ledger import read_ledger
from curate.ledger.run import connect

quick = examples(150)
LINES = st.lists(st.sampled_from(["Home", "home!", "a b", "A  b.", "", " ", "}", "ΣΑΣ", "你好", "x"]), max_size=8)
MENU = "Home | About us\nLog in\n"


def hash_of(line):
    """What a line is told by; None without words."""
    if set(line) & set("\u0130\u03a3\u1fbb\u1fc9\u1fcb\u1fdb\u1feb\u1ff9\u1ffb\u2126\u212a\u212b"):
        return xxhash.xxh3_64_intdigest(line.strip().encode())
    words = " ".join(words_of(line))
    return xxhash.xxh3_64_intdigest(words.encode()) if words else None


@quick
@given(st.lists(LINES.map("\n".join) | TEXTS, max_size=4))
@example(["Home\nhome!\n", "", "}\n---", "  A b \nΣΑΣ\n"])
def test_lines_are_told_by_their_words(texts):
    expected = [sorted({hash_of(line) for line in text.split("\n")} - {None}) for text in texts]
    assert line_hashes(pa.array(texts, pa.string())).to_pylist() == expected
    assert line_hashes(pa.array([None, *texts], pa.large_string()).slice(0)).to_pylist() == [None, *expected]


@quick
@given(LINES, st.sets(st.sampled_from(["Home", "a b", "你好", "ΣΑΣ"])))
def test_listed_lines_are_cut_and_no_others(lines, listed):
    text = "\n".join(lines)
    hashes = pa.array([sorted(map(hash_of, listed))], pa.large_list(pa.uint64()))
    cuts = repeated_line_cuts(pa.array([text]), hashes)
    table = pa.table(
        {"row": cuts.rows, "start": cuts.starts, "end": cuts.ends, "replacement": pa.nulls(len(cuts.rows), pa.string())}
    )
    [left] = apply_edits(pa.array([text]), table).to_pylist()
    told = {hash_of(line) for line in listed}
    assert [x for x in left.split("\n") if x.strip()] == [x for x in lines if x.strip() and hash_of(x) not in told]


@quick
@given(st.data())
def test_cuts_in_edited_texts_are_found_in_the_raw_ones(data):
    text = "".join(data.draw(st.lists(st.sampled_from("abcdef"), max_size=20)))
    places = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    edits = [(a, b, data.draw(st.sampled_from(["", "XY"]))) for a, b in zip(places[::2], places[1::2], strict=False)]
    edited, spans, done = "", [], 0
    for start, end, new in edits:
        edited += text[done:start]
        spans.append((len(edited), len(edited) + len(new)))
        edited, done = edited + new, end
    edited += text[done:]
    within = {k for a, b in spans for k in range(a + 1, b)}
    ends = [k for k in range(len(edited) + 1) if k not in within]
    start, end = sorted((data.draw(st.sampled_from(ends)), data.draw(st.sampled_from(ends))))
    if start == end:
        return
    cut = Cuts(*(pa.array([value]) for value in (0, start, end, 0)))
    raw = raw_places(cut, [0] * len(edits), [e[0] for e in edits], [e[1] for e in edits], [len(e[2]) for e in edits])
    raw_start, raw_end = int(raw[0][0]), int(raw[1][0])
    outside = [(a, b, new) for a, b, new in edits if not (raw_start <= a and b <= raw_end)]
    assert all(b <= raw_start or a >= raw_end for a, b, _ in outside)
    left = text
    for a, b, new in sorted([*outside, (raw_start, raw_end, "")], reverse=True):
        left = left[:a] + new + left[b:]
    assert left == edited[:start] + edited[end:]


def corpus(folder, **columns):
    """Thirty pages with a menu and a footer, and five without."""
    pages = [f"{MENU}{PROSE} Page {k}.\n\n© 2024, all rights reserved" for k in range(30)]
    others = [f"{PROSE} Another one, number {k}." for k in range(5)]
    write_shard(folder / "in" / "a.parquet", [*pages, *others], **columns)
    return write_recipe(folder, folder / "in", dedup={"lines": {}}), pages, others


def test_menus_and_footers_are_cut_out_of_every_page(tmp_path):
    (recipe, run), pages, others = corpus(tmp_path)
    summary = carry_out(recipe)
    texts = pq.read_table(run / "data")["text"].to_pylist()
    assert texts == [*(page.removeprefix(MENU).split("\n\n©")[0] for page in pages), *others]
    with connect(run) as connection:
        cuts = connection.execute("SELECT DISTINCT stage, reason FROM edits").fetchall()
        spans = connection.execute('SELECT row, start, "end" FROM edits ORDER BY row, start').fetchall()
        cut = connection.execute(
            "SELECT count_if(n_tokens_cut > 0), sum(n_tokens + n_tokens_cut) FROM decisions"
        ).fetchall()
    assert cuts == [("lines", "repeated_line")]
    gone = {pages[row].encode()[start:end].strip() for row, start, end in spans}
    assert gone == {b"Home | About us", b"Log in", "© 2024, all rights reserved".encode()}
    assert cut[0][0] == 30
    assert summary["tokens_in"] == cut[0][1] > summary["tokens_out"]
    assert summary["bytes_in"] == sum(len(text.encode()) for text in [*pages, *others])
    assert summary["bytes_out"] == sum(len(text.encode()) for text in texts)
    [lines] = [stage for stage in summary["stages"] if stage["stage"] == "lines"]
    assert lines["cut"]["bytes"] == summary["bytes_in"] - summary["bytes_out"]
    assert command("verify", run).returncode == 0


def test_lines_are_counted_by_domain(tmp_path):
    urls = [f"https://www.Site{k // 20}.org/page{k}" for k in range(30)] + [None] * 5
    (recipe, run), *_ = corpus(tmp_path, url=pa.array(urls))
    carry_out(recipe, "dedup.lines.max_repeats=15")
    with connect(run) as connection:
        assert connection.execute("SELECT count(DISTINCT row), max(row) FROM edits").fetchall() == [(20, 19)]


def test_a_domain_is_told_however_an_address_is_written(tmp_path):
    sites = ["site{k}.org/a", "//SITE{k}.org", "https://me@www.Site{k}.org:80?x", "https://WWW.site{k}.org/"]
    pages = [f"{MENU}{PROSE} Page {k}." for k in range(30 * len(sites))]
    urls = [sites[k // 30].format(k=k // 10) if k % 2 else f"https://site{k // 10}.org" for k in range(len(pages))]
    write_shard(tmp_path / "in" / "a.parquet", pages, url=pa.array(urls))
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"lines": {"max_repeats": 10}})
    for most, cut in ((10, 0), (9, len(pages))):
        carry_out(recipe, f"dedup.lines.max_repeats={most}")
        assert len(documents(run, "1", "kept")) == len(pages)
        with connect(run) as connection:
            assert connection.execute("SELECT count(DISTINCT row) FROM edits").fetchall() == [(cut,)]


def test_addresses_that_are_no_text_are_told_of(tmp_path):
    (recipe, _), *_ = corpus(tmp_path, url=pa.array(range(35)))
    assert (
        "dedup.lines: column url holds int64 and no text: lines count over all documents"
        in command("run", recipe).stderr
    )


def test_a_page_that_is_nearly_all_menu_is_dropped(tmp_path):
    texts = [f"{MENU * 3}Page {k}" for k in range(25)] + [f"{MENU}{PROSE * 2}{k}" for k in range(3)] + [MENU]
    write_shard(tmp_path / "in" / "a.parquet", texts)
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"lines": {}})
    carry_out(recipe)
    reasons = [reason for (reason,) in documents(run, "reason")]
    assert reasons == ["too_much_boilerplate"] * 25 + [None] * 3 + ["too_much_boilerplate"]
    assert {stage for (stage,) in documents(run, "stage", "NOT kept")} == {"lines"}
    carry_out(recipe, "dedup.lines.max_cut=1")
    assert [reason for (reason,) in documents(run, "reason")] == [None] * 28 + ["too_much_boilerplate"]


def test_a_page_of_which_no_more_is_cut_than_max_cut_stays(tmp_path):
    half = len(MENU)
    texts = [f"{MENU}page {k:0{half - 5}d}" for k in range(25)] + [f"{MENU}page {k:0{half - 6}d}" for k in range(2)]
    write_shard(tmp_path / "in" / "a.parquet", texts)
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"lines": {"max_cut": 0.5}})
    carry_out(recipe)
    assert [reason for (reason,) in documents(run, "reason")] == [None] * 25 + ["too_much_boilerplate"] * 2


def test_lines_are_cut_from_what_local_edits_leave(tmp_path):
    texts = [
        f"Share this page\n{PROSE}[{k}] The end of page {k}.\nAll rights of this are reserved.[1]" for k in range(25)
    ]
    write_shard(tmp_path / "in" / "a.parquet", texts)
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["c4"]}, dedup={"lines": {}})
    carry_out(recipe)
    out = pq.read_table(run / "data")["text"].to_pylist()
    assert out == [f"{PROSE} The end of page {k}." for k in range(25)]
    with connect(run) as connection:
        stages = connection.execute("SELECT stage, count(DISTINCT row) FROM edits GROUP BY ALL ORDER BY 1").fetchall()
    assert stages == [("input", 25), ("lines", 25)]


def test_only_what_is_left_is_counted(tmp_path):
    copies = [f"{MENU}{PROSE}"] * 30
    write_shard(tmp_path / "in" / "a.parquet", copies)
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"lines": {"max_repeats": 1}})
    carry_out(recipe)
    assert pq.read_table(run / "data")["text"].to_pylist() == copies[:1]


def test_another_recipe_decides_anew_and_the_first_one_again_gives_the_same(tmp_path):
    (recipe, run), *_ = corpus(tmp_path)
    carry_out(recipe)
    first = pq.read_table(run / "data")
    carry_out(recipe, "dedup.lines.max_repeats=1000")
    with connect(run) as connection:
        assert connection.execute("SELECT count(*) FROM edits").fetchall() == [(0,)]
    assert pq.read_table(run / "data")["text"].to_pylist()[0].startswith(MENU)
    carry_out(recipe)
    assert pq.read_table(run / "data").equals(first)
    assert not [part for part in read_ledger(run).parts if part.group.startswith("pending")]


def test_chats_are_refused(tmp_path):
    messages = [[{"role": "user", "content": "Hello"}]]
    pq.write_table(pa.table({"messages": messages}), tmp_path / "a.parquet")
    recipe, _ = write_recipe(tmp_path, tmp_path / "a.parquet", dedup={"lines": {}})
    with pytest.raises(RecipeError, match=re.escape("dedup.lines cuts lines, and chats (input.messages)")):
        carry_out(recipe, "input.messages=messages")
