"""Pack language models to ship them: the n-grams of a KenLM model in a few bytes each.

A packed model is a Parquet file with a row per n-gram, order by order, sorted by words from the last to the first:

    order     number of words
    parent    row in the order below of the n-gram without its first word, minus the previous row's parent
    word      id of the first word
    log_p     index in the order's code book of log10 probabilities
    backoff   index in that of log10 backoffs; 0 for the highest order
    text      the word, for order 1

The code books (of 255 values for orders above 1) are in the file's metadata. On first use, a packed model is converted
to a KenLM binary in the folder of compiled kernels, which all processes share.
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
CODE_BOOK_SIZES = {1: 1 << 12}  # by order
HIGHER_ORDER_CODES = 255  # size of all other code books
GROUP_ROWS = 1 << 24  # a single row group, as models are small


def pack(arpa: Path, target: Path) -> None:
    """Convert an ARPA model to a packed one."""
    words, orders = _read_arpa(arpa)
    books: dict[str, list[float]] = {}
    tables = []
    shorter: Numbers = np.zeros((1, 0), dtype=np.int64)
    for order, (grams, log_p, backoff) in enumerate(orders, 1):
        columns = grams[:, ::-1]  # from the last word to the first
        order_of_rows = np.lexsort(columns.T[::-1])
        columns = columns[order_of_rows]
        parent = _rows_of(columns[:, :-1], shorter)
        logs_by_name = {"log_p": log_p[order_of_rows], "backoff": backoff[order_of_rows]}
        codes = {}
        for name, values in logs_by_name.items():
            book, indices = _quantize(values, CODE_BOOK_SIZES.get(order, HIGHER_ORDER_CODES))
            codes[name] = indices.astype(np.uint16)
            books[f"{name}_{order}"] = book.tolist()
        rows = {
            "order": np.full(len(columns), order, np.uint8),
            "parent": np.diff(parent, prepend=0).astype(np.int32),
            "word": columns[:, -1].astype(np.int32),
            **codes,
            "text": pa.array(words if order == 1 else [None] * len(columns), pa.string()),
        }
        tables.append(pa.table(rows))
        shorter = columns
    table = pa.concat_tables(tables).replace_schema_metadata({"books": json.dumps(books)})
    with committed(target) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            compression_level=19,
            row_group_size=GROUP_ROWS,
            use_dictionary=["order", "log_p", "backoff"],
            write_statistics=False,
            column_encoding={"parent": "DELTA_BINARY_PACKED", "word": "BYTE_STREAM_SPLIT"},
        )


def _read_arpa(path: Path) -> tuple[list[str], list[tuple[Numbers, Reals, Reals]]]:
    """The words in the order of their ids; for each order word ids, log p and log backoff of all n-grams."""
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


def _rows_of(grams: Numbers, table: Numbers) -> Numbers:
    """The row of each n-gram in a sorted table that contains all of them."""
    if grams.shape[1] == 0:
        return np.zeros(len(grams), dtype=np.int64)
    combined = np.concatenate([table, grams])
    order = np.lexsort(combined.T[::-1])
    is_new = np.ones(len(combined), dtype=np.int64)
    is_new[1:] = np.any(combined[order[1:]] != combined[order[:-1]], axis=1)
    row = np.empty(len(combined), dtype=np.int64)
    row[order] = np.cumsum(is_new) - 1
    return row[len(table) :]


def _quantize(values: Reals, size: int) -> tuple[Reals, Numbers]:
    """Quantize values: a code book of at most `size` values (means of equally large bins), and each value's index."""
    distinct, indices = np.unique(values, return_inverse=True)
    if len(distinct) <= size:
        return distinct, indices.astype(np.int64)
    order = np.argsort(values, kind="stable")
    bins = np.arange(len(values)) * size // len(values)
    means = np.bincount(bins, values[order]) / np.bincount(bins)
    codes = np.empty(len(values), dtype=np.int64)
    codes[order] = bins
    return np.round(means, 5), codes


def unpack(packed: Path) -> tuple[list[str], list[Grams]]:
    """Read the words and n-grams of a packed model, with one batch per order."""
    file = pq.ParquetFile(packed)
    books = json.loads(file.schema_arrow.metadata[b"books"])
    table = file.read()
    orders = table["order"].to_numpy()
    words = table["text"].slice(*_range(orders, 1)).to_pylist()
    highest = int(orders.max())
    grams: list[Grams] = []
    columns: list[npt.NDArray[np.int32]] = []
    for order in range(1, highest + 1):
        rows = table.slice(*_range(orders, order))
        parent = np.cumsum(rows["parent"].to_numpy().astype(np.int64))
        columns = [*(column[parent] for column in columns), rows["word"].to_numpy()]
        log_p, backoff = (np.array(books[f"{name}_{order}"])[rows[name].to_numpy()] for name in ("log_p", "backoff"))
        grams.append(Grams(order, columns, log_p, backoff if order < highest else None))
    return words, grams


def _range(orders: npt.NDArray[np.uint8], order: int) -> tuple[int, int]:
    start, stop = np.searchsorted(orders, (order, order + 1))
    return int(start), int(stop - start)


def cached_binary(packed: Path) -> Path:
    """The KenLM binary of a packed model, written once to the folder of compiled kernels.

    Like every binary model that curate trains, it has a JSON file with its form next to it.
    """
    digest = xxh3_128_hexdigest(packed.read_bytes())
    target = Path(kernel_folder()) / f"{packed.stem}-{digest[:16]}.binary"
    facts_path = target.with_name(f"{target.name}.json")
    try:
        is_complete = json.loads(facts_path.read_text("utf-8"))["bytes"] == target.stat().st_size
    except (OSError, ValueError, KeyError, TypeError):
        is_complete = False
    if not is_complete:
        words, grams = unpack(packed)
        letters = pa.array(words, pa.large_string())
        with committed(target) as temporary:
            write_binary(temporary, text_views(letters), [len(batch.log_p) for batch in grams], grams)
        write_json(facts_path, {"form": FORM, "bytes": target.stat().st_size})
    return target
