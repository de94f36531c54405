"""What `why` and `sample` print: in colours on a terminal that has them, elsewhere with signs in their place."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from curate.display import console, counted, place, shown, visible
from curate.inspect.evidence import Band, Evidence
from curate.inspect.excerpts import Piece
from curate.inspect.percentiles import Percentiles
from curate.inspect.sample import Sample
from curate.inspect.text_diff import Change
from curate.inspect.why import (
    COPIES_SHOWN,
    EDITS_SHOWN,
    ContaminatedPassage,
    Copies,
    Duplicate,
    Purification,
    ShownEdit,
    Story,
)
from curate.inspect.why_written import GateMeasure, Generation, SourceChunk, WrittenStory
from curate.storage.mirror import by_uri

MARK, CUT, INSERTED, DIM, HEAD = "bold black on yellow", "red strike", "green", "dim", "bold"
# Without colours: the signs around a mark, a deleted text, and an inserted text.
SIGNS = {MARK: "«»", CUT: "[--]", INSERTED: "{++}"}
STYLES = {"deleted": CUT, "inserted": INSERTED, "mark": MARK, "gap": DIM}
LONGEST_CONDITION = 160  # characters
COLUMNS = ("signal", "value", "percentile")


class Printer:
    """Prints wrapped paragraphs, headings and pieces of texts to a console, with or without colours."""

    def __init__(self) -> None:
        self.console: Console = console()
        self.colours = self.console.color_system is not None and not self.console.no_color

    def line(self, *parts: object, style: str = "", indent: int = 0) -> None:
        """Print a paragraph of parts, wrapped and indented; a part that is a `Text` keeps its style."""
        paragraph = Text.assemble(
            *(part if isinstance(part, Text) else visible(str(part)) for part in parts), style=style
        )
        for line in paragraph.wrap(self.console, max(20, self.console.width - indent - 1)):
            line.rstrip()
            self.console.print(Text(" " * indent).append_text(line) if line else "", highlight=False)

    def heading(self, title: str) -> None:
        """Print a heading after an empty line."""
        self.console.print()
        self.console.print(Text(visible(title), style=HEAD))

    def table(self, table: Table, indent: int) -> None:
        """Print an indented table."""
        self.console.print(Padding(table, (0, 0, 0, indent), expand=False), highlight=False)

    def pieces(self, pieces: Sequence[Piece] | Sequence[Change]) -> Text:
        """Pieces of a text, each in its style or with its signs."""
        text = Text.assemble(*(self.piece(piece, STYLES.get(kind, "")) for kind, piece in pieces))
        return text[1:] if pieces and pieces[0][0] == "gap" else text

    def piece(self, text: str, style: str) -> Text:
        """A piece of a text in a style, or with its signs; line feeds that were cut or inserted are shown."""
        text = visible(text)
        if style in (CUT, INSERTED):
            text = text.replace("\n", "⏎" if text.strip("\n") == "" else "⏎\n")
        if style in SIGNS and not self.colours:
            half = len(SIGNS[style]) // 2
            inner = text.strip("\n") or text  # signs belong next to the text, not on another line
            head, _, tail = text.partition(inner)
            return Text(f"{head}{SIGNS[style][:half]}{inner}{SIGNS[style][half:]}{tail}")
        return Text(f" [{text}] " if style == DIM else text, style=style)


def print_story(story: Story | WrittenStory, all_signals: bool) -> None:
    """Print what `curate.inspect.why.explain` returns; of the signals the unusual ones, or all."""
    out = Printer()
    if isinstance(story, WrittenStory):
        _print_written(out, story)
    else:
        _print_document(out, story, all_signals)


def _print_document(out: Printer, story: Story, all_signals: bool) -> None:
    _print_head(out, story)
    _print_evidence(out, story.fired)
    if story.band is not None:
        side = "outside of" if story.stage == "bands" else "within"
        out.line(f"perplexity is {side} {_band(story.band)}", style=DIM, indent=2)
    if story.purify is not None:
        _print_purification(out, story.purify)
    _print_contamination(out, story.contamination)
    if story.duplicate is not None:
        _print_duplicate(out, story.duplicate)
    _print_copies(out, story.copies)
    if count := story.written_from:
        out.heading(f"written after this one: {counted(count.candidates, 'text')}, {count.accepted:,} accepted")
    _print_edits(out, story.edits)
    _print_signals(out, story.signals, all_signals)
    if story.later:
        out.heading("later tiers")
        out.line(", ".join(f"{name} {shown(value)}" for name, value in story.later.items()), indent=2)
    if story.quality_parts:
        parts = (f"{part.score} {part.better_than:.0%} (weight {part.weight:g})" for part in story.quality_parts)
        out.line(f"quality: better than this share of the candidates by {', '.join(parts)}", style=DIM, indent=2)
    if output := story.output:
        out.heading("in the output")
        missing = "" if output.written else " (not written: the run did not finish)"
        out.line(f"{place(output.file, output.row)}{missing}", indent=2)
    if story.text_problem:
        out.console.print()
        out.line("its text is not shown: ", story.text_problem)


def _print_head(out: Printer, story: Story) -> None:
    origin = dict(story.origin)
    sizes = [f"{origin.pop(name):,} {name}" for name in ("bytes", "words", "tokens") if name in origin]
    if "bytes_after_edits" in origin:
        sizes[0] += f" ({origin.pop('bytes_after_edits'):,} after edits)"
    out.line(Text(visible(story.doc_id), style=HEAD), f"  {place(story.file, story.row)}")
    out.line(", ".join([*sizes, *(f"{name} {value}" for name, value in origin.items())]), indent=2)
    out.console.print()
    if story.kept:
        out.line(Text("kept", style="bold green"))
    else:
        _print_dropped(out, story.stage, story.reason)


def _print_dropped(out: Printer, stage: str | None, reason: str | None) -> None:
    out.line(Text("dropped", style="bold red"), f" in stage {stage}: {reason}")


def _print_evidence(out: Printer, evidence: Sequence[Evidence]) -> None:
    """Print each reason with its values and bound, its source, and its condition."""
    if not evidence:
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=not any(item.condition for item in evidence))
    table.add_column()
    for item in evidence:
        measured = str(item)
        if condition := item.condition:
            condition = condition if len(condition) <= LONGEST_CONDITION else f"{condition[:LONGEST_CONDITION]}…"
            measured = f"{measured}, {'if' if item.bound is not None else 'when'} {condition}".removeprefix(", ")
        source = ", ".join(filter(None, (item.rule_set, item.source)))
        table.add_row(Text(item.reason, style="red"), Text(visible(measured)), Text(visible(source), style=DIM))
    out.table(table, indent=2)


def _print_purification(out: Printer, purification: Purification) -> None:
    """Print p_bad and its bound, and what speaks for and against the text."""
    side = "above" if purification.p_bad > purification.bound else "within"
    stratum, documents = stratum_named(purification.stratum), counted(purification.documents, "good document")
    bound = f"the bound of {stratum}, {shown(purification.bound)}, set by {documents}"
    out.line(f"p_bad {shown(purification.p_bad)} is {side} {bound}", style=DIM, indent=2)
    if purification.attack:
        out.line(f"it resembles {purification.attack} most", style=DIM, indent=2)
    if purification.reasons:
        reasons = ", ".join(f"{visible(reason.what)} {reason.log_odds:+.2f}" for reason in purification.reasons)
        out.line(f"for and against, in log-odds: {reasons}", style=DIM, indent=2)


def _band(band: Band) -> str:
    documents = counted(band.documents, "document")
    return f"{shown(band.low)} to {shown(band.high)}, the band of {documents} of {stratum_named(band.stratum)}"


def stratum_named(stratum: Mapping[str, str | None]) -> str:
    """A stratum in words, as in `language en, length_bucket 100-299`."""
    return ", ".join(f"{name} {value}" for name, value in stratum.items()) or "the whole corpus"


def _print_contamination(out: Printer, passages: Sequence[ContaminatedPassage]) -> None:
    if passages:
        out.heading("text of evaluation sets")
    for passage in passages:
        out.line(f"{passage.benchmark}, item {passage.item}: {counted(passage.n_ngrams, 'n-gram')}", indent=2)
        if passage.passage is not None:
            out.line(out.piece(passage.passage, MARK), indent=4)


def _print_duplicate(out: Printer, duplicate: Duplicate) -> None:
    method = "exact" if duplicate.exact else "estimated by signatures"
    survivor = duplicate.survivor
    address = f"  {place(survivor.file, survivor.row)}" if survivor is not None else ""
    stays = survivor is None or survivor.kept
    heading = "the copy that stays" if stays else "the copy that it was dropped for, itself dropped by a later stage"
    other = "the copy that stays" if stays else "that copy"
    out.heading(heading)
    out.line(f"{duplicate.duplicate_of}{address}; similarity {shown(duplicate.similarity)}, {method}", indent=2)
    if survivor is not None:
        scores = f"{shown(duplicate.coarse_score)}, of {other} {shown(survivor.coarse_score)}"
        out.line(f"coarse_score {scores}", style=DIM, indent=2)
    if duplicate.problem:
        out.line(duplicate.problem, indent=2)
    elif duplicate.diff is not None and all(kind in ("same", "gap") for kind, _ in duplicate.diff):
        out.line(f"both texts are equal{'' if duplicate.equal else ' but for the personal data in them'}", indent=2)
    elif duplicate.diff is not None:
        out.line(out.piece("only in this one", CUT), ", ", out.piece(f"only in {other}", INSERTED), ":", indent=2)
        out.line(out.pieces(duplicate.diff), indent=4)


def _print_copies(out: Printer, copies: Copies) -> None:
    if not copies.count:
        return
    out.heading(f"dropped for this one: {counted(copies.count, 'copy', 'copies')}")
    table = Table.grid(padding=(0, 2))
    for copy in copies.documents:
        table.add_row(Text(visible(copy.doc_id)), copy.reason, f"similarity {shown(copy.similarity)}")
    out.table(table, indent=2)
    if copies.count > COPIES_SHOWN:
        out.line(f"and {copies.count - COPIES_SHOWN:,} more", indent=2)


def _print_written(out: Printer, story: WrittenStory) -> None:
    """Print a text that a model wrote: its source, how it was written, what gates measured, and both texts."""
    out.line(Text(visible(story.doc_id), style=HEAD), f"  written for domain {story.domain}, {story.form}")
    out.line(f"{story.n_tokens:,} tokens, language {story.language}", indent=2)
    out.console.print()
    if story.kept:
        out.line(Text("accepted", style="bold green"))
    else:
        _print_dropped(out, story.stage, story.reason)
    _print_evidence(out, story.fired)
    _print_generation(out, story.source, story.made)
    out.heading("beside its original")
    out.table(_gate_table(story.gates), indent=1)
    if story.new_facts:
        out.line("new facts: ", ", ".join(story.new_facts), indent=2)
    for title, text in (("the piece", story.original), ("what was written", story.text)):
        if text is not None:
            out.heading(title)
            out.line(text, indent=2)
    if output := story.output:
        out.heading("in the output")
        out.line(place(output.file, output.row), indent=2)
    if story.text_problem:
        out.console.print()
        out.line("the piece is not shown: ", story.text_problem)
    out.console.print()
    out.line(f"its signals: curate why {story.judged_by} {story.doc_id}", style=DIM)


def _print_generation(out: Printer, source: SourceChunk, generation: Generation) -> None:
    out.heading("how it was made")
    verdict = "kept" if source.kept else f"dropped: {source.reason}"
    chunk = f"piece {source.chunk}, bytes {source.start:,} to {source.end:,}"
    out.line(f"after {source.doc_id}  {place(source.file, source.row)} ({verdict}), {chunk}", indent=2)
    adapter = f"adapter {generation.adapter}" if generation.adapter else "no adapter"
    prompt = f"prompt {generation.prompt} {generation.prompt_sha256[:12]}…"
    out.line(f"by {generation.model}, {adapter}, {prompt}", indent=2)
    sampling = f"seed {generation.seed}, temperature {generation.temperature}, top_p {generation.top_p}"
    out.line(sampling, style=DIM, indent=2)


def _gate_table(gates: Sequence[GateMeasure]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("measure")
    for name in ("value", "at least", "at most"):
        table.add_column(name, justify="right")
    for gate in gates:
        bounds = ("" if bound is None else shown(bound) for bound in (gate.low, gate.high))
        table.add_row(gate.measure, shown(gate.value), *bounds)
    return table


def _print_edits(out: Printer, edits: Sequence[ShownEdit]) -> None:
    if not edits:
        return
    out.heading(counted(len(edits), "edit"))
    for edit in edits[:EDITS_SHOWN]:
        about = f"  stage {edit.stage}, bytes {edit.start} to {edit.end}"
        about += f", p_bad {shown(edit.p_bad)}" if edit.p_bad is not None else ""
        out.line(Text(edit.reason, style="red"), about, indent=2)
        if edit.before is not None and edit.after is not None and edit.cut is not None:
            inserted = out.piece(edit.replacement, INSERTED) if edit.replacement is not None else Text()
            cut = out.piece(_one_line(edit.cut), CUT)
            out.line(_one_line(edit.before), cut, inserted, _one_line(edit.after), indent=4)
    if len(edits) > EDITS_SHOWN:
        out.line(f"and {len(edits) - EDITS_SHOWN:,} more", indent=2)


def _one_line(text: str) -> str:
    return text.replace("\n", "⏎")


def _print_signals(out: Printer, percentiles: Percentiles, all_signals: bool) -> None:
    chosen = [signal for signal in percentiles.measured if all_signals or signal.unusual]
    stratum = f"among {counted(percentiles.documents, 'document')} of {stratum_named(percentiles.stratum)}"
    out.heading(f"{'signals' if all_signals else 'unusual signals'}, {stratum}")
    if not chosen:
        out.line("none: each lies among the middle 98%; --signals shows all", indent=2)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "signal" else "right")
    for signal in chosen:
        is_marked = all_signals and signal.unusual
        percentile = f"{signal.percentile:.1f}%" + (" !" if is_marked else "")
        table.add_row(signal.signal, shown(signal.value), percentile, style="bold" if is_marked else "")
    out.table(table, indent=1)
    if not all_signals:
        out.line("the other signals lie among the middle 98%; --signals shows all", style=DIM, indent=2)


def print_samples(folder: Path, samples: Sequence[Sample]) -> None:
    """Print the documents of `curate.inspect.sample.draw`, one after the other."""
    out = Printer()
    if not samples:
        out.line(f"{by_uri(str(folder))}: no document is like that")
    for k, sample in enumerate(samples, 1):
        out.line(f"── {k} of {len(samples)} ".ljust(min(78, out.console.width - 2), "─"), style=DIM)
        _print_sample(out, sample)


def _print_sample(out: Printer, sample: Sample) -> None:
    about = f"  {place(sample.file, sample.row)}, {counted(sample.n_tokens, 'token')}"
    out.line(Text(visible(sample.doc_id), style=HEAD), about)
    if sample.kept:
        out.line(Text("kept", style="bold green"), indent=2)
    _print_evidence(out, sample.fired)
    if sample.reason and sample.reason not in sample.reasons:
        out.line(f"cut as {sample.reason}", indent=2)
    explained = {evidence.reason for evidence in sample.fired}
    if unexplained := [reason for reason in sample.reasons if reason not in explained]:
        out.line(f"also {', '.join(unexplained)}", style=DIM, indent=2)
    if sample.band is not None:
        out.line(f"perplexity is outside of {_band(sample.band)}", style=DIM, indent=2)
    if sample.duplicate_of:
        out.line(f"a copy of {sample.duplicate_of}", indent=2)
    if sample.problem:
        out.line(sample.problem, indent=2)
    out.console.print()
    if sample.pieces is not None:
        out.line(out.pieces(sample.pieces) if sample.pieces else "(no text)", indent=2)
        out.console.print()
