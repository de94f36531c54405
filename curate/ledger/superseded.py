"""What a run leaves that others read, and that says so when it no longer belongs to the decisions in force.

Before anything that a manifest describes changes, the report and the exports within the run get a notice; it goes when
they are rebuilt, or a later run decides as before.
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
HIDDEN_NOTICE = (
    '<p class="note" id="superseded" hidden>'  # in a report: nothing that comes from data has these characters
)
VISIBLE_NOTICE = '<p class="note" id="superseded">'


def supersede(run: Path) -> None:
    """Put the notice on top of a run's report, and into its exports."""
    supersede_report(run)
    for folder in _exports(run):
        with committed(folder / NOTICE) as aside:
            aside.write_text(
                "# Superseded\n\nThis export was made of decisions that are no longer in force: its run was "
                f"executed again since. Rebuild it:\n\n    {export_command(run, folder)}\n",
                "utf-8",
            )


def export_command(run: Path, folder: Path) -> str:
    """The command that rebuilds an export within a run, with the options of the first time.

    Of a run on an object store it writes to a local folder: exports are written to no other.
    """
    out = EXPORTS if is_mirror(run) else str(run / EXPORTS)
    words = ["curate", "export", by_uri(str(run)), "--to", folder.name, "--out", out, *_options_of(folder)]
    return shlex.join([*words, "--overwrite"])


def _options_of(folder: Path) -> list[str]:
    """The options of an export as its export.json tells of them; none of a damaged one."""
    try:
        options = json.loads((folder / "export.json").read_text("utf-8"))["options"]
        words = ["--validation", str(options["validation"])] if options["validation"] else []
        if tokenizer := options.get("tokenizer"):
            words += ["--tokenizer", str(tokenizer["name"]), "--eos", str(tokenizer["eos"])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    return words


def supersede_report(run: Path) -> None:
    """Put the notice on top of a run's report."""
    report = run / REPORT
    if report.is_file() and HIDDEN_NOTICE in (page := report.read_text("utf-8", "replace")):
        with committed(report) as aside:
            aside.write_text(page.replace(HIDDEN_NOTICE, VISIBLE_NOTICE, 1), "utf-8")


def is_superseded(run: Path) -> bool:
    """Whether the run has a report, and that has the notice, or is of a version that knew none."""
    report = run / REPORT
    return report.is_file() and HIDDEN_NOTICE not in report.read_text("utf-8", "replace")


def superseded_exports(run: Path) -> list[Path]:
    """The exports within a finished run that are of other decisions; the notice goes from those that are of these."""
    manifest = hashlib.sha256((run / "manifest.json").read_bytes()).hexdigest()
    found = []
    for folder in _exports(run):
        if not (folder / NOTICE).is_file():
            continue
        if _manifest_of(folder) == manifest:
            (folder / NOTICE).unlink()
        else:
            found.append(folder)
    return found


def _exports(run: Path) -> Iterator[Path]:
    """The folders of finished exports within a run."""
    yield from sorted(path.parent for path in (run / EXPORTS).glob("*/export.json"))


def _manifest_of(folder: Path) -> str | None:
    """The hash of the manifest that an export was made of; None for one of several runs, or a damaged one."""
    try:
        [source] = json.loads((folder / "export.json").read_text("utf-8"))["sources"]
        return str(source["manifest_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
