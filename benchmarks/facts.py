"""Print how many false facts are found as new ones, and how many true rewritings are suspected wrongly.

    .venv/bin/python benchmarks/facts.py             # the packaged sample
    .venv/bin/python benchmarks/facts.py FILE …      # Parquet files of doc_id or id, and text

False facts are made by the attacks of distill/attacks/facts.py, true rewritings by rules: other white space, sentences
in another order or as a list, half of them with other beginnings, and questions with sentences as answers.
"""

import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import curate.sample
from curate.distill.attacks.registry import apply_attacks
from curate.distill.text.chunks import chunks_of
from curate.distill.text.facts import copy_share, facts_of, kept_facts
from curate.distill.text.passages import sentences

SEED = 17
CHUNK = 2000
FALSE = ("number_swap", "name_swap")
QUESTIONS = ("What is said about this?", "How does that work?", "Why does it matter?", "When did this happen?")


def split(text: str) -> list[str]:
    """The sentences of a text, each on one line."""
    return [" ".join(text[start:end].split()) for start, end in sentences(text)]


def rewrapped(text: str, random: Random) -> str:
    """Other white space."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def reordered(text: str, random: Random) -> str:
    """The sentences in another order."""
    found = split(text)
    return " ".join(random.sample(found, len(found)))


def listed(text: str, random: Random) -> str:
    """A numbered list of the sentences under a heading."""
    return "**Key Points:**\n\n" + "\n".join(f"{k}. {one}" for k, one in enumerate(split(text), 1))


def asked(text: str, random: Random) -> str:
    """Questions that have the sentences as answers."""
    pairs = enumerate(split(text), 1)
    return "\n\n".join(f"Question {k}: {random.choice(QUESTIONS)}\nAnswer: {one}" for k, one in pairs)


def shortened(text: str, random: Random) -> str:
    """Every other sentence, which then begins in another way."""
    some = split(text)[::2]
    return "\n".join(f"Moreover, {one[0].lower() if one[1:2].islower() else one[0]}{one[1:]}" for one in some)


TRUE: tuple[Callable[[str, Random], str], ...] = (rewrapped, reordered, listed, asked, shortened)


def main() -> None:
    """Measure and print."""
    chunks = chunks_of(good_texts(sys.argv[1:]), CHUNK)
    ids = [f"{row['doc_id']} {row['chunk']}" for row in chunks.select(["doc_id", "chunk"]).to_pylist()]
    good = pa.table({"doc_id": ids, "text": chunks["text"]})
    texts = good["text"].to_pylist()
    start = time.process_time()
    found = [facts_of(text) for text in texts]
    seconds = time.process_time() - start
    size = sum(len(text.encode()) for text in texts)
    print(f"{len(good):,} chunks, {sum(len(one.facts) for one in found) / len(good):.1f} facts each", end=", ")
    print(f"read at {size / seconds / 1e6:.2f} MB a CPU second\n")
    print("| written | texts | with other words | with new facts | facts kept | copied |\n|---|---|---|---|---|---|")
    by_id = dict(zip(ids, texts, strict=True))
    for name in FALSE:
        made = apply_attacks(good, [name], None, SEED, texts)
        report(f"false: {name}", [by_id[one] for one in made["doc_id"].to_pylist()], made["text"].to_pylist())
    for rewrite in TRUE:
        random = Random(SEED)
        report(f"true: {rewrite.__name__}", texts, [rewrite(text, random) for text in texts])


def good_texts(paths: Sequence[str]) -> pa.Table:
    """Good texts of files, or of the sample."""
    if paths:
        tables = [pq.read_table(path) for path in paths]
        return pa.concat_tables(
            [table.select([key_of(table), "text"]).rename_columns(["doc_id", "text"]) for table in tables]
        )
    folder = Path(curate.sample.__path__[0])
    table = pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*.parquet"))])
    table = table.filter(pc.equal(table["label"], "good"))
    return table.select(["id", "text"]).rename_columns(["doc_id", "text"])


def key_of(table: pa.Table) -> str:
    """The column that names documents."""
    return "doc_id" if "doc_id" in table.schema.names else "id"


def words(text: str) -> set[str]:
    """The words of a text, numbers too, in lower case: without one more, nothing can show that it has a false fact."""
    return set(re.findall(r"\w+", text.lower()))


def report(name: str, original: Sequence[str], written: Sequence[str]) -> None:
    """One row."""
    before, after = pa.array(original, pa.large_string()), pa.array(written, pa.large_string())
    columns = kept_facts(before, after)
    pairs = zip(original, written, strict=True)
    other = sum(not words(after) <= words(before) for before, after in pairs) / len(original)
    new = pc.mean(pc.greater(columns["n_new_facts"], 0)).as_py()
    kept = pc.mean(columns["facts_kept"]).as_py()
    copied = pc.mean(copy_share(before, after)).as_py()
    print(f"| {name} | {len(original):,} | {other:.1%} | {new:.1%} | {kept:.1%} | {copied:.0%} |", flush=True)


if __name__ == "__main__":
    main()
