"""Notices in a run's report and exports once they no longer belong to the decisions in force.

The notices are set before anything changes that the manifest describes. They are removed when the report or export is
rebuilt, or when a later run makes the same decisions.
"""

import hashlib
import json
import shlex
from collections.abc import Iterator
from pathlib import Path

from curate.storage.files import committed
from curate.storage.mirror import by_uri, is_mirror

REPORT = "report.html"
EXPORTS = "export"  # the folder of exports within a run
NOTICE = "SUPERSEDED.md"  # in an export
# In a report; text from data is escaped and cannot contain these characters.
HIDDEN_NOTICE = '<p class="note" id="superseded" hidden>'
VISIBLE_NOTICE = '<p class="note" id="superseded">'


def supersede(run: Path) -> None:
    """Show the notice in a run's report, and write it into its exports."""
    supersede_report(run)
    for folder in _exports(run):
        with committed(folder / NOTICE) as aside:
            aside.write_text(
                "# Superseded\n\nThis export was made of decisions that are no longer in force: its run was "
                f"executed again since. Rebuild it:\n\n    {export_command(run, folder)}\n",
                "utf-8",
            )


def export_command(run: Path, folder: Path) -> str:
    """The command that rebuilds an export of a run with the same options.

    For a run on an object store it writes to a local folder, as all exports do.
    """
    out = EXPORTS if is_mirror(run) else str(run / EXPORTS)
    words = ["curate", "export", by_uri(str(run)), "--to", folder.name, "--out", out, *_options_of(folder)]
    return shlex.join([*words, "--overwrite"])


def _options_of(folder: Path) -> list[str]:
    """The command-line options of an export, from its export.json; none where that is damaged."""
    try:
        options = json.loads((folder / "export.json").read_text("utf-8"))["options"]
        arguments = ["--validation", str(options["validation"])] if options["validation"] else []
        if tokenizer := options.get("tokenizer"):
            arguments += ["--tokenizer", str(tokenizer["name"]), "--eos", str(tokenizer["eos"])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    return arguments


def supersede_report(run: Path) -> None:
    """Show the notice at the top of a run's report."""
    report = run / REPORT
    if report.is_file() and HIDDEN_NOTICE in (page := report.read_text("utf-8", "replace")):
        with committed(report) as aside:
            aside.write_text(page.replace(HIDDEN_NOTICE, VISIBLE_NOTICE, 1), "utf-8")


def is_superseded(run: Path) -> bool:
    """Whether the run has a report that shows the notice, or that comes from a version without notices."""
    report = run / REPORT
    return report.is_file() and HIDDEN_NOTICE not in report.read_text("utf-8", "replace")


def superseded_exports(run: Path) -> list[Path]:
    """The exports of a finished run that belong to other decisions; remove the notice from all others."""
    manifest = hashlib.sha256((run / "manifest.json").read_bytes()).hexdigest()
    superseded = []
    for folder in _exports(run):
        if not (folder / NOTICE).is_file():
            continue
        if _manifest_of(folder) == manifest:
            (folder / NOTICE).unlink()
        else:
            superseded.append(folder)
    return superseded


def _exports(run: Path) -> Iterator[Path]:
    """The folders of a run's finished exports."""
    yield from sorted(path.parent for path in (run / EXPORTS).glob("*/export.json"))


def _manifest_of(folder: Path) -> str | None:
    """The hash of the manifest that an export was made from; None for an export of several runs, or a damaged one."""
    try:
        [source] = json.loads((folder / "export.json").read_text("utf-8"))["sources"]
        return str(source["manifest_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
