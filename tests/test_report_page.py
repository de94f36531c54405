"""report.html in a browser: it runs without a network, for every reader, and nothing in it comes alive."""

import shutil
from contextlib import contextmanager

import pytest
from conftest import PROSE, carry_out, write_recipe, write_shard

from curate.report import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
SCRIPT = "</script><script>window.hurt=1</script>"
IMAGE = '<img src=x onerror="window.hurt=2">'
BROKEN = "<!--<script>&quot;"
BIDI = "\u202e\u2066<svg onload='window.hurt=3'>\u2028';window.hurt=4//"
URL = "https://www.\"'<b>.example/p?a=1&amp;b=2"


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS.split())
        yield found
        found.close()


@pytest.fixture(scope="module")
def page_of_demo(demo, tmp_path_factory):
    return write_report(demo, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The report of a corpus whose every value tries to break out of where it is shown."""
    folder = tmp_path_factory.mktemp("hostile")
    sources = [SCRIPT, IMAGE, BROKEN, BIDI]
    texts = [f"<b>bold</b>{SCRIPT} {k} " + (PROSE if k % 2 else "") for k in range(120)]
    columns = {"id": [f"{IMAGE}{k}" for k in range(120)], "<u>kind": [f"{SCRIPT}{k % 2}" for k in range(120)]}
    write_shard(folder / "in" / "a&<i>.parquet", texts, source=sources * 30, url=[URL] * 120, **columns)
    rules = [{"reason": "odd", "when": "n_words < 40 AND '</script><b>' <> ''"}]
    source = {"paths": [str(folder / "in")], "id": "id", "strata": ["source", "<u>kind"]}
    recipe, run = write_recipe(folder, "", input=source, tier1={"rules": rules})
    carry_out(recipe)
    return write_report(run)


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


def until(page, expression):
    """Wait until an expression is true; Playwright's own waiting is refused by the page's policy."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(expression)


def draw_everything(page):
    """Unfold what is folded and scroll to every chart."""
    page.evaluate("""async () => {
        document.querySelectorAll("details").forEach((one) => { one.open = true; });
        for (const plot of document.querySelectorAll(".plot")) {
            plot.scrollIntoView({ behavior: "instant" });
            await new Promise(requestAnimationFrame);
        }
    }""")
    until(page, "document.querySelectorAll('.plot:not(.drawn)').length === 0")


def test_a_browser_asks_nothing_of_the_network_and_has_nothing_to_complain_of(browser, page_of_demo):
    with opened(browser, page_of_demo, offline=True) as page:
        draw_everything(page)
        page.click("text=tokens >> nth=0")
        page.check("#log-counts")
        page.click("#theme")
        assert page.asked == [page_of_demo.as_uri()]
        assert page.said == []


def test_every_chart_is_drawn_and_has_a_table_beside_it(browser, page_of_demo):
    with opened(browser, page_of_demo) as page:
        draw_everything(page)
        charts = page.evaluate(
            """[...document.querySelectorAll(".plot")].map((plot) => [
            plot.dataset.chart, plot.querySelectorAll("svg").length,
            plot.querySelectorAll("path").length, plot.getAttribute("aria-label").length,
            (plot.closest("article") ?? plot.closest("section")).querySelectorAll("table").length])"""
        )
    assert len(charts) >= 40
    assert [chart for chart in charts if 0 in chart[1:]] == []
    kinds = {name.split(":")[0] for name, *_ in charts}
    assert kinds == {"flow", "reasons", "signal", "strata", "dropped", "clusters"}


def test_bars_are_as_many_as_reasons_and_follow_what_is_counted(browser, page_of_demo):
    with opened(browser, page_of_demo) as page:
        draw_everything(page)
        bars = "[...document.querySelectorAll('[data-chart=reasons] .ytick text')].map((one) => one.textContent)"
        before = page.evaluate(bars)
        page.check("input[name=unit-strata][value=tokens]")
        after = page.evaluate(bars)
    assert (len(before), len(after)) == (14, 14)
    assert (before[0], after[0]) == ("too_few_words", "near_duplicate")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_and_charts_are_light_or_dark_as_the_reader_likes_and_can_be_switched(browser, page_of_demo, scheme):
    look = """[getComputedStyle(document.body).backgroundColor,
        getComputedStyle(document.querySelector("[data-chart=reasons] .ytick text")).fill]"""
    light = ["rgb(252, 252, 250)", "rgb(28, 32, 36)"]
    dark = ["rgb(21, 24, 27)", "rgb(231, 231, 227)"]
    with opened(browser, page_of_demo, color_scheme=scheme) as page:
        page.locator("[data-chart=reasons]").scroll_into_view_if_needed()
        page.wait_for_selector("[data-chart=reasons].drawn .ytick text")
        assert page.evaluate(look) == (light if scheme == "light" else dark)
        page.click("#theme")
        assert page.evaluate(look) == (dark if scheme == "light" else light)
        assert page.get_attribute("#theme", "aria-pressed") == str(scheme == "light").lower()


def test_no_page_is_wider_than_its_window(browser, page_of_demo, hostile):
    as_wide = "[...document.querySelectorAll('.plot')].every((one) => one.dataset.width == one.clientWidth)"
    for path, widths in ((page_of_demo, (320, 390, 1320)), (hostile, (390,))):
        with opened(browser, path, viewport={"width": 800, "height": 844}) as page:
            draw_everything(page)
            for width in widths:
                page.set_viewport_size({"width": width, "height": 844})
                until(page, as_wide)
                assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_everything_can_be_reached_by_the_keyboard(browser, page_of_demo):
    focused = "[document.activeElement.tagName, document.activeElement.id, document.activeElement.hash ?? '']"
    with opened(browser, page_of_demo) as page:
        page.keyboard.press("Tab")
        assert page.evaluate(focused) == ["A", "", "#main"]
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        assert page.locator(".skip").bounding_box()["x"] >= 0
        page.keyboard.press("Tab")
        assert page.evaluate(focused) == ["BUTTON", "theme", ""]
        page.keyboard.press("Enter")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        page.keyboard.press("Tab")
        assert page.evaluate(focused) == ["A", "", "#figures"]
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        assert page.evaluate(focused) == ["MAIN", "main", ""]
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.name") == "unit-flow"
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.value") == "tokens"
        controls = "[...document.querySelectorAll('button, a, input, summary, .scroll')]"
        assert page.evaluate(f"{controls}.filter((one) => one.tabIndex < 0).length") == 0


def test_a_table_is_sorted_by_the_heading_that_is_pressed(browser, page_of_demo):
    table = "section[aria-labelledby=scorecard] table"
    first = f"[...document.querySelectorAll('{table} tbody tr')].slice(0, 3).map((row) => row.cells[0].textContent)"
    with opened(browser, page_of_demo) as page:
        page.locator(f"{table} thead button", has_text="psi").press("Enter")
        assert page.evaluate(first) == ["n_stop_words", "n_words", "stop_word_ratio"]
        assert page.locator(f"{table} th[aria-sort]").get_attribute("aria-sort") == "descending"
        page.locator(f"{table} thead button", has_text="signal").click()
        assert page.evaluate(first) == ["alpha_ratio", "alpha_word_ratio", "bits_per_byte"]


def test_hostile_values_are_shown_as_they_are_and_do_nothing(browser, hostile):
    source = hostile.read_text("utf-8")
    assert SCRIPT not in source
    assert "<img" not in source
    with opened(browser, hostile) as page:
        draw_everything(page)
        body = page.inner_text("main")
        marks = page.evaluate("[...document.querySelectorAll('.plot text')].map((one) => one.textContent)")
        for value in (
            SCRIPT,
            f"{IMAGE}7",
            BROKEN,
            "<svg onload='window.hurt=3'>",
            "<u>kind",
            "a&<i>.parquet",
            "<b>bold</b>",
            "'</script><b>' <> ''",
        ):
            assert value in body, value
        assert {SCRIPT, IMAGE, BROKEN, "\"'<b>.example"} <= set(marks)
        page.hover("[data-chart=reasons] .bars path >> nth=0", force=True)
        assert page.evaluate("window.hurt") is None
        assert page.locator("main script, main img, main b:has(script), main u").count() == 0
        assert (page.asked, page.said) == ([hostile.as_uri()], [])


def test_without_scripts_the_tables_remain(browser, page_of_demo):
    with opened(browser, page_of_demo, java_script_enabled=False) as page:
        assert page.locator("table").first.is_visible()
        assert not page.locator(".plot").first.is_visible()
        assert not page.locator("#theme").is_visible()


def test_on_paper_every_open_chart_is_drawn_though_nobody_scrolled_there(browser, page_of_demo):
    with opened(browser, page_of_demo, color_scheme="dark") as page:
        page.pdf()
        shown = page.locator("[data-chart^=dropped].drawn")
        assert shown.count() == page.locator("[data-chart^=dropped]").count() > 0
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
