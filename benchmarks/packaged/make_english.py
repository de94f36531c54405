"""Make the packaged language model for English, english.parquet.

Usage: python benchmarks/packaged/make_english.py PLACE ...

A PLACE is a Parquet file with the columns `text` and `license`, or a folder with such files, of which the rows with the
licences in PERMISSIVE are taken; or a Debian package (.deb), of which the texts in PACKAGES are. README.md beside this
names all of them. Of the texts one in ten is held back, told by its hash: `is_held_back` tells what the model has not
seen.

The same places give the same bytes.
"""

import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_64_intdigest

from curate.filters.language.packed import pack
from curate.filters.language.train import Training, train

TARGET = Path(__file__).parents[2] / "curate" / "models" / "english.parquet"
PERMISSIVE = (
    "CC0-1.0 / public domain (Standard Ebooks)",
    "public domain (US Federal Reserve Board speeches",
    "public domain (US presidents)",
    "public domain (US govt)",
    "public domain (Debian sqlite3-doc",
    "PostgreSQL (Debian postgresql-doc",
    "PSF-2.0 (Debian python3",
    "Apache-2.0 (Debian apache2-doc",
)
PACKAGES = {  # by the name of the package: the files in it
    "wordnet-base": "usr/share/wordnet/data.*",  # glosses and examples
    "python-django-doc": "usr/share/doc/python-django-doc/html/**/*.html",
    "rust-doc": "usr/share/doc/rust-doc/html/book/*.html",
}
MOST = 9_000_000  # bytes of one licence, so that no source is the model
HELD_BACK = 10
PRUNE = (0, 0, 1, 2, 2)
MEMORY, THREADS = 4_000_000_000, 2


def main(places: list[Path]) -> None:
    """Train, and write the packed model."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        texts = [text for text in collected(places, folder) if not is_held_back(text)]
        pq.write_table(pa.table({"text": texts}), folder / "texts.parquet")
        output = folder / "english.arpa"
        inputs = (str(folder / "texts.parquet"),)
        trained = train(Training(inputs, output, len(PRUNE), PRUNE, "text", "words", MEMORY, THREADS))
        pack(output, TARGET)
    size = sum(len(text.encode()) for text in texts)
    kept = ", ".join(f"{level.kept:,}" for level in trained.levels)
    print(f"{size / 1e6:.1f} MB of text, {trained.tokens:,} tokens; n-grams by order: {kept}; ")
    print(f"{TARGET}: {TARGET.stat().st_size / 1e6:.1f} MB")


def is_held_back(text: str) -> bool:
    """Whether a document was kept from the model, so that it can be judged by it."""
    return xxh3_64_intdigest(text.encode()) % HELD_BACK == 0


def collected(places: list[Path], folder: Path) -> Iterator[str]:
    """The texts of all places, those of each source up to MOST bytes, in an order that tells nothing."""
    by_source: dict[str, list[str]] = defaultdict(list)
    for place in places:
        if place.suffix == ".deb":
            name = place.name.split("_")[0]
            by_source[name] += of_package(place, PACKAGES[name], folder / name)
            continue
        for path in sorted(place.rglob("*.parquet")) if place.is_dir() else [place]:
            for row in pq.read_table(path, columns=["text", "license"]).to_pylist():
                if source := next((known for known in PERMISSIVE if (row["license"] or "").startswith(known)), None):
                    by_source[source].append(row["text"])
    for source, texts in by_source.items():
        size = 0
        for text in sorted(set(texts), key=lambda text: xxh3_64_intdigest(text.encode())):
            if size < MOST:
                size += len(text.encode())
                yield text
        print(f"{source}: {size / 1e6:.1f} MB", file=sys.stderr)


def of_package(package: Path, pattern: str, folder: Path) -> list[str]:
    """The texts of a Debian package: of HTML pages, or the glosses of WordNet, some hundreds together."""
    subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True)
    paths = sorted(folder.glob(pattern))
    if all(path.suffix == ".html" for path in paths):
        return [text for path in paths if (text := text_of_page(path.read_text("utf-8")))]
    glosses = glosses_of(paths)
    return ["\n".join(glosses[k : k + 200]) for k in range(0, len(glosses), 200)]


def glosses_of(paths: list[Path]) -> list[str]:
    """The glosses and examples in files of WordNet."""
    lines = [line.split(" | ", 1)[1] for path in paths for line in path.read_text().splitlines() if " | " in line]
    return [part.strip().strip('"') for line in lines for part in line.split(";")]


class _Page(HTMLParser):
    """The text of a page, a line a block, without code, menus and scripts."""

    SKIPPED = ("script", "style", "pre", "nav", "head", "footer")
    BLOCKS = ("p", "li", "h1", "h2", "h3", "h4", "dt", "dd", "td", "th", "div", "section", "br")

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.skipping = 0

    def handle_starttag(self, tag: str, attributes: object) -> None:
        self.skipping += tag in self.SKIPPED
        if tag in self.BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self.skipping -= tag in self.SKIPPED and self.skipping > 0
        if tag in self.BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self.skipping:
            self.parts.append(re.sub(r"\s+", " ", data))


def text_of_page(page: str) -> str:
    """The lines of a page that have five words and more: headings and menus say little of how people write."""
    parser = _Page()
    parser.feed(page)
    lines = (" ".join(line.split()) for line in "".join(parser.parts).split("\n"))
    return "\n".join(line for line in lines if line.count(" ") >= 4)


if __name__ == "__main__":
    main([Path(place) for place in sys.argv[1:]])
