"""Near duplicates by text-dedup. Runs in its own environment (Python 3.12) and knows nothing of curate.

Usage: python theirs_text_dedup.py default|verified CORPUS OUT    write the rows that it drops, as JSON

128 permutations and 5-word shingles. `verified` also compares the texts of all pairs in a cluster (its field
`check_false_positive`).
"""

import json
import subprocess
import sys
from pathlib import Path

CONFIGURATION = """
[input]
input_type = "local_files"
file_type = "parquet"
[input.read_arguments]
path = "parquet"
data_files = "{documents}"
split = "train"
[algorithm]
algorithm_name = "minhash"
text_column = "text"
num_perm = 128
ngram_size = 5
threshold = 0.8
min_length = 1
num_proc = 1
check_false_positive = {verified}
[output]
output_dir = "kept"
[debug]
"""


def main(job: str, corpus: str, out: str) -> None:
    """Do what the usage says, in the working directory."""
    documents, verified = Path(corpus) / "documents.parquet", str(job == "verified").lower()
    Path("config.toml").write_text(CONFIGURATION.format(documents=documents, verified=verified))
    subprocess.run([sys.executable, "-m", "text_dedup.minhash"], check=True)
    from datasets import load_from_disk

    kept = {int(row) for row in load_from_disk("kept")["id"]}
    number = json.loads((Path(corpus) / "number.json").read_text())
    Path(out).write_text(json.dumps(sorted(set(range(number)) - kept)))


if __name__ == "__main__":
    main(*sys.argv[1:])
