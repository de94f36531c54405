"""Rows of a Hugging Face dataset as Arrow tables."""

from collections.abc import Iterator, Mapping

import pyarrow as pa

from curate.errors import InputError
from curate.storage.places import one_line

DATASET_ROWS = 1000
UNKNOWN_ROWS = 100_000  # assumed by a forecast where a dataset does not state its size


def dataset_tables(name: str, arguments: Mapping[str, str]) -> Iterator[tuple[pa.Table, float]]:
    """The rows of a Hugging Face dataset, streamed, with the share read by then of its stated size.

    Errors: InputError with the message of `datasets`.
    """
    from datasets import IterableDataset, load_dataset
    from datasets.exceptions import DatasetsError

    try:
        rows = load_dataset(**arguments, streaming=True)
        assert isinstance(rows, IterableDataset)
        splits = rows.info.splits or {}
        total = getattr(splits.get(arguments["split"]), "num_examples", None) or UNKNOWN_ROWS
        read = 0
        for batch in rows.with_format("arrow").iter(DATASET_ROWS):
            read += len(batch)
            yield batch.replace_schema_metadata(None), read / total
    except (OSError, ValueError, DatasetsError, ImportError, RuntimeError) as error:
        raise InputError(f"{name}: `datasets` cannot load it: {one_line(error)}") from None
