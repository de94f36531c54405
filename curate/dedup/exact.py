"""Exact duplicates of the text, or of the normalised text; the best, first or longest copy survives."""

from curate.recipe.recipe import Recipe

# The surviving copy is the first in this order; ties go to the earlier one in the input.
SURVIVOR_ORDER = {
    "first": "position, row",
    "longest": "n_bytes DESC, position, row",
    "best": "coarse_score DESC, position, row",
}
HASHES = {f"{text}_hash_{half}": "UBIGINT" for text in ("text", "normal") for half in ("high", "low")}


def exact_sql(recipe: Recipe) -> str:
    """Rows of `exact`: the documents of `passing` that equal a surviving one."""
    return f"""
        INSERT INTO exact
        WITH copied AS (
            SELECT * FROM passing
            JOIN (SELECT normal_hash_high, normal_hash_low FROM passing GROUP BY ALL HAVING count(*) > 1)
                USING (normal_hash_high, normal_hash_low)
        ), ranked AS (
            SELECT file_no, row, row_number() OVER best AS rank,
                first_value(file_no) OVER best AS survivor_file_no, first_value(row) OVER best AS survivor_row,
                text_hash_high = first_value(text_hash_high) OVER best
                    AND text_hash_low = first_value(text_hash_low) OVER best AS same_text
            FROM copied
            WINDOW best AS (PARTITION BY normal_hash_high, normal_hash_low ORDER BY {survivor_order(recipe)})
        )
        SELECT file_no, row, survivor_file_no, survivor_row, same_text FROM ranked WHERE rank > 1 AND file_no >= 0"""


def survivor_order(recipe: Recipe) -> str:
    """SQL that ranks documents: those that an earlier run kept first, then the best."""
    return f"position < 0 DESC, {SURVIVOR_ORDER[recipe.dedup.keep]}"
