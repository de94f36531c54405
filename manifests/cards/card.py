"""The card of a data set, from the manifest alone: Markdown with the front matter that the Hugging Face Hub reads."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import yaml

from curate.display import brief, counted, share, visible
from curate.distill.evaluate.retention import model_name
from curate.manifests.cards.features import features_of
from curate.manifests.cards.files import DataFile, files_of, licenses_of, splits_of
from curate.manifests.composition import UNKNOWN
from curate.manifests.schema.model import Amount, Arm, Manifest, Totals, WrittenEntry

MOST_ROWS = 20  # of a table of values
LEAST_LANGUAGE = 0.01  # share of the tokens from which the front matter names a language
SIZES = (  # the Hub's categories by number of documents
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
    (10**10, "1B<n<10B"),
    (10**11, "10B<n<100B"),
    (10**12, "100B<n<1T"),
)
SPECIAL = re.compile(r"[\\`*{}\[\]<>#|~$&!]|(?<!\w)_|_(?!\w)")  # in Markdown; not the underscore within a word
# Licence identifiers that the Hub knows and that data sets use.
HUB_LICENSES = frozenset((
    "apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5",
    "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0",
    "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0", "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "gpl", "gpl-2.0",
    "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "odc-by", "odbl", "pddl", "gfdl", "wtfpl",
    "unlicense", "isc", "zlib", "artistic-2.0", "bsl-1.0", "etalab-2.0", "eupl-1.1", "eupl-1.2", "epl-2.0",
    "unknown", "other",
))  # fmt: skip


def card(
    manifest: Manifest,
    files: Sequence[DataFile] | None = None,
    configs: Sequence[Mapping[str, object]] | None = None,
) -> str:
    """The card of a run's data, or of a folder with other `files` that were made from it.

    `configs` are those of the front matter; None: one, `default`, with a split for each kind of file.
    """
    files = files_of(manifest) if files is None else files
    front = as_yaml(_front(manifest, files, configs))
    parts = (
        _summary(manifest, files),
        _mixture(manifest),
        _drops(manifest),
        _quality(manifest),
        _licenses(manifest),
        _limits(manifest),
        _columns(manifest),
        _reproduce(manifest),
    )
    return f"---\n{front}---\n\n" + "\n\n".join(parts) + "\n"


def _front(
    manifest: Manifest, files: Sequence[DataFile], configs: Sequence[Mapping[str, object]] | None
) -> dict[str, object]:
    """The front matter of one run's card."""
    front = front_matter(manifest.name, [manifest], sum(file.documents for file in files))
    if configs is None and files:
        data_files = [
            {"split": split.split, "path": split.globs[0] if len(split.globs) == 1 else split.globs}
            for split in splits_of(files)
        ]
        configs = [{"config_name": "default", "data_files": data_files}]
    if configs:
        front["configs"] = [dict(config) for config in configs]
    if (features := features_of(manifest.schema_)) is not None:
        front["dataset_info"] = {"features": features}
    return front


def front_matter(name: str, manifests: Sequence[Manifest], documents: int) -> dict[str, object]:
    """What the Hub shows of data made from some runs: name, licences, languages, size."""
    licenses = list(dict.fromkeys(_hub_license(name) for manifest in manifests for name in licenses_of(manifest)))
    total = sum(manifest.totals.tokens_out for manifest in manifests)
    tokens: dict[str, int] = {}
    for row in (row for manifest in manifests for row in manifest.mixture.get("language", ())):
        if row.value is not None:
            tokens[row.value] = tokens.get(row.value, 0) + row.tokens
    languages = [language for language, count in tokens.items() if count >= LEAST_LANGUAGE * total]
    return {
        "pretty_name": name,
        "license": licenses[0] if len(licenses) == 1 else licenses or UNKNOWN,
        **({"language": languages} if languages else {}),
        "size_categories": [next((name for below, name in SIZES if documents < below), "n>1T")],
        "tags": ["curate"],
    }


def _hub_license(name: str) -> str:
    """A licence as the Hub names it; `other` where it has no such name."""
    identifier = re.sub(r"[\s_]+", "-", name.strip().lower())
    return identifier if identifier in HUB_LICENSES else "other"


def _summary(manifest: Manifest, files: Sequence[DataFile]) -> str:
    totals, tool = manifest.totals, manifest.tool
    documents = counted(totals.documents_out, "document")
    all_documents = counted(totals.documents_in, "document")
    lines = [
        f"# {in_line(manifest.name)}",
        "",
        f"{documents} with {totals.tokens_out:,} tokens, kept of {all_documents} with {totals.tokens_in:,} tokens "
        f"({_shares(totals)}) by {tool.name} {tool.version}. Tokens "
        f"are counted by: {in_line(manifest.tokenizer)}.{synthetic(manifest)}",
    ]
    if files:
        rows = [
            (
                split.split,
                ", ".join(split.globs),
                len(split.files),
                sum(file.documents for file in split.files),
                sum(file.bytes for file in split.files),
            )
            for split in splits_of(files)
        ]
        lines += ["", *table(["split", "files", "number", "documents", "bytes"], rows)]
    return "\n".join(lines)


def synthetic(manifest: Manifest) -> str:
    """A sentence on how much a model wrote, after a space; empty where it wrote nothing."""
    amount = manifest.synthetic
    if not amount.documents:
        return ""
    count = f" {amount.documents:,} of these documents, with {amount.tokens:,} tokens, are synthetic"
    return f"{count}: {in_line(writer_of(manifest))} wrote them after real ones."


def _mixture(manifest: Manifest) -> str:
    """What is kept, by language, domain and columns of the input."""
    lines = ["## Composition"]
    total = manifest.totals.tokens_out
    for name, rows in sorted(manifest.mixture.items(), key=lambda item: item[0].startswith("input.")):
        cells = [[value_of(row.value), *amount_cells(row, total)] for row in rows[:MOST_ROWS]]
        lines += ["", f"By {in_line(name)}:", "", *table([name, "documents", "tokens", "of tokens"], cells)]
        if len(rows) > MOST_ROWS:
            lines += ["", f"And {counted(len(rows) - MOST_ROWS, 'more value')}, which `manifest.json` lists."]
    if not manifest.mixture:
        lines += ["", "Neither languages nor sources nor domains were told."]
    amount = manifest.synthetic
    lines += [
        "",
        f"Synthetic text that this run has made: {counted(amount.documents, 'document')}, "
        f"{share(amount.tokens, total) or share(0, 1)} of the tokens. What the input holds of such text is not known.",
    ]
    if amount.documents and amount.written:
        lines += _written(manifest, amount.written)
    return "\n".join(lines)


def _written(manifest: Manifest, written: WrittenEntry) -> list[str]:
    """How synthetic text was written, and for which domains."""
    rows = [
        [domain.domain, domain.tokens, domain.target_tokens, _base_model(written, domain.domain)]
        for domain in written.domains
    ]
    return [
        "",
        f"`{in_line(writer_of(manifest))}` wrote it, each text after a piece of one real document, whose other columns "
        "it has: column `synthetic` is true, and `source_doc_id` names the document. Of "
        f"{counted(written.candidates, 'candidate')} those are here that passed the rules and duplicate searches of "
        "this data, had no number, date or name that their original lacks, and neither copied it nor left it. "
        f"Prompts: {', '.join(f'`{in_line(name)}`' for name in written.prompts or ())}. Base models of adapters by "
        "domain:",
        "",
        *table(["domain", "real tokens", "target", "adapter of"], rows),
    ]


def _base_model(written: WrittenEntry, domain: str) -> object:
    """The base model of a domain's adapter, or `none`."""
    adapter = (written.adapters or {}).get(domain)
    return adapter.get("base", "none") if isinstance(adapter, dict) else "none"


def writer_of(manifest: Manifest) -> str:
    """The model that wrote synthetic text, with its revision."""
    written = manifest.synthetic.written
    teacher = (written.teacher if written else None) or {}
    return " ".join(str(teacher[name]) for name in ("model", "revision") if teacher.get(name)) or UNKNOWN


def _shares(totals: Totals) -> str:
    """The shares of the input's tokens and of its bytes of text that are kept."""
    tokens = share(totals.tokens_out, totals.tokens_in) or "none"
    if totals.bytes_in is None or totals.bytes_out is None:
        return tokens
    return f"{tokens}; of the bytes of text {share(totals.bytes_out, totals.bytes_in) or 'none'}"


def _drops(manifest: Manifest) -> str:
    """What was dropped at which stage, and why."""
    totals = manifest.totals
    rows = [
        [stage.stage, reason, *amount_cells(dropped, totals.tokens_in)]
        for stage in manifest.stages
        for reason, dropped in stage.dropped.items()
    ]
    for stage in manifest.stages:
        if stage.written:
            rows.append([stage.stage, "written by a model, comes in", *amount_cells(stage.written, totals.tokens_in)])
    kept = Amount(documents=totals.documents_out, tokens=totals.tokens_out)
    rows.append(["", "kept", *amount_cells(kept, totals.tokens_in)])
    names = ["stage", "reason", "documents", "tokens", "of the input's tokens"]
    lines = ["## What was dropped", "", *table(names, rows)]
    for stage in manifest.stages:
        if cut := stage.cut:
            tokens, documents = counted(cut.tokens, "token"), counted(cut.documents, "document")
            lines += ["", f"Stage {stage.stage} also cut {tokens} out of {documents} that stayed."]
    return "\n".join(lines)


def _quality(manifest: Manifest) -> str:
    """How much quality is kept, beside the random control of the same size."""
    lines = ["## Quality"]
    evaluation = manifest.retention.evaluation if manifest.retention else None
    arms = [arm for arm in evaluation.arms if arm.domain is None and arm.arm == "ours"] if evaluation else []
    if evaluation is None or not arms:
        return "\n".join([*lines, "", "How much quality is kept was not measured (`curate evaluate` does)."])
    heldout = evaluation.more.get("heldout", {})
    about = f" on {counted(heldout['documents'], 'held-out text')}" if "documents" in heldout else ""
    lines += [
        "",
        f"Models (`{evaluation.proxy}`) were trained on this data, on all of the input, and on random documents of "
        f"as many tokens, and asked{about}. *Retained* is the bits per byte of all the input by those of this data: 1 "
        "is as good as all of it. *Gap closed* is 0 for data as good as random, 1 for as good as all. Intervals hold "
        "95% of the replicates of a bootstrap.",
        "",
        *table(["models", "tokens", "retained", "random control retains", "gap closed"], map(_arm_cells, arms)),
    ]
    return "\n".join(lines)


def _arm_cells(arm: Arm) -> list[object]:
    gap_closed = _interval(arm, arm.more.get("gap_closed"), "gap")
    retained = _interval(arm, arm.retained, "retained")
    model = model_name(arm.more.get("proxy", ""), arm.more.get("budget", ""))
    return [model, arm.tokens, retained, _figure(arm.control_retained), gap_closed]


def _licenses(manifest: Manifest) -> str:
    total = manifest.totals.tokens_out
    rows = manifest.licenses
    cells = [[value_of(row.source), row.license, *amount_cells(row, total)] for row in rows[:MOST_ROWS]]
    names = ["source", "licence", "documents", "tokens", "of tokens"]
    lines = ["## Licences", "", "As the input or the recipe says, nothing guessed:", "", *table(names, cells)]
    if len(rows) > MOST_ROWS:
        lines += ["", f"And {counted(len(rows) - MOST_ROWS, 'more row')}, which `manifest.json` lists."]
    unknown = sum(row.tokens for row in rows if row.license == UNKNOWN)
    if unknown:
        lines += ["", f"**Of {share(unknown, total)} of the tokens the licence is unknown.**"]
    return "\n".join(lines)


PERSONAL_DATA = {  # by tier1.pii.action
    "redact": "E-mail addresses, telephone numbers and the like were redacted where rules find them; names were not "
    "looked for.",
    "drop": "Documents in which rules find e-mail addresses, telephone numbers and the like were dropped; names were "
    "not looked for.",
}


def _limits(manifest: Manifest) -> str:
    """What a user must not take for granted."""
    return "\n".join(["## Limits", "", *(f"- {line}" for line in _limit_lines(manifest))])


def _limit_lines(manifest: Manifest) -> Iterator[str]:
    recipe = manifest.recipe.more
    if manifest.tokenizer == "estimate":
        yield "Numbers of tokens are estimates by bytes and script; a tokenizer will count others."
    yield _decontamination_limit(manifest)
    yield PERSONAL_DATA.get(recipe["tier1"]["pii"]["action"], "Personal data was not removed.")
    if manifest.dedup.near is None:
        yield "Documents that nearly equal another were not looked for."
    if manifest.purify:
        yield (
            f"A model dropped what reads like bad text. That at most {share(recipe['tier2']['max_false_drop'], 1)} of "
            "good documents are lost by it holds for documents like those of its reference."
        )
    if "language" not in manifest.mixture:
        yield "Languages were not told."
    if written := manifest.synthetic.documents:
        yield (
            f"{counted(written, 'document')} of it a model wrote. Rules compared numbers, dates and names with the "
            "originals; wrong relations between true ones are not found by that."
        )
    if quarantined := sum(file.error is not None for file in manifest.inputs):
        yield f"{counted(quarantined, 'input file')} could not be read and is missing here."
    yield "Nothing here says whether what the texts claim is true."


def _decontamination_limit(manifest: Manifest) -> str:
    hits = manifest.decontamination
    if hits is None:
        return "It was not searched for text of evaluation sets."
    return (
        f"It was searched for {hits.ngram} words in a row of {counted(hits.items, 'item')} in "
        f"{counted(hits.benchmarks, 'file')} of evaluation sets ({hits.items_hit:,} items were found); text "
        "in other words is not found by that."
    )


def _columns(manifest: Manifest) -> str:
    rows = [[column.name, column.type] for column in manifest.schema_]
    return "\n".join(["## Columns", "", *table(["column", "type"], rows)])


def _reproduce(manifest: Manifest) -> str:
    """What it takes to write the same bytes again."""
    recipe = as_yaml(manifest.recipe.model_dump(mode="json", exclude_unset=True), sort_keys=True)
    fence = "`" * max([2, *map(len, re.findall("`+", recipe))]) + "`"
    inputs = [file for file in manifest.inputs if file.error is None]
    lines = [
        "## How to make it again",
        "",
        f"`curate run` with {in_line(manifest.tool.name)} {in_line(manifest.tool.version)}, the recipe "
        f"below (digest `{manifest.recipe_digest}`), and {counted(len(inputs), 'input file')}, whose paths and "
        f"hashes stand in `manifest.json` (seal `{manifest.seal}`). `input.paths` and other places are left out of "
        "the recipe.",
        "",
        f"{fence}yaml",
        recipe.rstrip("\n"),
        fence,
    ]
    return "\n".join(lines)


def as_yaml(value: object, sort_keys: bool = False) -> str:
    """YAML; characters that could hide text or change its direction are escaped."""
    text = str(yaml.safe_dump(value, sort_keys=sort_keys, allow_unicode=True, width=100))
    return text if visible(text) == text else str(yaml.safe_dump(value, sort_keys=sort_keys, width=100))


def _interval(arm: Arm, value: float | None, name: str) -> str:
    """A figure with its interval, where it has one."""
    low, high = arm.more.get(f"{name}_low"), arm.more.get(f"{name}_high")
    figure = _figure(value)
    return figure if low is None or high is None else f"{figure} ({_figure(low)} to {_figure(high)})"


def _figure(value: float | None) -> str:
    return "not known" if value is None else f"{value:.4f}"


def amount_cells(amount: Amount, total: int) -> list[object]:
    """Documents, tokens and share of the total tokens, as cells."""
    return [amount.documents, amount.tokens, share(amount.tokens, total)]


def value_of(value: str | None) -> str:
    """A value of a column, as a cell."""
    return "(none)" if value is None else value


def table(names: Iterable[object], rows: Iterable[Iterable[object]]) -> list[str]:
    """A Markdown table; numbers with thousands separators."""
    cells = [list(map(_cell, row)) for row in rows]
    head = list(map(_cell, names))
    return [_line(head), _line(["---"] * len(head)), *map(_line, cells)]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else in_line(str(value))


def in_line(value: str) -> str:
    """Any text on one line, with the characters escaped that mean something in Markdown or HTML."""
    return SPECIAL.sub(r"\\\g<0>", " ".join(brief(value).split()))
