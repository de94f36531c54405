"""Print what the rules of `gopher` on length drop, language by language.

Usage: python benchmarks/multilingual.py FILE [COLUMN]

FILE is a Parquet file with a column `text` in many languages, or a folder of such files. COLUMN (default: `label`)
names the language; only what stands before a semicolon counts. Documents of up to 200 characters are left out.
Languages with fewer than 20 documents share a line, because a single document of theirs would be a large share.
The law: no language loses more than 15 % of its documents to rules on the number and the length of words.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from curate.ledger.run import connect

RULES = ("too_few_words", "too_many_words", "words_too_short", "words_too_long")
FEW = 20
LAW = 0.15


def main(corpus: Path, column: str = "label") -> None:
    """Run `gopher` with and without its rule on English stop words, and print both as one table."""
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        whole = losses(corpus, column, run)
        without = losses(corpus, column, run, "--set", "tier1.thresholds.too_few_stop_words=null")
    columns = ["language", "documents", *(f"`{rule}`" for rule in RULES), "these four", "all but stop words", "all"]
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    for language, (documents, by_rule, by_length, by_any) in whole.items():
        share = [f"{dropped / documents:.1%}" for dropped in (by_length, without[language][3], by_any)]
        print(f"| {language} | {documents:,} | {' | '.join(map(str, by_rule))} | {' | '.join(share)} |")
    broken = [name for name, (documents, _, lost, _) in {**whole, **without}.items() if lost > LAW * documents]
    print(f"\nlanguages that lose more than {LAW:.0%} to these four rules: {', '.join(broken) or 'none'}")
    sys.exit(bool(broken))


def losses(corpus: Path, column: str, run: Path, *options: str) -> dict[str, tuple[int, list[int], int, int]]:
    """By language: documents, those that each rule names, those that any of the four names, those that are dropped."""
    recipe = run.parent / "recipe.yaml"
    recipe.write_text(json.dumps({
        "name": "multilingual",
        "output": str(run),
        "input": {"paths": [str(corpus)]},
        "tier1": {"rules": ["gopher"]},
        "dedup": {"exact": False},
    }))  # fmt: skip
    command = [sys.executable, "-m", "curate", "run", str(recipe), "--quiet", *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    counts = ", ".join(f"count(*) FILTER (list_contains(reasons, '{rule}'))" for rule in RULES)
    with connect(run) as connection:
        rows = connection.execute(f"""
            WITH long AS (
                SELECT split_part(input."{column}", ';', 1) AS label, reasons, kept FROM corpus WHERE n_characters > 200
            ), named AS (
                SELECT *, if(count(*) OVER (PARTITION BY label) < {FEW}, NULL, label) AS language FROM long
            )
            SELECT coalesce(language, count(DISTINCT label) || ' others'), count(*), [{counts}],
                count(*) FILTER (list_has_any(reasons, {list(RULES)})), count(*) FILTER (NOT kept)
            FROM named GROUP BY language ORDER BY language NULLS LAST
        """).fetchall()
    return {language: (documents, by_rule, *lost) for language, documents, by_rule, *lost in rows}


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), *sys.argv[2:])
