"""The input's own columns as SQL, read from the input files in place."""

from collections.abc import Collection, Sequence

from curate.corpus.cast_sql import cast_sql
from curate.ledger.ledger import KnownFile, is_spooled
from curate.ledger.names import INPUT
from curate.sql import literal, quoted, read_parquet, read_run_parquet


def source_sql(names: Sequence[str], files: Sequence[KnownFile], present: Collection[str]) -> str:
    """Rows (file, row, `input.x` …) of files whose columns map to the corpus's columns in the same way.

    Only those of `names` are read that are `present`: the corpus's columns that at least one of the files has.
    """
    mapping = files[0]
    paths = {new: (old,) for old, new in mapping.renamed} | {
        new: tuple(path.split(".")) for path, new in mapping.lifted
    }
    constants, casts = dict(mapping.added), dict(mapping.cast)
    location = "location"
    while location in (name.lower() for name in (*names, *present)):
        location += "_"
    values = {
        name: literal(constants[name])
        if name in constants
        else cast_sql(casts.get(name), ".".join(("read", *map(quoted, paths.get(name, (name,))))))
        for name in present
    }
    fields = ", ".join(f"{values[name]} AS {quoted(f'{INPUT}.{name}')}" for name in names if name in present)
    options = f", filename = {literal(location)}, file_row_number = true, union_by_name = true"
    spooled = is_spooled(mapping)
    read = read_run_parquet if spooled else read_parquet
    # For files in the run directory, DuckDB reports an absolute path or, in an attached run.duckdb, a relative one.
    same_file = "parse_filename({0}) = parse_filename({1})" if spooled else "{0} = {1}"
    return f"""
            SELECT inputs.file, read.file_row_number AS row, {fields}
            FROM {read((file.location for file in files), options)} read
            JOIN inputs ON {same_file.format(f"read.{location}", "inputs.location")}"""
