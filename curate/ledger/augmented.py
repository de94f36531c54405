"""What the third tier left in a run directory: candidates with their verdicts, and how many of them the output has."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_128_hexdigest

from curate.digest import digest_of
from curate.ledger.names import AUGMENT, AUGMENTED, BEYOND_CAP, DOMAINS, SYNTHETIC, WRITTEN_FOLDER
from curate.storage.files import committed, sha256_of, unsealed, write_sealed


@dataclass(frozen=True)
class Augmented:
    """What the third tier has made."""

    folder: Path
    facts: Mapping[str, Any]  # augmented.json

    @property
    def tokens(self) -> int:
        """Tokens that the output has of it."""
        return int(self.facts["accepted"]["tokens"])

    def tokens_of(self, domain: str) -> int:
        """Accepted tokens of a domain."""
        return int(self.facts["accepted"]["domains"].get(domain, 0))

    def by(self, name: str) -> list[dict[str, Any]]:
        """Accepted documents and tokens by language, or all of them without a value where nothing tells it."""
        table = pq.read_table(self.folder / SYNTHETIC)
        kept = table.filter(table["accepted"])
        values = kept["language"].to_pylist() if name == "language" else [None] * len(kept)
        found: dict[str | None, dict[str, Any]] = {}
        for value, tokens in zip(values, kept["n_tokens"].to_pylist(), strict=True):
            row = found.setdefault(value, {"value": value, "documents": 0, "tokens": 0})
            row["documents"], row["tokens"] = row["documents"] + 1, row["tokens"] + tokens
        return list(found.values())

    def wanting(self) -> list[dict[str, Any]]:
        """Of each domain that lacks some still, its target and the tokens that are missing to it."""
        rows = pq.read_table(self.folder / DOMAINS, columns=["domain", "target_tokens", "wanting"]).to_pylist()
        left = {row["domain"]: row["wanting"] - self.tokens_of(row["domain"]) for row in rows}
        return [
            {"domain": row["domain"], "target_tokens": row["target_tokens"], "tokens": left[row["domain"]]}
            for row in rows if left[row["domain"]] > 0
        ]  # fmt: skip

    @property
    def caps(self) -> dict[str, int]:
        """Tokens of each domain that the output may have, at most."""
        return dict(self.facts["caps"])

    @property
    def digest(self) -> str:
        """The digest of what was accepted, and of all that it follows from."""
        return digest_of([self.facts["key"], self.facts["accepted"]])

    @property
    def tables(self) -> list[str]:
        """The names of the tables that it consists of, within the folder."""
        return list(self.facts["tables"])


def read_augmented(run: Path) -> Augmented | None:
    """What a run has made, whole or for other decisions; None where nothing is finished."""
    folder = run / WRITTEN_FOLDER
    try:
        facts = unsealed(json.loads((folder / AUGMENTED).read_text("utf-8")))
        whole = all(sha256_of(folder / name) == sha256 for name, sha256 in facts["sha256"].items())
    except (OSError, ValueError, AttributeError):
        return None
    return Augmented(folder, facts) if whole else None


def apply_caps(found: Augmented, caps: Mapping[str, int], recipe: str) -> Augmented:
    """The same with other caps, which hold for a recipe by its digest; as it is, where nothing else is left out."""
    table = pq.read_table(found.folder / SYNTHETIC)
    same = accept_within_caps(table, caps)["accepted"].equals(table["accepted"])
    if same and found.facts["recipe"] == recipe:
        return found
    return commit_accepted(found.folder, {**found.facts, "caps": dict(caps), "recipe": recipe}, table)


def commit_accepted(folder: Path, facts: Mapping[str, Any], judged: pa.Table) -> Augmented:
    """Accept what the caps allow, and commit it with all that is to be known of it."""
    table = accept_within_caps(judged, facts["caps"])
    commit_table(folder / SYNTHETIC, table)
    kept = table.filter(table["accepted"])
    tokens = kept.group_by("domain").aggregate([("n_tokens", "sum")]).sort_by("domain")
    accepted = {
        "documents": len(kept),
        "tokens": int(kept["n_tokens"].to_numpy().sum()),
        "domains": dict(zip(tokens["domain"].to_pylist(), tokens["n_tokens_sum"].to_pylist(), strict=True)),
        "doc_ids_xxh3_128": xxh3_128_hexdigest("\n".join(kept["doc_id"].to_pylist()).encode()),
    }
    hashes = {name: sha256_of(folder / name) for name in (*facts["tables"], *facts["judged"])}
    facts = {**facts, "accepted": accepted, "asked": len(table), "sha256": hashes}
    write_sealed(folder / AUGMENTED, facts)
    return Augmented(folder, facts)


def accept_within_caps(judged: pa.Table, caps: Mapping[str, int]) -> pa.Table:
    """Candidates with `accepted`: those that passed, in the order of their turn, while their domain's cap has room.

    One beyond its cap has the stage `augment` and the reason `beyond_cap`.
    """
    left, rows = dict(caps), judged.select(["domain", "n_tokens", "stage", "reason"]).to_pylist()
    for row in rows:
        passed = row["reason"] in (None, BEYOND_CAP)
        row["accepted"] = passed and row["n_tokens"] <= left.get(row["domain"], 0)
        if row["accepted"]:
            left[row["domain"]] -= row["n_tokens"]
        if passed:
            row["stage"], row["reason"] = (None, None) if row["accepted"] else (AUGMENT, BEYOND_CAP)
    for name in ("stage", "reason"):
        k = judged.schema.get_field_index(name)
        judged = judged.set_column(k, name, pa.array([row[name] for row in rows], pa.string()))
    accepted = pa.array([row["accepted"] for row in rows], pa.bool_())
    k = judged.schema.get_field_index("accepted")
    return judged.set_column(k, "accepted", accepted) if k >= 0 else judged.append_column("accepted", accepted)


def commit_table(path: Path, table: pa.Table) -> None:
    """Write a table."""
    with committed(path) as aside:
        pq.write_table(table, aside)
