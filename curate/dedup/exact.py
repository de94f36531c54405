"""Exact duplicates: of the text, or of the text normalised; the best, the first or the longest copy survives."""

from curate.recipe.recipe import Recipe

# Which copy comes first; the place in the input settles every tie.
SURVIVOR_ORDER = {
    "first": "position, row",
    "longest": "n_bytes DESC, position, row",
    "best": "coarse_score DESC, position, row",
}
HASHES = {f"{text}_hash_{half}": "UBIGINT" for text in ("text", "normal") for half in ("high", "low")}


def exact_sql(recipe: Recipe) -> str:
    """Table `exact`: the documents that equal a surviving one, among those that no rule dropped.

    Nothing looks at the hashes of `passing` behind it, and they are half of that table.
    """
    if not recipe.dedup.exact:
        return (
            "CREATE TEMP TABLE exact "
            "(file_no INTEGER, row BIGINT, survivor_file_no INTEGER, survivor_row BIGINT, same_text BOOLEAN)"
        )
    dropped = " ".join(f"ALTER TABLE passing DROP COLUMN {name};" for name in HASHES)
    return f"""
        CREATE TEMP TABLE exact AS
        WITH copied AS (
            SELECT * FROM passing
            JOIN (SELECT normal_hash_high, normal_hash_low FROM passing GROUP BY ALL HAVING count(*) > 1)
                USING (normal_hash_high, normal_hash_low)
        ), ranked AS (
            SELECT file_no, row, row_number() OVER best AS place,
                first_value(file_no) OVER best AS survivor_file_no, first_value(row) OVER best AS survivor_row,
                text_hash_high = first_value(text_hash_high) OVER best
                    AND text_hash_low = first_value(text_hash_low) OVER best AS same_text
            FROM copied
            WINDOW best AS (PARTITION BY normal_hash_high, normal_hash_low ORDER BY {survivor_order(recipe)})
        )
        SELECT file_no, row, survivor_file_no, survivor_row, same_text FROM ranked WHERE place > 1 AND file_no >= 0;
        {dropped}"""


def copies_sql(recipe: Recipe) -> str:
    """Table `copies`: the documents of `exact` and `near`, in order of the surviving ones (file_no, row)."""
    found = """
            SELECT survivor_file_no, survivor_row, file_no, row, same_text, 1::FLOAT AS similarity FROM exact"""
    if recipe.dedup.near:
        found += """
            UNION ALL
            SELECT survivor_file_no, survivor_row, file_no, row, NULL, similarity FROM near"""
    return f"""
        CREATE TEMP TABLE copies AS
        SELECT survivor_file_no AS file_no, survivor_row AS row, file_no AS copy_file_no, row AS copy_row,
            same_text, similarity
        FROM ({found}
        ) ORDER BY survivor_file_no, survivor_row;
        DROP TABLE exact{"; DROP TABLE near" if recipe.dedup.near else ""};
        CREATE TEMP TABLE named_copies
            (file_no INTEGER, row BIGINT, same_text BOOLEAN, similarity FLOAT, of_earlier BOOLEAN, doc_id VARCHAR)"""


def survivor_order(recipe: Recipe) -> str:
    """SQL by which documents are ranked: those that an earlier run kept, and then the best first."""
    return f"position < 0 DESC, {SURVIVOR_ORDER[recipe.dedup.keep]}"
