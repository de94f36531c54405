"""What `why` and `sample` print: told by colours in a terminal, and by signs where there are none."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from curate.display import console, counted, place, shown, visible
from curate.inspect.excerpts import Piece
from curate.inspect.why import COPIES_SHOWN, EDITS_SHOWN
from curate.storage.mirror import by_uri

MARK, CUT, PUT, DIM, HEAD = "bold black on yellow", "red strike", "green", "dim", "bold"
# Where colours do not show, signs do: around a mark, what was deleted, and what was inserted.
SIGNS = {MARK: "«»", CUT: "[--]", PUT: "{++}"}
KINDS = {"deleted": CUT, "inserted": PUT, "mark": MARK, "gap": DIM}
LONGEST_CONDITION = 160  # characters
NAMES = ("signal", "value", "percentile")


class Teller:
    """A console, and whether it shows colours."""

    def __init__(self) -> None:
        self.console: Console = console()
        self.colours = self.console.color_system is not None and not self.console.no_color

    def line(self, *parts: object, style: str = "", indent: int = 0) -> None:
        """Print one paragraph of texts from data, of which `Text` has its own style, wrapped and indented."""
        whole = Text.assemble(*(part if isinstance(part, Text) else visible(str(part)) for part in parts), style=style)
        for line in whole.wrap(self.console, max(20, self.console.width - indent - 1)):
            line.rstrip()
            self.console.print(Text(" " * indent).append_text(line) if line else "", highlight=False)

    def heading(self, title: str) -> None:
        """Print a heading with an empty line before it."""
        self.console.print()
        self.console.print(Text(visible(title), style=HEAD))

    def pieces(self, pieces: Sequence[Piece | tuple[str, str]]) -> Text:
        """Pieces of a text, each in its style or with its signs."""
        whole = Text.assemble(*(self.piece(text, KINDS.get(kind, "")) for kind, text in pieces))
        return whole[1:] if pieces and pieces[0][0] == "gap" else whole

    def piece(self, text: str, style: str) -> Text:
        """A piece of a text in a style, or with its signs; line feeds that were cut or put are shown."""
        text = visible(text)
        if style in (CUT, PUT):
            text = text.replace("\n", "⏎" if text.strip("\n") == "" else "⏎\n")
        if style in SIGNS and not self.colours:
            half = len(SIGNS[style]) // 2
            inner = text.strip("\n") or text  # signs stand beside what they are about, not on the next line
            before, _, behind = text.partition(inner)
            return Text(f"{before}{SIGNS[style][:half]}{inner}{SIGNS[style][half:]}{behind}")
        return Text(f" [{text}] " if style == DIM else text, style=style)


def print_story(story: Mapping[str, Any], whole: bool) -> None:
    """All of `curate.inspect.why.explain`; of the signals those that are unusual, or with `whole` all."""
    tell = Teller()
    if story.get("written"):
        _tell_written(tell, story)
        return
    _tell_head(tell, story)
    _tell_fired(tell, story["fired"])
    if story["band"]:
        where = "outside of" if story["stage"] == "bands" else "within"
        tell.line(f"perplexity is {where} {_band(story['band'])}", style=DIM, indent=2)
    if story["purify"]:
        _tell_purify(tell, story["purify"])
    for part in (_tell_contamination, _tell_duplicate, _tell_copies, _tell_written_from, _tell_edits):
        part(tell, story)
    _tell_signals(tell, story["signals"], whole)
    if story["later"]:
        tell.heading("later tiers")
        tell.line(", ".join(f"{name} {shown(value)}" for name, value in story["later"].items()), indent=2)
    if output := story["output"]:
        tell.heading("in the output")
        missing = "" if output["written"] else " (not written: the run did not finish)"
        tell.line(f"{place(output['file'], output['row'])}{missing}", indent=2)
    if story["text_problem"]:
        tell.console.print()
        tell.line("its text is not shown: ", story["text_problem"])


def _tell_head(tell: Teller, story: Mapping[str, Any]) -> None:
    origin = dict(story["origin"])
    sizes = [f"{origin.pop(name):,} {name}" for name in ("bytes", "words", "tokens") if name in origin]
    if "bytes_after_edits" in origin:
        sizes[0] += f" ({origin.pop('bytes_after_edits'):,} after edits)"
    tell.line(Text(visible(story["doc_id"]), style=HEAD), f"  {place(story['file'], story['row'])}")
    tell.line(", ".join([*sizes, *(f"{name} {value}" for name, value in origin.items())]), indent=2)
    tell.console.print()
    if story["kept"]:
        tell.line(Text("kept", style="bold green"))
    else:
        tell.line(Text("dropped", style="bold red"), f" in stage {story['stage']}: {story['reason']}")


def _tell_fired(tell: Teller, fired: Sequence[Mapping[str, Any]]) -> None:
    """Each reason with its values against the bound, where it is from, and its condition."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=not any(one["condition"] for one in fired))
    table.add_column()
    for one in fired:
        told = one["told"]
        if condition := one["condition"]:
            condition = condition if len(condition) <= LONGEST_CONDITION else f"{condition[:LONGEST_CONDITION]}…"
            told = f"{told}, {'if' if one['bound'] is not None else 'when'} {condition}".removeprefix(", ")
        source = ", ".join(filter(None, (one["rule_set"], one["source"])))
        table.add_row(Text(one["reason"], style="red"), Text(visible(told)), Text(visible(source), style=DIM))
    if fired:
        tell.console.print(Padding(table, (0, 0, 0, 2), expand=False), highlight=False)


def _tell_purify(tell: Teller, found: Mapping[str, Any]) -> None:
    """p_bad against its bound, and what speaks for and against the text."""
    side = "above" if found["p_bad"] > found["bound"] else "within"
    tell.line(
        f"p_bad {shown(found['p_bad'])} is {side} the bound of {stratum_named(found['stratum'])}, "
        f"{shown(found['bound'])}, set by {counted(found['documents'], 'good document')}",
        style=DIM, indent=2,
    )  # fmt: skip
    if found["attack"]:
        tell.line(f"it resembles {found['attack']} most", style=DIM, indent=2)
    if found["reasons"]:
        told = ", ".join(f"{visible(one['what'])} {one['log_odds']:+.2f}" for one in found["reasons"])
        tell.line(f"for and against, in log-odds: {told}", style=DIM, indent=2)


def _band(band: Mapping[str, Any]) -> str:
    return (
        f"{shown(band['low'])} to {shown(band['high'])}, the band of {counted(band['documents'], 'document')} of "
        f"{stratum_named(band['stratum'])}"
    )


def stratum_named(stratum: Mapping[str, Any]) -> str:
    """A stratum in words, as in `language en, length_bucket 100-299`."""
    return ", ".join(f"{name} {value}" for name, value in stratum.items()) or "the whole corpus"


def _tell_contamination(tell: Teller, story: Mapping[str, Any]) -> None:
    if story["contamination"]:
        tell.heading("text of evaluation sets")
    for one in story["contamination"]:
        what = f"{one['benchmark']}, item {one['item']}: {counted(one['n_ngrams'], 'n-gram')}"
        tell.line(what, indent=2)
        if "passage" in one:
            tell.line(tell.piece(one["passage"], MARK), indent=4)


def _tell_duplicate(tell: Teller, story: Mapping[str, Any]) -> None:
    found = story["duplicate"]
    if found is None:
        return
    how = "exact" if found["exact"] else "estimated by signatures"
    where = f"  {place(found['survivor_file'], found['survivor_row'])}" if "survivor_file" in found else ""
    stays = found.get("survivor_kept", True)
    heading = "the copy that stays" if stays else "the copy that it was dropped for, itself dropped by a later stage"
    other = "the copy that stays" if stays else "that copy"
    tell.heading(heading)
    tell.line(f"{found['duplicate_of']}{where}; similarity {shown(found['similarity'])}, {how}", indent=2)
    if "coarse_score" in found:
        scores = f"{shown(found['coarse_score'])}, of {other} {shown(found['survivor_coarse_score'])}"
        tell.line(f"coarse_score {scores}", style=DIM, indent=2)
    if found.get("problem"):
        tell.line(found["problem"], indent=2)
    elif found["diff"] is not None and all(kind in ("same", "gap") for kind, _ in found["diff"]):
        tell.line(f"both texts are equal{'' if found['equal'] else ' but for the personal data in them'}", indent=2)
    elif found["diff"] is not None:
        legend = (
            tell.piece("only in this one", CUT),
            ", ",
            tell.piece(f"only in {other}", PUT),
        )
        tell.line(*legend, ":", indent=2)
        tell.line(tell.pieces(found["diff"]), indent=4)


def _tell_copies(tell: Teller, story: Mapping[str, Any]) -> None:
    copies = story["copies"]
    if not copies["count"]:
        return
    tell.heading(f"dropped for this one: {counted(copies['count'], 'copy', 'copies')}")
    table = Table.grid(padding=(0, 2))
    for one in copies["documents"]:
        table.add_row(Text(visible(one["doc_id"])), one["reason"], f"similarity {shown(one['similarity'])}")
    tell.console.print(Padding(table, (0, 0, 0, 2), expand=False))
    if copies["count"] > COPIES_SHOWN:
        tell.line(f"and {copies['count'] - COPIES_SHOWN:,} more", indent=2)


def _tell_written_from(tell: Teller, story: Mapping[str, Any]) -> None:
    if found := story["written_from"]:
        tell.heading(f"written after this one: {counted(found['candidates'], 'text')}, {found['accepted']:,} accepted")


def _tell_written(tell: Teller, story: Mapping[str, Any]) -> None:
    """A text that a model wrote: after what, how, what gates measured, and both texts."""
    source, made = story["source"], story["made"]
    about = [f"{story['n_tokens']:,} tokens", f"language {story['language']}"]
    tell.line(Text(visible(story["doc_id"]), style=HEAD), f"  written for domain {story['domain']}, {story['form']}")
    tell.line(", ".join(about), indent=2)
    tell.console.print()
    if story["kept"]:
        tell.line(Text("accepted", style="bold green"))
    else:
        tell.line(Text("dropped", style="bold red"), f" in stage {story['stage']}: {story['reason']}")
    _tell_fired(tell, story["fired"])
    tell.heading("how it was made")
    verdict = "kept" if source["kept"] else f"dropped: {source['reason']}"
    piece = f"piece {source['chunk']}, bytes {source['start']:,} to {source['end']:,}"
    tell.line(f"after {source['doc_id']}  {place(source['file'], source['row'])} ({verdict}), {piece}", indent=2)
    adapter = f"adapter {made['adapter']}" if made["adapter"] else "no adapter"
    tell.line(f"by {made['model']}, {adapter}, prompt {made['prompt']} {made['prompt_sha256'][:12]}…", indent=2)
    drawn = ", ".join(f"{name} {made[name]}" for name in ("seed", "temperature", "top_p"))
    tell.line(drawn, style=DIM, indent=2)
    tell.heading("beside its original")
    tell.console.print(Padding(_gates(story["gates"]), (0, 0, 0, 1), expand=False))
    if story["new_facts"]:
        tell.line("new facts: ", ", ".join(story["new_facts"]), indent=2)
    for title, text in (("the piece", story["original"]), ("what was written", story["text"])):
        if text is not None:
            tell.heading(title)
            tell.line(text, indent=2)
    if output := story["output"]:
        tell.heading("in the output")
        tell.line(place(output["file"], output["row"]), indent=2)
    if story["text_problem"]:
        tell.console.print()
        tell.line("the piece is not shown: ", story["text_problem"])
    tell.console.print()
    tell.line(f"its signals: curate why {story['judged_by']} {story['doc_id']}", style=DIM)


def _gates(gates: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("measure")
    for name in ("value", "at least", "at most"):
        table.add_column(name, justify="right")
    for one in gates:
        bounds = ("" if one[name] is None else shown(one[name]) for name in ("low", "high"))
        table.add_row(one["measure"], shown(one["value"]), *bounds)
    return table


def _tell_edits(tell: Teller, story: Mapping[str, Any]) -> None:
    edits = story["edits"]
    if not edits:
        return
    tell.heading(counted(len(edits), "edit"))
    for edit in edits[:EDITS_SHOWN]:
        tell.line(
            Text(edit["reason"], style="red"),
            f"  stage {edit['stage']}, bytes {edit['start']} to {edit['end']}",
            indent=2,
        )
        if "cut" in edit:
            put = tell.piece(edit["replacement"], PUT) if edit["replacement"] is not None else Text()
            around = (_one_line(edit["before"]), tell.piece(_one_line(edit["cut"]), CUT), put, _one_line(edit["after"]))
            tell.line(*around, indent=4)
    if len(edits) > EDITS_SHOWN:
        tell.line(f"and {len(edits) - EDITS_SHOWN:,} more", indent=2)


def _one_line(text: str) -> str:
    return text.replace("\n", "⏎")


def _tell_signals(tell: Teller, signals: Mapping[str, Any], whole: bool) -> None:
    chosen = [one for one in signals["measured"] if whole or one["unusual"]]
    where = f"among {counted(signals['documents'], 'document')} of {stratum_named(signals['stratum'])}"
    tell.heading(f"{'signals' if whole else 'unusual signals'}, {where}")
    if not chosen:
        tell.line("none: each lies among the middle 98%; --signals shows all", indent=2)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in NAMES:
        table.add_column(name, justify="left" if name == "signal" else "right")
    for one in chosen:
        place = f"{one['percentile']:.1f}%" + ("" if not (whole and one["unusual"]) else " !")
        style = "bold" if one["unusual"] and whole else ""
        table.add_row(one["signal"], shown(one["value"]), place, style=style)
    tell.console.print(Padding(table, (0, 0, 0, 1), expand=False))
    if not whole:
        tell.line("the other signals lie among the middle 98%; --signals shows all", style=DIM, indent=2)


def print_samples(run: Path, samples: Sequence[Mapping[str, Any]]) -> None:
    """Documents of `curate.inspect.sample.draw`, one after the other."""
    tell = Teller()
    if not samples:
        tell.line(f"{by_uri(str(run))}: no document is like that")
    for k, one in enumerate(samples, 1):
        tell.line(f"── {k} of {len(samples)} ".ljust(min(78, tell.console.width - 2), "─"), style=DIM)
        tell.line(
            Text(visible(one["doc_id"]), style=HEAD),
            f"  {place(one['file'], one['row'])}, {counted(one['n_tokens'], 'token')}",
        )
        if one["kept"]:
            tell.line(Text("kept", style="bold green"), indent=2)
        _tell_fired(tell, one["fired"])
        if one["reason"] and one["reason"] not in one["reasons"]:
            tell.line(f"cut as {one['reason']}", indent=2)
        if others := [reason for reason in one["reasons"] if reason not in {f["reason"] for f in one["fired"]}]:
            tell.line(f"also {', '.join(others)}", style=DIM, indent=2)
        if one["band"]:
            tell.line(f"perplexity is outside of {_band(one['band'])}", style=DIM, indent=2)
        if one["duplicate_of"]:
            tell.line(f"a copy of {one['duplicate_of']}", indent=2)
        if one["problem"]:
            tell.line(one["problem"], indent=2)
        tell.console.print()
        if one["pieces"] is not None:
            tell.line(tell.pieces(one["pieces"]) if one["pieces"] else "(no text)", indent=2)
            tell.console.print()
