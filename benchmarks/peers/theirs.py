"""datatrove's filters on documents in Parquet. Runs in datatrove's own environment and knows nothing of curate.

Usage: python theirs.py verdicts DOCUMENTS OUT SET...   write each filter's verdict on each document, and what it counts
       python theirs.py pipeline DOCUMENTS SET...       read the file, filter, and print how many documents are kept
       python theirs.py filter DOCUMENTS SET...         print the CPU seconds of the filters alone

A filter runs with datatrove's defaults. Its default language, English, makes datatrove choose spaCy's tokenizer by
rules (`spacy.blank("en")` with the sentencizer): no model and no data to download.
"""

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.filters.base_filter import BaseFilter, get_filter_result
from datatrove.pipeline.readers import ParquetReader
from datatrove.utils.text import PUNCTUATION_SET, split_into_words

FILTERS = {
    "gopher": GopherQualityFilter,
    "gopher_repetition": GopherRepetitionFilter,
    "c4": C4QualityFilter,
    "fineweb": FineWebQualityFilter,
}
WARM = "One sentence makes spaCy build its tokenizer. A second one shows that there are two."


def main(mode: str, documents: str, *rest: str) -> None:
    """Do what the usage says."""
    if mode == "verdicts":
        out, *names = rest
        pq.write_table(verdicts(texts_of(documents), names), out)
        return
    filters = [FILTERS[name]() for name in rest]
    if mode == "pipeline":
        pipeline: Iterable[Document] = ParquetReader(
            str(Path(documents).parent), glob_pattern=Path(documents).name
        ).run()
        for step in filters:
            pipeline = step.run(pipeline)
        print(json.dumps(sum(1 for _ in pipeline)))
    elif mode == "filter":
        passes(WARM, filters)
        texts = texts_of(documents)
        started = time.process_time()
        for text in texts:
            passes(text, filters)
        print(json.dumps(time.process_time() - started))


def texts_of(path: str) -> list[str]:
    """The column `text`."""
    return pq.read_table(path, columns=["text"])["text"].to_pylist()


def passes(text: str, filters: list[BaseFilter]) -> bool:
    """Whether all filters keep a text; each sees what those before it kept, as in a pipeline."""
    document = Document(text=text, id="")
    return all(get_filter_result(step.filter(document))[0] for step in filters)


def verdicts(texts: list[str], names: list[str]) -> pa.Table:
    """By document: each filter's reason (null where it keeps), and what GopherQualityFilter counts of words."""
    columns = {}
    for name in names:
        step = FILTERS[name]()
        columns[name] = [reason_of(step, text) for text in texts]
    words = [split_into_words(text) for text in texts]
    spoken = [[word for word in found if any(c not in PUNCTUATION_SET for c in word)] for found in words]
    columns["tokens"] = [len(found) for found in words]
    columns["n_words"] = [len(found) for found in spoken]
    columns["mean_word_length"] = [sum(map(len, found)) / max(1, len(found)) for found in spoken]
    columns["alpha_word_ratio"] = [
        sum(any(c.isalpha() for c in word) for word in found) / max(1, len(found)) for found in words
    ]
    return pa.table(columns)


def reason_of(step: BaseFilter, text: str) -> str | None:
    """Why a filter drops a text."""
    keeps, reason = get_filter_result(step.filter(Document(text=text, id="")))
    return None if keeps else reason


if __name__ == "__main__":
    main(*sys.argv[1:])
