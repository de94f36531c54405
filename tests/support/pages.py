"""report.html: its tables, what they count, and the page in a browser."""

import json
import re
import shutil
from contextlib import contextmanager
from html.parser import HTMLParser

import pytest

from curate.display import fields_of, json_text
from curate.ledger.run import connect
from curate.report.page import page_of


class Tables(HTMLParser):
    """The tables of a page by their captions, as rows of texts."""

    def __init__(self):
        super().__init__()
        self.found, self.ids, self.caption, self.cell = {}, set(), None, None

    def handle_starttag(self, tag, attributes):
        self.ids |= {value for name, value in attributes if name == "id"}
        if tag == "caption":
            self.caption = self.cell = ""
        elif tag == "tr":
            self.found.setdefault(self.caption, []).append([])
        elif tag in ("td", "th"):
            self.cell = ""

    def handle_endtag(self, tag):
        if tag == "caption":
            self.caption, self.cell = self.cell, None
        elif tag in ("td", "th"):
            self.found[self.caption][-1].append(self.cell)
            self.cell = None

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += data


def read(path):
    tables = Tables()
    text = path.read_text("utf-8")
    tables.feed(re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL))
    return tables


def counted(run):
    """What the sections of a page on a run are made of, as JSON."""
    with connect(run) as connection:
        page = page_of(run, connection)
    strata, signals = page.strata, page.signals
    cards = [*signals.first, *signals.more, *signals.stable] if signals else []
    sections = {
        "flow": page.flow,
        "signals": {card.name: fields_of(card.counts) | {"marks": card.marks} for card in cards},
        "strata": strata and fields_of(strata) | {"rows": [row for row, _ in strata.rows]},
        "clusters": page.clusters.sizes if page.clusters else [],
        "dropped": page.dropped.dimensions if page.dropped else [],
        "domains": [domain for domain, _ in page.domains.domains] if page.domains else [],
    }
    return json.loads(json_text(sections))


def numbers(row):
    return [int(cell.replace(",", "")) for cell in row if re.fullmatch(r"[\d,]+", cell)]


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS.split())
        yield found
        found.close()


@contextmanager
def opened(browser, path, **context):
    """A page with all that it asked for and complained of, in `page.asked` and `page.said`."""
    page = browser.new_context(**context).new_page()
    page.asked, page.said = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.goto(path.as_uri())
    yield page
    page.context.close()


def unfold(page):
    """Open what is folded, show every document, and scroll from top to end."""
    page.evaluate("""async () => {
        document.querySelectorAll("details").forEach((one) => { one.open = true; });
        document.querySelectorAll(".doc").forEach((one) => { one.hidden = false; });
        for (let y = 0; y < document.documentElement.scrollHeight; y += 800) {
            window.scrollTo({ top: y, behavior: "instant" });
            await new Promise(requestAnimationFrame);
        }
    }""")
