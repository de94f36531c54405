"""Language models small enough to ship: the n-grams of a KenLM model in a few bytes each, and the binary made of them.

A packed model is a Parquet file with a row an n-gram, order by order, sorted by their words from the last to the first:

    order     words of the n-gram
    parent    rows of the order below between the n-gram without its first word, and the same of the row before
    word      number of its first word
    log_p     place in the code book of the order, of log10 probability
    backoff   place in that of log10 backoff; 0 for the highest order
    text      the word that is the n-gram, for order 1

The code books (of 255 values for orders above 1) stand in the file's metadata. On first use a packed model
becomes a binary one of KenLM in the folder of compiled kernels, which all processes share.
"""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_128_hexdigest

import curate.models
from curate.filters.language.kenlm_binary import write_binary
from curate.filters.language.kneser_ney import Grams
from curate.kernels.arrow import text_views
from curate.kernels.jit import kernel_folder
from curate.kernels.lm_words import FORM
from curate.storage.files import committed, write_json

Numbers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
PACKAGED = Path(curate.models.__path__[0]) / "english.parquet"
CODES = {1: 1 << 12}  # values of a code book by order
USUAL_CODES = 255
GROUP_ROWS = 1 << 24  # one row group an order, as models are small


def pack(arpa: Path, target: Path) -> None:
    """Write an ARPA model as a packed one."""
    words, orders = _read_arpa(arpa)
    books: dict[str, list[float]] = {}
    tables = []
    shorter: Numbers = np.zeros((1, 0), dtype=np.int64)
    for order, (grams, log_p, backoff) in enumerate(orders, 1):
        columns = grams[:, ::-1]  # the last word first
        place = np.lexsort(columns.T[::-1])
        columns = columns[place]
        parent = _rows_of(columns[:, :-1], shorter)
        coded = {"log_p": log_p[place], "backoff": backoff[place]}
        codes = {}
        for name, values in coded.items():
            book, codes[name] = _coded(values, CODES.get(order, USUAL_CODES))
            books[f"{name}_{order}"] = book.tolist()
        tables.append(
            pa.table({
                "order": np.full(len(columns), order, np.uint8),
                "parent": np.diff(parent, prepend=0).astype(np.int32),
                "word": columns[:, -1].astype(np.int32),
                **{name: code.astype(np.uint16) for name, code in codes.items()},
                "text": pa.array(words if order == 1 else [None] * len(columns), pa.string()),
            })
        )  # fmt: skip
        shorter = columns
    table = pa.concat_tables(tables).replace_schema_metadata({"books": json.dumps(books)})
    with committed(target) as aside:
        pq.write_table(table, aside, compression="zstd", compression_level=19, row_group_size=GROUP_ROWS,
                       use_dictionary=["order", "log_p", "backoff"], write_statistics=False,
                       column_encoding={"parent": "DELTA_BINARY_PACKED", "word": "BYTE_STREAM_SPLIT"})  # fmt: skip


def _read_arpa(path: Path) -> tuple[list[str], list[tuple[Numbers, Reals, Reals]]]:
    """The words in the order of their numbers, and for each order words, log p and log backoff of all n-grams."""
    numbers: dict[str, int] = {}
    orders: list[tuple[Numbers, Reals, Reals]] = []
    rows: list[tuple[list[int], float, float]] = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.startswith("\\") and rows:
                grams, log_p, backoff = zip(*rows, strict=True)
                orders.append((np.array(grams), np.array(log_p), np.array(backoff)))
                rows = []
            parts = line.rstrip("\n").split("\t")
            if len(parts) > 1:
                names = parts[1].split(" ")
                if len(names) == 1:
                    numbers[names[0]] = len(numbers)
                backoff_of = float(parts[2]) if len(parts) > 2 else 0.0
                rows.append(([numbers[name] for name in names], float(parts[0]), backoff_of))
    return list(numbers), orders


def _rows_of(grams: Numbers, among: Numbers) -> Numbers:
    """The row of each n-gram in a sorted table of n-grams that holds them all."""
    if grams.shape[1] == 0:
        return np.zeros(len(grams), dtype=np.int64)
    both = np.concatenate([among, grams])
    place = np.lexsort(both.T[::-1])
    fresh = np.ones(len(both), dtype=np.int64)
    fresh[1:] = np.any(both[place[1:]] != both[place[:-1]], axis=1)
    row = np.empty(len(both), dtype=np.int64)
    row[place] = np.cumsum(fresh) - 1
    return row[len(among) :]


def _coded(values: Reals, count: int) -> tuple[Reals, Numbers]:
    """A code book of at most `count` values, means of equally many of the given ones, and the place of each in it."""
    distinct, places = np.unique(values, return_inverse=True)
    if len(distinct) <= count:
        return distinct, places.astype(np.int64)
    order = np.argsort(values, kind="stable")
    bins = np.arange(len(values)) * count // len(values)
    means = np.bincount(bins, values[order]) / np.bincount(bins)
    codes = np.empty(len(values), dtype=np.int64)
    codes[order] = bins
    return np.round(means, 5), codes


def unpack(packed: Path) -> tuple[list[str], list[Grams]]:
    """The words and n-grams of a packed model, those of each order at once."""
    file = pq.ParquetFile(packed)
    books = json.loads(file.schema_arrow.metadata[b"books"])
    table = file.read()
    orders = table["order"].to_numpy()
    words = table["text"].slice(*_range(orders, 1)).to_pylist()
    highest = int(orders.max())
    found: list[Grams] = []
    columns: list[npt.NDArray[np.int32]] = []
    for order in range(1, highest + 1):
        some = table.slice(*_range(orders, order))
        parent = np.cumsum(some["parent"].to_numpy().astype(np.int64))
        columns = [*(column[parent] for column in columns), some["word"].to_numpy()]
        log_p, backoff = (np.array(books[f"{name}_{order}"])[some[name].to_numpy()] for name in ("log_p", "backoff"))
        found.append(Grams(order, columns, log_p, backoff if order < highest else None))
    return words, found


def _range(orders: npt.NDArray[np.uint8], order: int) -> tuple[int, int]:
    start, stop = np.searchsorted(orders, (order, order + 1))
    return int(start), int(stop - start)


def unpacked(packed: Path) -> Path:
    """The binary model made of a packed one, in the folder of compiled kernels; made once.

    Beside it stands its form, as beside every binary model that is trained here.
    """
    digest = xxh3_128_hexdigest(packed.read_bytes())
    target = Path(kernel_folder()) / f"{packed.stem}-{digest[:16]}.binary"
    beside = target.with_name(f"{target.name}.json")
    try:
        whole = json.loads(beside.read_text("utf-8"))["bytes"] == target.stat().st_size
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        words, grams = unpack(packed)
        letters = pa.array(words, pa.large_string())
        with committed(target) as aside:
            write_binary(aside, text_views(letters), [len(some.log_p) for some in grams], grams)
        write_json(beside, {"form": FORM, "bytes": target.stat().st_size})
    return target
