"""Bad passages: whole web pages without them against their main text, and good documents at the bound.

    python benchmarks/passages.py CORPORA [tuning|testing]

Pages are parted by site: 40 % are mined, settings were chosen on `tuning`, and the docs have the figures of `testing`.
The model never sees the sites that are tested. Main texts were cut by hand (`clean`) or by a program (`clean_auto`).
Figures are the mean over pages of F1, precision and recall of the words that are left against those of the main text.
"""

import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_64_intdigest

from curate.corpus.edits import apply_edits, find_edits
from curate.distill.attacks.registry import apply_attacks, attacks
from curate.distill.purify.passage_training import passages_of_calibration, train_on
from curate.distill.purify.passages import passage_limit
from curate.distill.scoring.discriminator import groups_of
from curate.distill.scoring.passages import PassageModel, PassageScorer
from curate.distill.text.passages import word_list
from curate.filters.rules.resolve import resolve_editors
from curate.kernels.corpus_lines import line_hashes
from curate.kernels.passages import passage_texts, split_passages
from curate.recipe.load import parse_recipe
from curate.recipe.tier2 import Passages

ALPHAS = (0.01, 0.02, 0.05)
GOOD_OF_EACH = 450  # documents of each file of the reference
ATTACKS = 500  # documents for each attack
HOSTS_OF_MANY = ("archive.org", "exemple.com", "go.com", "foo.bar", "example.com")
SHORT, LONG, FEW_STOP_WORDS, MANY_STOP_WORDS = 70, 200, 0.30, 0.32  # as in jusText


def share(key: str, seed: int) -> float:
    """A number from 0 to 1 that depends on a key and a seed alone."""
    return xxh3_64_intdigest(key.encode(), seed) / 2.0**64


def site_of(page: str, url: str | None) -> str:
    """The site of a page: its host, or what the name of its file says of it."""
    host = url.split("/")[2].lower().removeprefix("www.") if url and "://" in url else ""
    if host and host not in HOSTS_OF_MANY:
        return host
    name = page.split("/")[-1]
    if "CleanPortal" in page:
        return name.split("_")[0]
    if "newspaper" in page:
        return re.sub(r"\d*\.(html|txt)$", "", name)
    domain = re.match(
        r"(?:www\.)?((?:[\w-]+\.)+(?:com|org|net|de|at|ch|fr|uk|eu|info|es|it|ru|pl|br|nl|gov|edu|io))\b", name
    )
    return domain[1] if domain else page


def pages_of(corpora: Path) -> list[dict[str, str]]:
    """Whole pages with their main text and how it was cut, where there is one; part by site."""
    by_page: dict[str, dict[str, dict[str, str]]] = {}
    for row in pq.read_table(corpora / "web/web_pages.parquet").to_pylist():
        by_page.setdefault(row["id"].rsplit("|", 1)[0], {})[row["label"]] = row
    pages = []
    for name, rows in sorted(by_page.items()):
        if "noisy" in rows:
            main = rows.get("clean") or rows.get("clean_auto") or {}
            place = share(site_of(name, rows["noisy"]["url"]), 7)
            part = "mined" if place < 0.4 else "tuning" if place < 0.7 else "testing"
            pages.append(
                {
                    "text": rows["noisy"]["text"],
                    "main": main.get("text", ""),
                    "how": main.get("label", ""),
                    "part": part,
                }
            )
    return pages


def good_of(corpora: Path) -> list[dict[str, str]]:
    """Good documents with their kind and role."""
    documents = []
    for path in sorted((corpora / "reference").glob("*.parquet")):
        rows = [row["text"][:60_000] for row in pq.read_table(path).to_pylist() if len(row["text"].encode()) >= 200]
        rows.sort(key=lambda text: xxh3_64_intdigest(text.encode(), 3))
        for text in rows[:GOOD_OF_EACH]:
            place = share(text, 1)
            role = "training" if place < 0.65 else "testing" if place < 0.75 else "calibration"
            documents.append({"text": text, "kind": path.stem, "role": role})
    return documents


def array(texts: list[str]) -> pa.Array:
    """Texts as Arrow."""
    return pa.array(texts, pa.large_string())


def train(good: list[dict[str, str]], mined: list[str]) -> PassageModel:
    """The model of passages, trained on good documents, attacks on them, and mined pages."""
    texts = array([document["text"] for document in good if document["role"] == "training"])
    table = pa.table({"doc_id": [f"{k:06d}" for k in range(len(texts))], "text": texts})
    names = [name for name, attack in attacks().items() if attack.splices]
    attacked = apply_attacks(table, names, ATTACKS, seed=5, others=mined)
    originals = texts.take(pa.array([int(doc_id) for doc_id in attacked["doc_id"].to_pylist()]))
    return train_on(table, pa.table({"text": array(mined)}), attacked.append_column("original", originals), seed=1)


def words(text: str) -> Counter[str]:
    """The words of a text."""
    return Counter(re.findall(r"\w+", text.lower()))


def agreement(left: str, main: str) -> tuple[float, float, float]:
    """F1, precision and recall of the words that are left."""
    found, wanted = words(left), words(main)
    common = sum((found & wanted).values())
    precision, recall = common / max(1, sum(found.values())), common / max(1, sum(wanted.values()))
    return 2 * precision * recall / max(1e-9, precision + recall), precision, recall


def without(texts: pa.Array, chosen: np.ndarray) -> list[str]:
    """Texts without their chosen passages, for counting words."""
    passages = split_passages(texts)
    pieces = passage_texts(texts, passages).to_pylist()
    kept = [[] for _ in range(len(texts))]
    for text, piece, is_cut in zip(passages.texts.tolist(), pieces, chosen.tolist(), strict=True):
        if not is_cut:
            kept[text].append(piece)
    return ["\n".join(of_text) for of_text in kept]


def like_justext(texts: pa.Array) -> list[str]:
    """Texts as jusText would leave them: by length and English stop words, and short passages by their neighbours."""
    passages = split_passages(texts)
    stop = word_list("stop_words") | word_list("determiners")
    classes = []
    for piece in passage_texts(texts, passages).to_pylist():
        tokens = piece.lower().split()
        density = sum(token.strip(".,;:!?\"'") in stop for token in tokens) / max(1, len(tokens))
        if len(piece) < SHORT:
            classes.append("short")
        elif density >= MANY_STOP_WORDS:
            classes.append("good" if len(piece) > LONG else "near")
        else:
            classes.append("near" if density >= FEW_STOP_WORDS else "bad")
    chosen = np.ones(len(classes), bool)
    for first, last in zip(passages.offsets[:-1], passages.offsets[1:], strict=True):
        for k in range(first, last):
            before = next((classes[j] for j in range(k - 1, first - 1, -1) if classes[j] in ("good", "bad")), "bad")
            behind = next((classes[j] for j in range(k + 1, last) if classes[j] in ("good", "bad")), "bad")
            near = classes[k] == "near" and "good" in (before, behind)
            chosen[k] = not (classes[k] == "good" or near or (classes[k] == "short" and before == behind == "good"))
    return without(texts, chosen)


def edited_by(rules: str) -> Callable[[pa.Array], list[str]]:
    """Texts after the edits of a rule set."""
    recipe = parse_recipe({"name": "x", "input": {"paths": ["x"]}, "tier1": {"rules": [rules]}}, "benchmark")
    editors = tuple(resolve_editors(recipe.tier1))
    return lambda texts: apply_edits(texts, find_edits(texts, editors)).to_pylist()


def without_repeated(texts: pa.Array) -> list[str]:
    """Texts without the lines that more than 20 of them have."""
    lines, counts = np.unique(line_hashes(texts).flatten().to_numpy(), return_counts=True)
    repeated = set(lines[counts > 20].tolist())
    left = []
    for text in texts.to_pylist():
        own = text.split("\n")
        hashes = [of_line[:1] for of_line in line_hashes(array(own)).to_pylist()]
        left.append("\n".join(line for line, h in zip(own, hashes, strict=True) if not (h and h[0] in repeated)))
    return left


def cut_at(scorer: PassageScorer, texts: pa.Array, bound: float) -> np.ndarray:
    """Which passages of texts lie beyond a bound."""
    passages, p_bad = scorer.score(texts, groups_of(texts))
    return scorer.may_be_cut(passages, p_bad) & (p_bad.astype(np.float32) > bound)


def cut_share(scorer: PassageScorer, texts: pa.Array, bound: float) -> float:
    """The mean share of the bytes of texts that lies beyond a bound; 1 for one of which too little is left."""
    passages, chosen = split_passages(texts), cut_at(scorer, texts, bound)
    n_bytes = np.array([len(text.encode()) for text in texts.to_pylist()])
    gone = np.bincount(passages.texts, (passages.ends - passages.starts) * chosen, len(texts))
    return float(np.where((gone > 0) & (n_bytes - gone < Passages().least), 1.0, gone / n_bytes).mean())


def row_of(name: str, left: list[str], pages: list[dict[str, str]], more: str = "") -> str:
    """A row of the table: F1, precision and recall for each way in which main texts were cut."""
    cells = []
    for how in ("clean", "clean_auto"):
        found = [agreement(text, page["main"]) for text, page in zip(left, pages, strict=True) if page["how"] == how]
        cells += [f"{value:.3f}" for value in np.mean(found, axis=0)]
    return f"| {name} | {' | '.join(cells)} |{more}"


def mixed_sample(corpora: Path, scorer: PassageScorer, bound: float) -> str:
    """What is left of documents of the quickstart sample whose boilerplate is known."""
    tables = [pq.read_table(path) for path in sorted((corpora / "quickstart_sample").glob("*.parquet"))]
    rows = pa.concat_tables(tables).to_pylist()
    shares: Mapping[str, float] = {}
    for label in ("boilerplate_mixed", "boilerplate_only", "good"):
        texts = array([row["text"] for row in rows if row["label"] == label])
        if len(texts):
            shares = {**shares, f"{label} ({len(texts)})": cut_share(scorer, texts, bound)}
    return ", ".join(f"{label} {value:.1%}" for label, value in shares.items())


def main() -> None:
    """Print the tables."""
    corpora, part = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "testing"
    pages, good = pages_of(corpora), good_of(corpora)
    model = train(good, [page["text"] for page in pages if page["part"] == "mined"])
    print(f"trained on {model.facts}")
    scorer = PassageScorer(model)
    calibration = pa.table({"text": array([d["text"] for d in good if d["role"] == "calibration"])})
    calibration = calibration.append_column("doc_id", pa.array([f"{k:06d}" for k in range(len(calibration))]))
    table = passages_of_calibration(model, calibration, [])
    tested = [page for page in pages if page["part"] == part and page["how"]]
    texts, mains = array([page["text"] for page in tested]), array([page["main"] for page in tested])
    others = array([d["text"] for d in good if d["role"] == "testing"])
    print(
        f"\n{part}: {len(tested)} pages; main texts by hand, then by program: F1, precision, recall; "
        "share that is cut of good documents, of main texts"
    )
    for name, change in {
        "as they are": lambda batch: batch.to_pylist(),
        "repeated lines": without_repeated,
        "edits of c4": edited_by("c4"),
        "like jusText": like_justext,
    }.items():
        print(row_of(name, change(texts), tested))
    for alpha in ALPHAS:
        bound = passage_limit(alpha, Passages())(table).bound
        more = f" {cut_share(scorer, others, bound):.2%} | {cut_share(scorer, mains, bound):.1%} |"
        print(row_of(f"passages, {alpha:.0%}", without(texts, cut_at(scorer, texts, bound)), tested, more))
        print(f"  sample at {alpha:.0%}: {mixed_sample(corpora, scorer, bound)}")


if __name__ == "__main__":
    main()
