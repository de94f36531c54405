"""What the output consists of: documents and tokens by the values of its columns, and by licence."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import RecipeError, did_you_mean
from curate.ledger.parts import Part
from curate.recipe.input import Input

SOURCE, LICENSE = "source", "license"
UNKNOWN, VARIOUS = "unknown", "various"
MOST = 10_000  # different values; a column with more, such as an address, is no mixture

Amounts = dict[tuple[str | None, ...], tuple[int, int]]  # documents and tokens by values


def check_license(section: Input, inputs: pa.Schema) -> None:
    """Refuse `input.license` where the column that it needs is missing, or holds no text.

    Errors: RecipeError.
    """
    if section.license is None:
        return
    name = SOURCE if isinstance(section.license, dict) else section.license
    if name not in inputs.names:
        why = ", by whose values it goes" if isinstance(section.license, dict) else ""
        raise RecipeError(f"input.license: the input has no column {name!r}{why}{did_you_mean(name, inputs.names)}")
    if not _is_plain(inputs.field(name).type):
        raise RecipeError(f"input.license: column {name!r} holds {inputs.field(name).type}; a column of text is needed")


def columns_of_mixture(section: Input, inputs: pa.Schema) -> list[str]:
    """The input columns that are counted: `source`, and those of `input.strata`."""
    return _plain_columns([SOURCE, *(stratum.removesuffix("?") for stratum in section.strata)], inputs)


def mixture(run: Path, shards: Sequence[Part], columns: Sequence[str], tokens: str) -> dict[str, list[dict[str, Any]]]:
    """For each column, documents and tokens by value, most tokens first; without columns of too many values."""
    found = {}
    for column in columns:
        amounts = _amounts(run, shards, [column], tokens)
        if amounts is not None:
            found[f"input.{column}"] = [
                {"value": value, "documents": documents, "tokens": size}
                for (value,), (documents, size) in _by_tokens(amounts)
            ]
    return found


def licenses(run: Path, shards: Sequence[Part], section: Input, inputs: pa.Schema, tokens: str) -> list[dict[str, Any]]:
    """Documents and tokens by source and licence: as the recipe or the column says, `unknown` where neither does.

    Where there are too many sources, by licence alone; where these are too many, all together are `various`.
    """
    column = SOURCE if isinstance(section.license, dict) else section.license or LICENSE
    there = _plain_columns([SOURCE, column], inputs)
    for names in (there, [name for name in there if name == column]):
        if (amounts := _amounts(run, shards, names, tokens)) is not None:
            break
    else:
        total = (sum(part.rows for part in shards), sum(part.tokens for part in shards))
        return [{"source": None, "license": VARIOUS, "documents": total[0], "tokens": total[1]}]
    summed: Amounts = {}
    for values, (documents, size) in amounts.items():
        row = dict(zip(names, values, strict=True))
        said = row.get(column)
        if isinstance(section.license, dict):
            said = section.license.get(said or "")
        key = (row.get(SOURCE), (said or "").strip() or UNKNOWN)
        before = summed.get(key, (0, 0))
        summed[key] = (before[0] + documents, before[1] + size)
    return [
        {"source": source, "license": license, "documents": documents, "tokens": size}
        for (source, license), (documents, size) in _by_tokens(summed)
    ]


def _amounts(run: Path, shards: Sequence[Part], columns: Sequence[str], tokens: str) -> Amounts | None:
    """Documents and tokens by the values of columns; None where there are more than MOST.

    Values are compared as bytes: text that is not UTF-8 is no error.
    """
    found: dict[tuple[bytes | None, ...], tuple[int, int]] = {}
    keys = [f"key_{k}" for k in range(len(columns))]
    for part in shards:
        with pq.ParquetFile(run / part.path) as file:
            for batch in file.iter_batches(columns=[*columns, tokens]):
                values = [_as_bytes(batch.column(name)) for name in columns]
                table = pa.Table.from_arrays([*values, batch.column(tokens)], names=[*keys, "tokens"])
                sums = table.group_by(keys, use_threads=False).aggregate([("tokens", "count"), ("tokens", "sum")])
                for row in sums.to_pylist():
                    key = tuple(row[name] for name in keys)
                    documents, size = found.get(key, (0, 0))
                    found[key] = (documents + row["tokens_count"], size + (row["tokens_sum"] or 0))
                if len(found) > MOST:
                    return None
    return {
        tuple(None if value is None else value.decode("utf-8", "replace") for value in key): amount
        for key, amount in found.items()
    }


def _as_bytes(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        column = column.cast(pa.string())
    return column.cast(pa.large_binary())


def _plain_columns(names: Sequence[str], inputs: pa.Schema) -> list[str]:
    return [name for name in dict.fromkeys(names) if name in inputs.names and _is_plain(inputs.field(name).type)]


def _is_plain(kind: pa.DataType) -> bool:
    """Whether values of a type are short texts, or numbers that may be names."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind)
        or pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_date(kind)
    )  # fmt: skip


def _by_tokens(amounts: Amounts) -> list[tuple[tuple[str | None, ...], tuple[int, int]]]:
    """Most tokens first, then by values, with null last."""
    return sorted(amounts.items(), key=lambda one: (-one[1][1], [(value is None, value or "") for value in one[0]]))
