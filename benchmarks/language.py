"""Measure how often the language of a document is told rightly, and how fast.

Usage: python benchmarks/language.py FILE [COLUMN]

FILE is a Parquet file with a column `text` in many languages, or a folder of such files. COLUMN (default: `label`)
names the language, before a semicolon or an underscore; some codes of ISO 639-3 are taken for those of
639-1. Documents of up to 200 characters are left out, and those whose label says that they are untranslated. Of the
languages that the model knows, the 20 with the most documents are judged.
"""

import sys
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
from timing import least_of_five, parquet_in

from curate.filters.language.identify import language
from curate.filters.language.names import model_codes

BATCH, MIN_CHARACTERS, LARGEST, SURE = 1024, 200, 20, 0.65
SHORT = {"amh": "am", "eng": "en", "fra": "fr", "swa": "sw"}


def main(place: str, column: str = "label") -> None:
    """Print a line a language."""
    texts, labels = documents(place, column)
    batches = [pa.array(texts[k : k + BATCH], pa.large_string()) for k in range(0, len(texts), BATCH)]
    told = pa.concat_tables([pa.table(language(batch)) for batch in batches])
    answers = list(zip(labels, told["language"].to_pylist(), told["language_confidence"].to_pylist(), strict=True))
    count = Counter(labels)
    print(f"| language | documents | right | taken for | right among those of confidence {SURE} | share of these |")
    print("|---|---|---|---|---|---|")
    for name in [name for name, _ in count.most_common()]:
        print(line(name, [(found, share) for label, found, share in answers if label == name]))
    right = sum(label == found for label, found, _ in answers)
    mean = sum(sum(found == name for label, found, _ in answers if label == name) / n for name, n in count.items())
    size = sum(batch.nbytes for batch in batches) / 1e6
    seconds = least_of_five(lambda: [language(batch) for batch in batches])
    print(f"\n{len(answers):,} documents, {size:.1f} MB: {right / len(answers):.4f} right, mean of the languages ")
    print(f"{mean / len(count):.4f}; {size / seconds:.0f} MB, {len(answers) / seconds:,.0f} documents per CPU second")


def documents(place: str, column: str) -> tuple[list[str], list[str]]:
    """Texts and codes of their languages."""
    table = pa.concat_tables([pq.read_table(path, columns=["text", column]) for path in parquet_in([place])])
    found = [
        (text, SHORT.get(code, code))
        for text, label in zip(table["text"].to_pylist(), table[column].to_pylist(), strict=True)
        if text and len(text) > MIN_CHARACTERS and "untranslated" not in label
        for code in [label.split(";")[0].split("_")[0]]
    ]
    largest = Counter(code for _, code in found if code in model_codes()).most_common(LARGEST)
    chosen = {code for code, _ in largest}
    return [text for text, code in found if code in chosen], [code for _, code in found if code in chosen]


def line(name: str, found: list[tuple[str | None, float]]) -> str:
    """A language's figures as a line of the table."""
    wrong = Counter(code for code, _ in found if code != name).most_common(2)
    taken = ", ".join(f"{code} {count}" for code, count in wrong) or "–"
    sure = [code for code, share in found if share >= SURE]
    right = sum(code == name for code, _ in found) / len(found)
    right_of_sure = sum(code == name for code in sure) / max(1, len(sure))
    return f"| {name} | {len(found)} | {right:.3f} | {taken} | {right_of_sure:.3f} | {len(sure) / len(found):.3f} |"


if __name__ == "__main__":
    main(*sys.argv[1:])
