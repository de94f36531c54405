"""The card of a data set: Markdown with the front matter that the Hugging Face Hub reads, out of the manifest alone."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from curate.display import brief, counted, share, visible
from curate.manifests.cards.features import features_of
from curate.manifests.cards.files import DataFile, files_of, licenses_of, splits_of
from curate.manifests.composition import UNKNOWN

MOST_ROWS = 20  # of a table of values
LEAST_LANGUAGE = 0.01  # of the tokens, to stand in the front matter
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"),
         (10**8, "10M<n<100M"), (10**9, "100M<n<1B"), (10**10, "1B<n<10B"), (10**11, "10B<n<100B"),
         (10**12, "100B<n<1T"))  # fmt: skip
SPECIAL = re.compile(r"[\\`*{}\[\]<>#|~$&!]|(?<!\w)_|_(?!\w)")  # in Markdown; not the underscore within a word
# Identifiers of licences that the Hub knows, as far as data sets have them.
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
    manifest: Mapping[str, Any],
    files: Sequence[DataFile] | None = None,
    configs: Sequence[Mapping[str, Any]] | None = None,
) -> str:
    """The card of a run's data, or of a folder with other `files` that were made of it.

    `configs` are those of the front matter; None: one, `default`, with a split for each kind of file.
    """
    files = files_of(manifest) if files is None else files
    front = as_yaml(_front(manifest, files, configs))
    parts = (
        _summary(manifest, files), _mixture(manifest), _drops(manifest), _quality(manifest), _licenses(manifest),
        _limits(manifest), _columns(manifest), _reproduce(manifest),
    )  # fmt: skip
    return f"---\n{front}---\n\n" + "\n\n".join(parts) + "\n"


def _front(
    manifest: Mapping[str, Any], files: Sequence[DataFile], configs: Sequence[Mapping[str, Any]] | None
) -> dict[str, Any]:
    """What the Hub reads."""
    front = front_matter(manifest["name"], [manifest], sum(file.documents for file in files))
    if configs is None and files:
        data_files = [
            {"split": split, "path": globs[0] if len(globs) == 1 else globs}
            for split, (globs, _) in splits_of(files).items()
        ]
        configs = [{"config_name": "default", "data_files": data_files}]
    if configs:
        front["configs"] = [dict(one) for one in configs]
    if (features := features_of(manifest["schema"])) is not None:
        front["dataset_info"] = {"features": features}
    return front


def front_matter(name: str, manifests: Sequence[Mapping[str, Any]], documents: int) -> dict[str, Any]:
    """What the Hub shows of data that was made of some runs: name, licences, languages, size."""
    licenses = list(dict.fromkeys(_hub_license(one) for manifest in manifests for one in licenses_of(manifest)))
    total = sum(manifest["totals"]["tokens_out"] for manifest in manifests)
    tokens: dict[str, int] = {}
    for row in (row for manifest in manifests for row in manifest["mixture"].get("language", ())):
        if row["value"] is not None:
            tokens[row["value"]] = tokens.get(row["value"], 0) + row["tokens"]
    languages = [language for language, count in tokens.items() if count >= LEAST_LANGUAGE * total]
    return {
        "pretty_name": name,
        "license": licenses[0] if len(licenses) == 1 else licenses or UNKNOWN,
        **({"language": languages} if languages else {}),
        "size_categories": [next((name for below, name in SIZES if documents < below), "n>1T")],
        "tags": ["curate"],
    }


def _hub_license(name: str) -> str:
    """A licence as the Hub names it; `other` where it does not know it by this name."""
    known = re.sub(r"[\s_]+", "-", name.strip().lower())
    return known if known in HUB_LICENSES else "other"


def _summary(manifest: Mapping[str, Any], files: Sequence[DataFile]) -> str:
    totals, tool = manifest["totals"], manifest["tool"]
    documents = counted(totals["documents_out"], "document")
    whole = counted(totals["documents_in"], "document")
    lines = [
        f"# {in_line(manifest['name'])}",
        "",
        f"{documents} with {totals['tokens_out']:,} tokens, kept of {whole} with {totals['tokens_in']:,} tokens "
        f"({share(totals['tokens_out'], totals['tokens_in']) or 'none'}) by {tool['name']} {tool['version']}. Tokens "
        f"are counted by: {in_line(manifest['tokenizer'])}.{synthetic(manifest)}",
    ]
    if files:
        rows = [
            [split, ", ".join(globs), len(own), sum(file.documents for file in own), sum(file.bytes for file in own)]
            for split, (globs, own) in splits_of(files).items()
        ]
        lines += ["", *table(["split", "files", "number", "documents", "bytes"], rows)]
    return "\n".join(lines)


def synthetic(manifest: Mapping[str, Any]) -> str:
    """A sentence on how much a model wrote, with a space before it; nothing where it wrote none."""
    made = manifest["synthetic"]
    if not made["documents"]:
        return ""
    many = f" {made['documents']:,} of these documents, with {made['tokens']:,} tokens, are synthetic"
    return f"{many}: {in_line(writer_of(manifest))} wrote them after real ones."


def _mixture(manifest: Mapping[str, Any]) -> str:
    """What is kept, by whatever it can be told by."""
    lines = ["## Composition"]
    total = manifest["totals"]["tokens_out"]
    told = sorted(manifest["mixture"].items(), key=lambda one: one[0].startswith("input."))
    for name, rows in told:
        shown = [[value_of(row["value"]), *amount(row, total)] for row in rows[:MOST_ROWS]]
        lines += ["", f"By {in_line(name)}:", "", *table([name, "documents", "tokens", "of tokens"], shown)]
        if len(rows) > MOST_ROWS:
            lines += ["", f"And {counted(len(rows) - MOST_ROWS, 'more value')}, which `manifest.json` lists."]
    if not manifest["mixture"]:
        lines += ["", "Neither languages nor sources nor domains were told."]
    made = manifest["synthetic"]
    part = share(made["tokens"], total) or share(0, 1)
    lines += ["", f"Synthetic text that this run has made: {counted(made['documents'], 'document')}, {part} of the "
              "tokens. What the input holds of such text is not known."]  # fmt: skip
    return "\n".join([*lines, *(_written(manifest) if made["documents"] else ())])


def _written(manifest: Mapping[str, Any]) -> list[str]:
    """How synthetic text was made, and of which domains."""
    made = manifest["synthetic"]["written"]
    adapters, prompts = made["adapters"] or {}, made["prompts"] or {}
    rows = [
        [one["domain"], one["tokens"], one["target_tokens"], adapters.get(one["domain"], {}).get("base", "none")]
        for one in made["domains"]
    ]
    return [
        "",
        f"`{in_line(writer_of(manifest))}` wrote it, each text after a piece of one real document, whose other columns "
        "it has: column `synthetic` is true, and `source_doc_id` names the document. Of "
        f"{counted(made['candidates'], 'candidate')} those are here that passed the rules and duplicate searches of "
        "this data, had no number, date or name that their original lacks, and neither copied it nor left it. "
        f"Prompts: {', '.join(f'`{in_line(name)}`' for name in prompts)}. Base models of adapters by domain:",
        "",
        *table(["domain", "real tokens", "target", "adapter of"], rows),
    ]


def writer_of(manifest: Mapping[str, Any]) -> str:
    """The model that wrote synthetic text, with its revision."""
    teacher = manifest["synthetic"]["written"]["teacher"] or {}
    return " ".join(str(teacher[name]) for name in ("model", "revision") if teacher.get(name)) or UNKNOWN


def _drops(manifest: Mapping[str, Any]) -> str:
    """What was dropped at which stage, and why."""
    total = manifest["totals"]["tokens_in"]
    rows = [
        [stage["stage"], reason, *amount(gone, total)]
        for stage in manifest["stages"] for reason, gone in stage["dropped"].items()
    ]  # fmt: skip
    for stage in manifest["stages"]:
        if written := stage.get("written"):
            rows.append([stage["stage"], "written by a model, comes in", *amount(written, total)])
    out = {"documents": manifest["totals"]["documents_out"], "tokens": manifest["totals"]["tokens_out"]}
    lines = ["## What was dropped", "", *table(
        ["stage", "reason", "documents", "tokens", "of the input's tokens"], [*rows, ["", "kept", *amount(out, total)]]
    )]  # fmt: skip
    for stage in manifest["stages"]:
        if cut := stage.get("cut"):
            lines += ["", f"Stage {stage['stage']} also cut {counted(cut['tokens'], 'token')} out of "
                      f"{counted(cut['documents'], 'document')} that stayed."]  # fmt: skip
    return "\n".join(lines)


def _quality(manifest: Mapping[str, Any]) -> str:
    """How much quality is kept, with the random control of the same size beside it."""
    lines = ["## Quality"]
    evaluation: Mapping[str, Any] = (manifest["retention"] or {}).get("evaluation") or {}
    arms = [arm for arm in evaluation.get("arms", ()) if arm["domain"] is None and arm["arm"] == "ours"]
    if not arms:
        return "\n".join([*lines, "", "How much quality is kept was not measured (`curate evaluate` does)."])
    heldout = evaluation.get("heldout", {})
    about = f" on {counted(heldout['documents'], 'held-out text')}" if "documents" in heldout else ""
    lines += [
        "",
        f"Models (`{evaluation['proxy']}`) were trained on this data, on all of the input, and on random documents of "
        f"as many tokens, and asked{about}. *Retained* is the bits per byte of all the input by those of this data: 1 "
        "is as good as all of it. *Gap closed* is 0 for data as good as random, 1 for as good as all. Intervals hold "
        "95% of the replicates of a bootstrap.",
        "",
        *table(
            ["budget", "tokens", "retained", "random control retains", "gap closed"],
            [
                [arm.get("budget", ""), arm["tokens"], _interval(arm, "retained", "retained"),
                 _figure(arm["control_retained"]), _interval(arm, "gap_closed", "gap")]
                for arm in arms
            ],
        ),
    ]  # fmt: skip
    return "\n".join(lines)


def _licenses(manifest: Mapping[str, Any]) -> str:
    total = manifest["totals"]["tokens_out"]
    rows = manifest["licenses"]
    shown = [[value_of(row["source"]), row["license"], *amount(row, total)] for row in rows[:MOST_ROWS]]
    lines = ["## Licences", "", "As the input or the recipe says, nothing guessed:", "",
             *table(["source", "licence", "documents", "tokens", "of tokens"], shown)]  # fmt: skip
    if len(rows) > MOST_ROWS:
        lines += ["", f"And {counted(len(rows) - MOST_ROWS, 'more row')}, which `manifest.json` lists."]
    unknown = sum(row["tokens"] for row in rows if row["license"] == UNKNOWN)
    if unknown:
        lines += ["", f"**Of {share(unknown, total)} of the tokens the licence is unknown.**"]
    return "\n".join(lines)


def _limits(manifest: Mapping[str, Any]) -> str:
    """What a user must not take for granted."""
    recipe = manifest["recipe"]
    found = []
    if manifest["tokenizer"] == "estimate":
        found.append("Numbers of tokens are estimates by bytes and script; a tokenizer will count others.")
    hits = manifest["decontamination"]
    if hits is None:
        found.append("It was not searched for text of evaluation sets.")
    else:
        found.append(
            f"It was searched for {hits['ngram']} words in a row of {counted(hits['items'], 'item')} in "
            f"{counted(hits['benchmarks'], 'file')} of evaluation sets ({hits['items_hit']:,} items were found); text "
            "in other words is not found by that."
        )
    action = recipe["tier1"]["pii"]["action"]
    told = {
        "redact": "E-mail addresses, telephone numbers and the like were redacted where rules find them; names were "
        "not looked for.",
        "drop": "Documents in which rules find e-mail addresses, telephone numbers and the like were dropped; names "
        "were not looked for.",
    }
    found.append(told.get(action, "Personal data was not removed."))
    if manifest["dedup"]["near"] is None:
        found.append("Documents that nearly equal another were not looked for.")
    if manifest["purify"]:
        bound = share(recipe["tier2"]["max_false_drop"], 1)
        found.append(
            f"A model dropped what reads like bad text. That at most {bound} of good documents are lost by it holds "
            "for documents like those of its reference."
        )
    if "language" not in manifest["mixture"]:
        found.append("Languages were not told.")
    if made := manifest["synthetic"]["documents"]:
        found.append(
            f"{counted(made, 'document')} of it a model wrote. Rules compared numbers, dates and names with the "
            "originals; wrong relations between true ones are not found by that."
        )
    if quarantined := sum("error" in file for file in manifest["inputs"]):
        found.append(f"{counted(quarantined, 'input file')} could not be read and is missing here.")
    found.append("Nothing here says whether what the texts claim is true.")
    return "\n".join(["## Limits", "", *(f"- {line}" for line in found)])


def _columns(manifest: Mapping[str, Any]) -> str:
    rows = [[column["name"], column["type"]] for column in manifest["schema"]]
    return "\n".join(["## Columns", "", *table(["column", "type"], rows)])


def _reproduce(manifest: Mapping[str, Any]) -> str:
    """What it takes to make the same bytes again."""
    recipe = as_yaml(manifest["recipe"])
    fence = "`" * max([2, *map(len, re.findall("`+", recipe))]) + "`"
    inputs = [file for file in manifest["inputs"] if "error" not in file]
    return "\n".join([
        "## How to make it again",
        "",
        f"`curate run` with {in_line(manifest['tool']['name'])} {in_line(manifest['tool']['version'])}, the recipe "
        f"below (digest `{manifest['recipe_digest']}`), and {counted(len(inputs), 'input file')}, whose paths and "
        f"hashes stand in `manifest.json` (seal `{manifest['seal']}`). `input.paths` and other places are left out of "
        "the recipe.",
        "",
        f"{fence}yaml",
        recipe.rstrip("\n"),
        fence,
    ])  # fmt: skip


def as_yaml(value: object) -> str:
    """YAML; characters that could turn text around or hide are written as escapes."""
    text = str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100))
    return text if visible(text) == text else str(yaml.safe_dump(value, sort_keys=False, width=100))


def _interval(arm: Mapping[str, Any], value: str, ends: str) -> str:
    """A figure with its interval, as far as it has one."""
    low, high = arm.get(f"{ends}_low"), arm.get(f"{ends}_high")
    whole = _figure(arm.get(value))
    return whole if low is None or high is None else f"{whole} ({_figure(low)} to {_figure(high)})"


def _figure(value: float | None) -> str:
    return "not known" if value is None else f"{value:.4f}"


def amount(row: Mapping[str, Any], total: int) -> list[Any]:
    """Documents, tokens and share of all tokens, as cells."""
    return [row["documents"], row["tokens"], share(row["tokens"], total)]


def value_of(value: str | None) -> str:
    """A value of a column, as a cell."""
    return "(none)" if value is None else value


def table(names: Iterable[object], rows: Iterable[Iterable[object]]) -> list[str]:
    """A table of Markdown; numbers with thousands apart."""
    cells = [list(map(_cell, row)) for row in rows]
    head = list(map(_cell, names))
    return [_line(head), _line(["---"] * len(head)), *map(_line, cells)]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else in_line(str(value))


def in_line(value: str) -> str:
    """Any text as text: in one line, and without what Markdown or HTML would make more of."""
    return SPECIAL.sub(r"\\\g<0>", " ".join(brief(value).split()))
