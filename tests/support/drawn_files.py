"""Parquet files as tools of all kinds leave them: drawn by Hypothesis, with the documents that they hold."""

import os
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from support.corpora import PROSE

WORDS = pa.dictionary(pa.int32(), pa.string())
TEXT_TYPES = [pa.string(), pa.large_string(), pa.string_view(), WORDS, pa.null(), pa.binary(), pa.large_binary()]
NESTED = "doc.text"
NESTED_TYPE = pa.struct([("text", pa.string()), ("k", pa.int64())])
TEXTS = st.sampled_from([PROSE, PROSE + " 2", "é 你好", " "])
# Types that one column may have in different files: they are unified, and every value is what it was.
FAMILIES = {
    "n": [pa.int8(), pa.int32(), pa.int64(), pa.null(), pa.dictionary(pa.int8(), pa.int64()), pa.uint8()],
    "s": [pa.string(), pa.large_string(), pa.string_view(), WORDS, pa.null()],
    "b": [pa.binary(), pa.large_binary(), pa.binary_view(), pa.null()],
    "f": [pa.float32(), pa.float64(), pa.null()],
    "t": [pa.bool_(), pa.null()],
    "l": [pa.list_(pa.string()), pa.large_list(pa.string()), pa.list_(WORDS), pa.null()],
    "o": [pa.struct([("a", pa.int64()), ("b", pa.list_(pa.string()))]), pa.struct([("a", pa.int32())]), pa.null()],
    "m": [pa.map_(pa.string(), pa.int32()), pa.null()],
    "w": [pa.timestamp("ms"), pa.timestamp("us"), pa.null()],
}  # fmt: skip
VALUES = {
    "n": st.integers(0, 100), "s": st.text(max_size=5), "b": st.binary(max_size=5), "f": st.just(0.5) | st.just(-2.0),
    "t": st.booleans(), "l": st.lists(st.sampled_from(["x", "", "yy"]), max_size=3),
    "o": st.builds(lambda a: {"a": a}, st.integers(0, 9) | st.none()),
    "m": st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), max_size=1),
    "w": st.datetimes(min_value=datetime(2000, 1, 1)).map(lambda at: at.replace(microsecond=0)),
}  # fmt: skip
# Hive would read columns out of some of them; none of them is one.
FOLDERS = ["", "lang=en", "date=2024-01-01/x=%20", "a b", "é", "[x]", "n=7", "x.parquet", "'", "k=__HIVE_NULL__"]


@dataclass(frozen=True)
class DrawnFile:
    """A file: where it lies, its row groups, and what it calls its text."""

    folder: str
    linked: bool  # reached through a symbolic link
    text: str
    groups: tuple[pa.Table, ...]

    @property
    def texts(self):
        """The texts of its documents."""
        texts = [text for group in self.groups for text in group[self.text.split(".")[0]].to_pylist()]
        if self.text == NESTED:
            texts = [one and one["text"] for one in texts]
        return [text.decode() if isinstance(text, bytes) else text for text in texts]

    def values(self, column):
        """The values of a column, null where the file has none of that name."""
        present = [g[column].to_pylist() if column in g.column_names else [None] * len(g) for g in self.groups]
        return [value for group in present for value in group]


@st.composite
def drawn_files(draw):
    """A file with row groups that may be empty, columns of any type, and nulls in all of them."""
    name_of_text = draw(st.sampled_from(["text", "text", "body", NESTED]))
    text = name_of_text.split(".")[0]
    types = {text: NESTED_TYPE if name_of_text == NESTED else draw(st.sampled_from(TEXT_TYPES))}
    for name in draw(st.lists(st.sampled_from(sorted(FAMILIES)), unique=True, max_size=3)):
        types[name] = draw(st.sampled_from(FAMILIES[name]))
    groups = []
    for rows in draw(st.lists(st.sampled_from([0, 0, 1, 2, 5]), max_size=5)):
        columns = {}
        for name, kind in types.items():
            value = TEXTS if name == text else VALUES[name]
            value = st.builds(lambda one: {"text": one, "k": 1}, st.none() | TEXTS) if kind == NESTED_TYPE else value
            values = draw(st.lists(st.none() | value, min_size=rows, max_size=rows))
            columns[name] = _array([None] * rows if kind == pa.null() else values, kind)
        groups.append(pa.table(columns))
    if not groups:
        groups.append(pa.table({name: pa.nulls(0, kind) for name, kind in types.items()}))
    return DrawnFile(draw(st.sampled_from(FOLDERS)), draw(st.booleans()), name_of_text, tuple(groups))


def _array(values, kind):
    """Values as an array of a type, also of those that pyarrow makes by a cast alone."""
    if kind == pa.list_(WORDS):
        plain = pa.array(values, pa.list_(pa.string()))
        words = plain.values.dictionary_encode().cast(WORDS)
        return pa.ListArray.from_arrays(plain.offsets, words, mask=plain.is_null())
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode().cast(kind)
    return pa.array(values, kind)


def write(files, top):
    """Write drawn files below a folder; the paths by which an input names them."""
    paths = []
    for k, file in enumerate(files):
        folder = top / file.folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{k}.parquet"
        place = top.parent / f"{top.name}-{k}" / "elsewhere.parquet" if file.linked else path
        place.parent.mkdir(exist_ok=True)
        with pq.ParquetWriter(place, file.groups[0].schema) as writer:
            for group in file.groups:
                writer.write_table(group)
        if file.linked:
            os.symlink(place, path)
        paths.append(path)
    return paths
