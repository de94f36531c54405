"""The documents that the third tier wrote for a run: candidates with their verdicts, and those accepted."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_128_hexdigest

from curate.digest import digest_of
from curate.ledger.names import AUGMENT, AUGMENTED, BEYOND_CAP, DOMAINS, SYNTHETIC, WRITTEN_FOLDER
from curate.recipe.values import Unit
from curate.storage.files import committed, sha256_of, unsealed, write_sealed


class Totals(TypedDict):
    """Accepted documents and tokens of one value of a column; null where the value is not known."""

    value: str | None
    documents: int
    tokens: int


class Deficit(TypedDict):
    """The tokens by which a domain misses its target."""

    domain: str
    target_tokens: int
    tokens: int


@dataclass(frozen=True)
class Augmented:
    """The documents that the third tier wrote for a run."""

    folder: Path
    facts: Mapping[str, Any]  # augmented.json

    @property
    def tokens(self) -> int:
        """Accepted tokens."""
        return self.size("tokens")

    def size(self, unit: Unit) -> int:
        """Accepted tokens or bytes."""
        return int(self.facts["accepted"][unit])

    def tokens_of(self, domain: str) -> int:
        """Accepted tokens of a domain."""
        return int(self.facts["accepted"]["domains"].get(domain, 0))

    def accepted_by(self, name: str) -> list[Totals]:
        """Accepted documents and tokens by language; for any other column, all of them under the value null."""
        table = pq.read_table(self.folder / SYNTHETIC)
        kept = table.filter(table["accepted"])
        values = kept["language"].to_pylist() if name == "language" else [None] * len(kept)
        totals: dict[str | None, Totals] = {}
        for value, tokens in zip(values, kept["n_tokens"].to_pylist(), strict=True):
            row = totals.setdefault(value, {"value": value, "documents": 0, "tokens": 0})
            row["documents"] += 1
            row["tokens"] += tokens
        return list(totals.values())

    def deficits(self) -> list[Deficit]:
        """The domains that are still below their targets."""
        rows = pq.read_table(self.folder / DOMAINS, columns=["domain", "target_tokens", "wanting"]).to_pylist()
        deficits = [
            Deficit(
                domain=row["domain"],
                target_tokens=row["target_tokens"],
                tokens=row["wanting"] - self.tokens_of(row["domain"]),
            )
            for row in rows
        ]
        return [deficit for deficit in deficits if deficit["tokens"] > 0]

    @property
    def caps(self) -> dict[str, int]:
        """The most tokens of each domain that the output may have."""
        return dict(self.facts["caps"])

    @property
    def digest(self) -> str:
        """The digest of the accepted documents and of all that they follow from."""
        return digest_of([self.facts["key"], self.facts["accepted"]])

    @property
    def tables(self) -> list[str]:
        """The file names of its tables within the folder."""
        return list(self.facts["tables"])


def read_augmented(run: Path) -> Augmented | None:
    """The written documents of a run, even if for other decisions; None where tier 3 has not finished."""
    folder = run / WRITTEN_FOLDER
    try:
        facts = unsealed(json.loads((folder / AUGMENTED).read_text("utf-8")))
        intact = all(sha256_of(folder / name) == sha256 for name, sha256 in facts["sha256"].items())
    except (OSError, ValueError, AttributeError):
        return None
    return Augmented(folder, facts) if intact else None


def apply_caps(augmented: Augmented, caps: Mapping[str, int], recipe: str) -> Augmented:
    """The same documents under other caps, for the recipe with this digest; unchanged where nothing differs."""
    table = pq.read_table(augmented.folder / SYNTHETIC)
    unchanged = accept_within_caps(table, caps)["accepted"].equals(table["accepted"])
    if unchanged and augmented.facts["recipe"] == recipe:
        return augmented
    return commit_accepted(augmented.folder, {**augmented.facts, "caps": dict(caps), "recipe": recipe}, table)


def commit_accepted(folder: Path, facts: Mapping[str, Any], judged: pa.Table) -> Augmented:
    """Accept candidates as far as the caps allow, and commit them with their facts."""
    table = accept_within_caps(judged, facts["caps"])
    commit_table(folder / SYNTHETIC, table)
    kept = table.filter(table["accepted"])
    tokens = kept.group_by("domain").aggregate([("n_tokens", "sum")]).sort_by("domain")
    accepted = {
        "documents": len(kept),
        "tokens": int(kept["n_tokens"].to_numpy().sum()),
        "bytes": int(kept["n_bytes"].to_numpy().sum()),
        "domains": dict(zip(tokens["domain"].to_pylist(), tokens["n_tokens_sum"].to_pylist(), strict=True)),
        "doc_ids_xxh3_128": xxh3_128_hexdigest("\n".join(kept["doc_id"].to_pylist()).encode()),
    }
    hashes = {name: sha256_of(folder / name) for name in (*facts["tables"], *facts["judged"])}
    facts = {**facts, "accepted": accepted, "asked": len(table), "sha256": hashes}
    write_sealed(folder / AUGMENTED, facts)
    return Augmented(folder, facts)


def accept_within_caps(judged: pa.Table, caps: Mapping[str, int]) -> pa.Table:
    """Candidates with `accepted`: true, in order, for each that passed while its domain's cap has room.

    One beyond its cap has the stage `augment` and the reason `beyond_cap`.
    """
    remaining, rows = dict(caps), judged.select(["domain", "n_tokens", "stage", "reason"]).to_pylist()
    for row in rows:
        passed = row["reason"] in (None, BEYOND_CAP)
        row["accepted"] = passed and row["n_tokens"] <= remaining.get(row["domain"], 0)
        if row["accepted"]:
            remaining[row["domain"]] -= row["n_tokens"]
        if passed:
            row["stage"], row["reason"] = (None, None) if row["accepted"] else (AUGMENT, BEYOND_CAP)
    for name in ("stage", "reason"):
        k = judged.schema.get_field_index(name)
        judged = judged.set_column(k, name, pa.array([row[name] for row in rows], pa.string()))
    accepted = pa.array([row["accepted"] for row in rows], pa.bool_())
    k = judged.schema.get_field_index("accepted")
    return judged.set_column(k, "accepted", accepted) if k >= 0 else judged.append_column("accepted", accepted)


def commit_table(path: Path, table: pa.Table) -> None:
    """Commit a table as a Parquet file."""
    with committed(path) as aside:
        pq.write_table(table, aside)
