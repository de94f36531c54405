"""What the output consists of: documents and tokens by the values of its columns, and by licence; who is dropped."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import RecipeError, did_you_mean
from curate.ledger.parts import Part
from curate.manifests.schema.model import LicenseEntry, Share, WhoEntry, WhoRate
from curate.recipe.input import Input
from curate.who.rates import ALL, LEAST_DIFFERENCE, LEVEL, Who

SOURCE, LICENSE = "source", "license"
UNKNOWN, VARIOUS = "unknown", "various"
MOST = 10_000  # distinct values; a column with more, such as an address, is no mixture

PLAIN_KINDS = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_integer,
    pa.types.is_boolean,
    pa.types.is_date,
)

Amounts = dict[tuple[str | None, ...], tuple[int, int]]  # documents and tokens by values


def check_license(section: Input, inputs: pa.Schema) -> None:
    """Refuse `input.license` where the column that it needs is missing or contains no text.

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


def mixture(run: Path, shards: Sequence[Part], columns: Sequence[str], tokens: str) -> dict[str, list[Share]]:
    """For each column, documents and tokens by value, most tokens first; columns with too many values are left out."""
    shares = {}
    for column in columns:
        amounts = _amounts(run, shards, [column], tokens)
        if amounts is not None:
            shares[f"input.{column}"] = [
                Share(value=value, documents=documents, tokens=size)
                for (value,), (documents, size) in _by_tokens(amounts)
            ]
    return shares


def licenses(run: Path, shards: Sequence[Part], section: Input, inputs: pa.Schema, tokens: str) -> list[LicenseEntry]:
    """Documents and tokens by source and licence: as the recipe or the column says, `unknown` where neither does.

    With too many sources, by licence alone; with too many licences, one row `various`.
    """
    column = SOURCE if isinstance(section.license, dict) else section.license or LICENSE
    present = _plain_columns([SOURCE, column], inputs)
    for names in (present, [name for name in present if name == column]):
        if (amounts := _amounts(run, shards, names, tokens)) is not None:
            break
    else:
        documents, size = sum(part.rows for part in shards), sum(part.tokens for part in shards)
        return [LicenseEntry(source=None, license=VARIOUS, documents=documents, tokens=size)]
    totals: Amounts = {}
    for values, (documents, size) in amounts.items():
        row = dict(zip(names, values, strict=True))
        license = row.get(column)
        if isinstance(section.license, dict):
            license = section.license.get(license or "")
        key = (row.get(SOURCE), (license or "").strip() or UNKNOWN)
        total = totals.get(key, (0, 0))
        totals[key] = (total[0] + documents, total[1] + size)
    return [
        LicenseEntry(source=source, license=license or UNKNOWN, documents=documents, tokens=size)
        for (source, license), (documents, size) in _by_tokens(totals)
    ]


def who_entry(groups: Who) -> WhoEntry:
    """Who is dropped: each group at all stages together, and single stages that are marked."""
    rates = [rate for of_dimension in groups.dimensions for rate in of_dimension.rates]
    shown = [rate for rate in rates if rate.stage == ALL or rate.mark or rate.within_mark]
    return WhoEntry(
        level=LEVEL,
        least_difference=LEAST_DIFFERENCE,
        least_documents=groups.least,
        correction="holm",
        comparisons=groups.comparisons,
        within={rates.name: list(rates.within) for rates in groups.dimensions},
        rates=[WhoRate.model_validate(rate.to_json()) for rate in shown],
    )


def _amounts(run: Path, shards: Sequence[Part], columns: Sequence[str], tokens: str) -> Amounts | None:
    """Documents and tokens by the values of columns; None for more than MOST values.

    Values are compared as bytes, so text that is not UTF-8 is no error.
    """
    amounts: dict[tuple[bytes | None, ...], tuple[int, int]] = {}
    keys = [f"key_{k}" for k in range(len(columns))]
    for part in shards:
        with pq.ParquetFile(run / part.path) as file:
            for batch in file.iter_batches(columns=[*columns, tokens]):
                values = [_as_bytes(batch.column(name)) for name in columns]
                table = pa.Table.from_arrays([*values, batch.column(tokens)], names=[*keys, "tokens"])
                sums = table.group_by(keys, use_threads=False).aggregate([("tokens", "count"), ("tokens", "sum")])
                for row in sums.to_pylist():
                    key = tuple(row[name] for name in keys)
                    documents, size = amounts.get(key, (0, 0))
                    amounts[key] = (documents + row["tokens_count"], size + (row["tokens_sum"] or 0))
                if len(amounts) > MOST:
                    return None
    return {
        tuple(None if value is None else value.decode("utf-8", "replace") for value in key): amount
        for key, amount in amounts.items()
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
    """Whether values of a type can name a group: texts, integers, truth values, dates."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(is_kind(kind) for is_kind in PLAIN_KINDS)


def _by_tokens(amounts: Amounts) -> list[tuple[tuple[str | None, ...], tuple[int, int]]]:
    """Most tokens first, then by values, with null last."""
    return sorted(amounts.items(), key=lambda item: (-item[1][1], [(value is None, value or "") for value in item[0]]))
