"""The noise of benchmarks/quality_pools.py that is made: attacked texts, lines, contracts, versions of a manual."""

import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
from purify_corpus import place

from curate.distill.attacks.registry import apply_attacks, attacks, families


@dataclass(frozen=True)
class Manual:
    """A manual in the source archives of a project on the package index."""

    folder: str  # in the archive
    ending: str  # of its pages
    license: str
    versions: tuple[str, ...]


MANUALS = {
    "django": Manual(
        "docs/", ".txt", "BSD-3-Clause", ("3.2.25", "4.0.10", "4.1.13", "4.2.30", "5.0.14", "5.1.15", "5.2.19")
    ),
    "sqlalchemy": Manual(
        "doc/build/", ".rst", "MIT", ("0.9.10", "1.0.19", "1.1.18", "1.2.19", "1.3.24", "1.4.0", "1.4.54")
    ),
}


def noise_table(texts: Sequence[str], source: str, licenses: str | Sequence[str | None]) -> pa.Table:
    """Texts as documents of a source."""
    n = len(texts)
    licenses = [licenses] * n if isinstance(licenses, str) else licenses
    return pa.table({
        "text": pa.array(texts, pa.string()), "source": pa.array([source] * n, pa.string()),
        "license": pa.array(licenses, pa.string()), "place": pa.array(np.zeros(n)),
    })  # fmt: skip


def attacked(good: pa.Table, of: Sequence[str], total: int, seed: int) -> Iterator[tuple[pa.Table, int]]:
    """Good documents made bad by each attack of some families, those of shortest hash first, and how many bytes."""
    ids = pa.array([f"{place:.12f}" for place in good["place"].to_pylist()])
    originals = pa.table({"doc_id": ids, "text": good["text"].cast(pa.large_string())})
    names = [name for family in of for name in families()[family] if attacks()[name].bad]
    license_of = dict(zip(ids.to_pylist(), good["license"].to_pylist(), strict=True))
    passages = good["text"].to_pylist()[:200]
    size = total // max(1, len(names))
    most = int(1.5 * size * len(originals) / originals["text"].nbytes)
    for name in names:
        made = apply_attacks(originals, [name], most, seed, passages)
        licenses = [license_of[doc_id] for doc_id in made["doc_id"].to_pylist()]
        yield noise_table(made["text"].cast(pa.string()).to_pylist(), "attacked", licenses), size


def shuffled(noise: pa.Table, size: int, seed: int) -> pa.Table:
    """Pages of 40 lines, each from anywhere in the noise."""
    lines = [line for text in noise["text"].to_pylist() for line in text.splitlines() if len(line.strip()) > 1]
    draw, texts, made = Random(f"{seed} shuffled"), [], 0
    while made < size:
        texts.append("\n".join(draw.choices(lines, k=40)))
        made += len(texts[-1].encode())
    return noise_table(texts, "shuffled", "various")


INDICES = ("CPI", "HICP", "PPI", "LIBOR", "EURIBOR", "SOFR", "ECI", "WPI")
GOODS = ("concrete C30/37", "rebar B500B", "scaffolding, per week", "site office", "crane hire", "earthworks",
         "supervision, per hour", "insurance", "excavator 20 t", "cable NYY-J 4x16", "valve DN 80")  # fmt: skip
PARTIES = ("Northgate", "Halden", "Merrow", "Castellan", "Orrin", "Pellworth", "Tarn Valley", "Brightwater", "Ostrava")
VERSIONS = (1, 1, 2, 3, 5, 7)  # of a contract; as many as are drawn from these


def contracts(law: pa.Table, size: int, seed: int) -> pa.Table:
    """Contracts with a formula, a table or a schedule of payments after each few paragraphs, in several versions.

    Versions have other parties, amounts and dates, and leave out a paragraph or two.
    """
    draw, texts, licenses, made = Random(f"{seed} contracts"), list[str](), list[str | None](), 0
    bases = list(zip(law["text"].to_pylist(), law["license"].to_pylist(), strict=True))
    while made < size:
        text, license_name = draw.choice(bases)
        paragraphs = [part for part in text.split("\n\n") if part.strip()]
        for _ in range(draw.choice(VERSIONS)):
            texts.append(_contract(paragraphs, draw))
            licenses.append(license_name)
            made += len(texts[-1].encode())
    return noise_table(texts, "contracts", licenses)


def _contract(paragraphs: Sequence[str], draw: Random) -> str:
    seller, buyer = draw.sample(PARTIES, 2)
    number = draw.randint(1000, 9999)
    parts = [f"AGREEMENT No. {number}/{draw.randint(1995, 2024)} between {seller} Ltd. and {buyer} Inc."]
    for paragraph in paragraphs:
        if draw.random() > 0.06:
            parts.append(paragraph)
        if draw.random() < 0.3:
            parts.append(draw.choice((_formula, _price_table, _schedule))(draw))
    return "\n\n".join(parts)


def _formula(draw: Random) -> str:
    index, k = draw.choice(INDICES), draw.randint(1, 9)
    a, b = draw.randint(10, 90) / 100, draw.randint(100, 999) / 1000
    return draw.choice((
        f"P_{k} = P_0 × ({a:.2f} + {1 - a:.2f} × {index}_{k} / {index}_0) × (1 − {b:.3f})^({k}/12)",
        f"D(t) = max(0, min({a:.2f} × (t − t_{k}) × V / 365, {b:.3f} × V)), where V = Σ_i (q_i × p_i × (1 + r_i))",
        f"R_{k} = [{index}_{k} − {index}_{k - 1}] / {index}_{k - 1} × 100 % ; if R_{k} > {10 * b:.2f} % : "
        f"ΔP = P × (R_{k} − {10 * b:.2f}) / 100",
    ))  # fmt: skip


def _price_table(draw: Random) -> str:
    rows = [f"{'Pos.':<6}{'Item':<26}{'Qty':>10}{'Unit price':>14}{'Amount':>18}"]
    for k in range(draw.randint(4, 18)):
        quantity, price = draw.randint(1, 4000), draw.randint(100, 900_000) / 100
        rows.append(f"{k + 1:<6}{draw.choice(GOODS):<26}{quantity:>10,}{price:>14,.2f}{quantity * price:>18,.2f}")
    return "\n".join(rows)


def _schedule(draw: Random) -> str:
    year, balance, rate = draw.randint(1998, 2030), float(draw.randint(50, 9000) * 1000), draw.randint(20, 95) / 1000
    rows = ["| due | balance | interest | redemption | instalment |", "|---|---|---|---|---|"]
    redemption = balance / draw.randint(8, 30)
    for k in range(draw.randint(6, 24)):
        interest = balance * rate / 4
        amounts = " | ".join(f"{x:,.2f}" for x in (balance, interest, redemption, interest + redemption))
        rows.append(f"| {year + k // 4}-{3 * (k % 4) + 3:02d}-15 | {amounts} |")
        balance = max(0.0, balance - redemption)
    return "\n".join(rows)


def manual_versions(folder: Path, project: str, size: int, seed: int) -> pa.Table:
    """The same pages of all versions of a manual, drawn by seed, with about so many bytes together."""
    manual = MANUALS[project]
    archives = [_archive(folder, project, version) for version in manual.versions]
    pages = [dict(_pages(archive, manual)) for archive in archives]
    names = sorted({name for version in pages for name in version}, key=lambda name: place(name, seed))
    texts: list[str] = []
    made = 0
    for name in names:
        if made >= size:
            break
        versions = [version[name] for version in pages if name in version]
        texts += versions
        made += sum(len(text.encode()) for text in versions)
    return noise_table(list(dict.fromkeys(texts)), f"manual_{project}", manual.license)


def _archive(folder: Path, project: str, version: str) -> Path:
    """The source archive of a version, fetched from the package index unless it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    if not any(path.name.lower() == f"{project}-{version}.tar.gz" for path in folder.iterdir()):
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
             "--dest", str(folder), f"{project}=={version}"], check=True,
        )  # fmt: skip
    [path] = (path for path in folder.iterdir() if path.name.lower() == f"{project}-{version}.tar.gz")
    return path


def _pages(archive: Path, manual: Manual) -> Iterator[tuple[str, str]]:
    """The pages of a manual, by their names in it."""
    with tarfile.open(archive) as opened:
        for member in opened:
            name = member.name.partition("/")[2]
            if member.isfile() and name.startswith(manual.folder) and name.endswith(manual.ending):
                file = opened.extractfile(member)
                text = file.read().decode("utf-8", "replace") if file else ""
                if len(text) > 500:
                    yield name, text[:100_000]
