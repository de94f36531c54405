"""datatrove's filters and duplicates. Runs in datatrove's own environment and knows nothing of curate.

Usage: python theirs_datatrove.py verdicts DOCUMENTS OUT SET...   write each filter's verdict, and what it counts
       python theirs_datatrove.py pipeline DOCUMENTS SET...       read the file, filter, print how many are kept
       python theirs_datatrove.py filter DOCUMENTS SET...         print the CPU seconds of the filters alone
       python theirs_datatrove.py JOB CORPUS OUT                  write the rows that datatrove drops, as JSON

DOCUMENTS is a Parquet file; CORPUS has documents.parquet, whose ids are rows. JOB is `near` (MinHash with its
defaults, 14 buckets of 8, 5-grams), `exact` (by texts), `gopher` (GopherQualityFilter) or `filters` (all four
filters, each seeing what those before it kept).

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
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.exact_dedup import (
    ExactDedupConfig,
    ExactDedupFilter,
    ExactDedupSignature,
    ExactFindDedups,
)
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
    if mode in JOBS:
        reader = ParquetReader(documents, glob_pattern="documents.parquet")
        kept = {int(document.id) for document in JOBS[mode](reader)}
        number = json.loads((Path(documents) / "number.json").read_text())
        Path(rest[0]).write_text(json.dumps(sorted(set(range(number)) - kept)))
        return
    if mode == "verdicts":
        out, *names = rest
        pq.write_table(verdicts(texts_of(documents), names), out)
        return
    if mode == "pipeline":
        reader = ParquetReader(str(Path(documents).parent), glob_pattern=Path(documents).name)
        print(json.dumps(sum(1 for _ in filtered(reader, *rest))))
    elif mode == "filter":
        filters = [FILTERS[name]() for name in rest]
        passes(WARM, filters)
        texts = texts_of(documents)
        started = time.process_time()
        for text in texts:
            passes(text, filters)
        print(json.dumps(time.process_time() - started))


def near(reader: ParquetReader) -> Iterable[Document]:
    """What is left by MinHash, in four steps that each leave files for the next."""
    config = MinhashConfig()
    steps = [
        (1, [reader, MinhashDedupSignature("signatures", config)]),
        (config.num_buckets, [MinhashDedupBuckets("signatures", "buckets", config=config)]),
        (1, [MinhashDedupCluster("buckets", "remove", config=config)]),
    ]
    for k, (tasks, pipeline) in enumerate(steps):
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=f"logs/{k}").run()
    return MinhashDedupFilter("remove").run(reader.run())


def exact(reader: ParquetReader) -> Iterable[Document]:
    """What is left by hashes of whole texts."""
    config = ExactDedupConfig(content_getter=lambda document: document.text)
    for k, step in enumerate(
        (ExactDedupSignature("signatures", config), ExactFindDedups("signatures", "remove", config))
    ):
        LocalPipelineExecutor([*([] if k else [reader]), step], tasks=1, logging_dir=f"logs/{k}").run()
    return ExactDedupFilter("remove", config).run(reader.run())


def filtered(reader: ParquetReader, *names: str) -> Iterable[Document]:
    """What filters keep."""
    pipeline: Iterable[Document] = reader.run()
    for name in names:
        pipeline = FILTERS[name]().run(pipeline)
    return pipeline


JOBS = {
    "near": near,
    "exact": exact,
    "gopher": lambda reader: filtered(reader, "gopher"),
    "filters": lambda reader: filtered(reader, *FILTERS),
}


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
