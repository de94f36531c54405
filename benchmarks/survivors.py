"""Measure how often the original survives among near duplicates, by what chooses the copy that stays.

Usage: python benchmarks/survivors.py report [FAMILIES]    the half of the families that nothing was chosen on
       python benchmarks/survivors.py tune [FAMILIES]      the other half, by the constants of dedup/near/best_copies.py

FAMILIES is a Parquet file of families of edited copies (id, text, label): `label` names the family, the third part of
`id`, between colons, what was done to the text, `orig` for nothing. Two more corpora are made here of the packaged
sample: its own edited copies, whose labels tell what they were made of, and copies of its good documents with words
put in, changed, misspelt, left out, with menus around them, or cut at the end. Documents are shuffled.
"""

import hashlib
import random
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

import curate.sample
from curate.dedup.near import best_copies as copies
from curate.engine.base import InProcess
from curate.ledger.run import connect
from curate.pipeline.run import run
from curate.recipe.load import load_recipe

Document = tuple[str, str, str, str]  # id, text, family, what was done to it
SAME = ("orig", "normalised")
COPIES_OF_FAMILY = (1, 1, 2, 3, 5)
LINES_OF_MENUS = (
    "Home", "About us", "Contact", "Log in | Register", "Subscribe to our newsletter", "Share this page",
    "Privacy policy", "Terms of use", "More like this", "All rights reserved", "Cookie settings", "Next article",
)  # fmt: skip


def main(what: str, *families: str) -> None:
    """Do what the usage says."""
    odd = {"report": 1, "tune": 0}[what]
    corpora = {Path(path).stem: families_in(Path(path)) for path in families}
    corpora |= {"sample": edited_of_sample(), "edits of the sample": edited()}
    halves = {name: half(documents, odd) for name, documents in corpora.items()}
    (report if what == "report" else tune)(halves)


def half(documents: list[Document], odd: int) -> list[Document]:
    """The documents of every other family, in an order that tells nothing."""
    found = [one for one in documents if hashlib.sha256(one[2].encode()).digest()[0] % 2 == odd]
    random.Random(7).shuffle(found)
    return found


def families_in(path: Path) -> list[Document]:
    """Documents of a file of families."""
    table = pq.read_table(path, columns=["id", "text", "label"])
    ids, texts, labels = (table[name].to_pylist() for name in ("id", "text", "label"))
    return [(one, text, label, one.split(":")[2]) for one, text, label in zip(ids, texts, labels, strict=True)]


def sample() -> list[dict[str, str]]:
    """The documents of the packaged sample."""
    files = sorted(Path(curate.sample.__path__[0]).glob("*.parquet"))
    return pa.concat_tables([pq.read_table(path, columns=["id", "text", "label"]) for path in files]).to_pylist()


def edited_of_sample() -> list[Document]:
    """The sample's edited copies, and what they were made of."""
    documents = {one["id"]: one for one in sample()}
    copies_of: dict[str, list[str]] = defaultdict(list)
    for one in documents.values():
        if one["label"].startswith("near_dup_of:"):
            copies_of[one["label"].partition(":")[2]].append(one["id"])
    found = []
    for original, ids in copies_of.items():
        found.append((original, documents[original]["text"], original, "orig"))
        found += [(one, documents[one]["text"], original, "edited") for one in ids]
    return found


def edited() -> list[Document]:
    """Families of good documents of the sample and one to five copies of each, edited in one way each."""
    draw = random.Random(3)
    texts = [one["text"] for one in sample() if one["label"] == "good" and len(one["text"].split()) >= 80]
    tokens = [word for text in texts for word in text.split()]
    edits = editors(draw, tokens)
    found = []
    for k, text in enumerate(texts):
        found.append((f"{k}:orig", text, str(k), "orig"))
        for copy in range(COPIES_OF_FAMILY[k % len(COPIES_OF_FAMILY)]):
            kind = draw.choice(list(edits))
            found.append((f"{k}:{kind}:{copy}", edits[kind](text), str(k), kind))
    return found


def editors(draw: random.Random, tokens: list[str]) -> dict[str, Callable[[str], str]]:
    """Ways to edit a text; words that are put in are of the sample's texts."""
    vocabulary = sorted(set(tokens))

    def salad(text: str, words: list[str]) -> str:
        found = text.split(" ")
        clumps = draw.choice((1, 2, 3))
        for _ in range(clumps):
            place = draw.randrange(len(found) + 1)
            share = draw.choice((0.02, 0.05, 0.1)) / clumps
            found[place:place] = draw.choices(words, k=max(1, int(share * len(found))))
        return " ".join(found)

    def words_changed(text: str, change: Callable[[str], str]) -> str:
        found = re.findall(r"\S+|\s+", text)
        places = [k for k, word in enumerate(found) if len(word) > 3 and word.isalpha()]
        for k in draw.sample(places, max(1, int(draw.choice((0.005, 0.01, 0.02)) * len(places)))):
            found[k] = change(found[k])
        return "".join(found)

    def misspelt(word: str) -> str:
        k = draw.randrange(1, len(word) - 1)
        return draw.choice((word[:k] + word[k + 1] + word[k] + word[k + 2 :], word[:k] + word[k + 1 :]))

    def without_span(text: str) -> str:
        words = text.split(" ")
        size = max(1, int(draw.choice((0.03, 0.08)) * len(words)))
        place = draw.randrange(len(words) - size)
        return " ".join(words[:place] + words[place + size :])

    def framed(text: str) -> str:
        lines = draw.choices(LINES_OF_MENUS, k=max(2, int(draw.choice((0.015, 0.03, 0.05)) * len(text.split()))))
        above = draw.randrange(len(lines) + 1)
        return "\n".join([*lines[:above], text, *lines[above:]])

    return {
        "words of a list put in": lambda text: salad(text, vocabulary),
        "words of texts put in": lambda text: salad(text, tokens),
        "words changed": lambda text: words_changed(text, lambda _: draw.choice(tokens)),
        "words misspelt": lambda text: words_changed(text, misspelt),
        "passage left out": without_span,
        "cut at the end": lambda text: text[: int(draw.choice((0.85, 0.9, 0.95)) * len(text))],
        "menus around": framed,
    }


def report(corpora: dict[str, list[Document]]) -> None:
    """Print how often the original survives, and what it is lost to."""
    print("| corpus | language model | families | by score alone | `longest` | `best` |\n|---|---|---|---|---|---|")
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    for name, documents in corpora.items():
        for model in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                scores = carried_out(Path(folder), documents, "best", model)
                best = outcome(Path(folder), documents)
                by_score = sorted(documents, key=lambda one: -scores[one[0]])
                carried_out(Path(folder) / "score", by_score, "first", model)
                alone = outcome(Path(folder) / "score", documents)
                carried_out(Path(folder) / "longest", documents, "longest", model)
                longest = outcome(Path(folder) / "longest", documents)
            before += alone[1]
            after += best[1]
            cells = [f"{won / (won + sum(lost.values())):.3f}" for won, lost in (alone, longest, best)]
            families = best[0] + sum(best[1].values())
            print("|", " | ".join([name, "yes" if model else "no", f"{families:,}", *cells]), "|", flush=True)
    print("\n| what the original was lost to | by score alone | `best` |\n|---|---|---|")
    for kind in sorted(before | after):
        print(f"| {kind} | {before[kind]} | {after[kind]} |")


def tune(corpora: dict[str, list[Document]]) -> None:
    """Print the share of originals that survive by the constants, of all corpora together."""
    print("| tie | bits | stop words | survive without a model | with one |\n|---|---|---|---|---|")
    documents = [(f"{name}/{a}", text, f"{name}/{b}", c) for name, some in corpora.items() for a, text, b, c in some]
    with tempfile.TemporaryDirectory() as folder:
        seed = 0
        for tie in (0.0, 0.01, 0.02, 0.03, 0.05, 0.1):
            for bits, stop_words in ((1100, 400), (1200, 600), (1300, 700), (1400, 800), (1600, 900)):
                copies.TIE, copies.MOST_BITS, copies.LEAST_STOP_WORDS = tie, bits, stop_words
                shares = []
                for model in (False, True):
                    place, seed = Path(folder) / str(model), seed + 1  # decides anew, and measures nothing again
                    carried_out(place, documents, "best", model, seed)
                    won, lost = outcome(place, documents)
                    shares.append(f"{won / (won + sum(lost.values())):.4f}")
                print(f"| {tie} | {bits} | {stop_words} | {' | '.join(shares)} |", flush=True)


def carried_out(folder: Path, documents: list[Document], keep: str, model: bool, seed: int = 0) -> dict[str, float]:
    """Decide documents in a run directory below a folder; return their scores."""
    folder.mkdir(exist_ok=True)
    source = folder / "documents.parquet"
    if not source.exists():
        pq.write_table(pa.table({"id": [one[0] for one in documents], "text": [one[1] for one in documents]}), source)
    recipe = {
        "name": "survivors", "output": str(folder / "run"), "seed": seed,
        "input": {"paths": [str(source)], "id": "id"},
        "tier1": {"rules": [], "perplexity": {"band": [0, 100]} if model else None},
        "dedup": {"near": {}, "keep": keep},
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    run(load_recipe(folder / "recipe.yaml"), InProcess(), threads=1, quiet=True)
    with connect(folder / "run") as connection:
        return dict(connection.execute("SELECT doc_id, coarse_score FROM decisions").fetchall())


def outcome(folder: Path, documents: list[Document]) -> tuple[int, Counter[str]]:
    """In how many families the original survived a near duplicate, and in how many others what it was lost to."""
    known = {one[0]: one for one in documents}
    with connect(folder / "run") as connection:
        dropped = connection.execute("SELECT doc_id, duplicate_of FROM decisions WHERE stage = 'near'").fetchall()
    lost, won = {}, set()
    for document, survivor in dropped:
        (_, _, family, kind), (_, _, other, kind_of_other) = known[document], known[survivor]
        if family == other and kind in SAME and kind_of_other not in SAME:
            lost[family] = kind_of_other
        elif family == other and kind_of_other in SAME and kind not in SAME:
            won.add(family)
    return len(won - lost.keys()), Counter(lost.values())


if __name__ == "__main__":
    main(*sys.argv[1:])
