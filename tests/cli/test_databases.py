"""How every DuckDB of ours is opened."""

import subprocess
import sys

# In a process without a script, such as a notebook, DuckDB prints a progress bar on stdout after two seconds.
SETTINGS = """
from curate.sql import open_database
open_database("some.duckdb").close()
for read_only in (False, True):
    with open_database("some.duckdb", read_only=read_only) as connection, connection.cursor() as cursor:
        for opened in (connection, cursor):
            print(*opened.execute("SELECT current_setting('enable_progress_bar')").fetchone())
"""


def test_no_query_prints_a_progress_bar_among_the_results(tmp_path):
    done = subprocess.run([sys.executable, "-c", SETTINGS], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == ["False"] * 4
