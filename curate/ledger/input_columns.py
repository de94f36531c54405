"""The input's own columns as SQL, read from the files of the input where they lie."""

from collections.abc import Collection, Sequence

from curate.corpus.cast_sql import cast_sql
from curate.ledger.ledger import KnownFile, is_spooled
from curate.ledger.names import INPUT
from curate.sql import literal, quoted, read_parquet, read_run_parquet


def source_sql(names: Sequence[str], known: Sequence[KnownFile], present: Collection[str]) -> str:
    """Rows (file, row, `input.x` …) of files whose columns become the corpus's in the same way.

    Of `names` those are read that are `present`: columns as the corpus names them, which some of the files have.
    """
    own = {new: (old,) for old, new in known[0].renamed} | {
        new: tuple(path.split(".")) for path, new in known[0].lifted
    }
    given, casts = dict(known[0].added), dict(known[0].cast)
    location = "location"
    while location in (name.lower() for name in (*names, *present)):
        location += "_"
    values = {
        name: literal(given[name])
        if name in given
        else cast_sql(casts.get(name), ".".join(("read", *map(quoted, own.get(name, (name,))))))
        for name in present
    }
    fields = ", ".join(f"{values[name]} AS {quoted(f'{INPUT}.{name}')}" for name in names if name in present)
    options = f", filename = {literal(location)}, file_row_number = true, union_by_name = true"
    read = read_run_parquet if is_spooled(known[0]) else read_parquet
    # DuckDB tells an absolute path or, of an attached run.duckdb, a relative one of what lies in the run directory.
    same = "parse_filename({0}) = parse_filename({1})" if is_spooled(known[0]) else "{0} = {1}"
    return f"""
            SELECT inputs.file, read.file_row_number AS row, {fields}
            FROM {read((file.location for file in known), options)} read
            JOIN inputs ON {same.format(f"read.{location}", "inputs.location")}"""
