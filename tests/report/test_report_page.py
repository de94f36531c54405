"""report.html in a browser: it runs without a network, for every reader, and nothing in it comes alive."""

import pytest
from support.commands import carry_out
from support.corpora import PROSE, write_shard
from support.pages import opened, unfold
from support.recipes import write_recipe

from curate.report.page import write_report

SCRIPT = "</script><script>window.hurt=1</script>"
IMAGE = '<img src=x onerror="window.hurt=2">'
BROKEN = "<!--<script>&quot;"
BIDI = "\u202e\u2066<svg onload='window.hurt=3'>\u2028';window.hurt=4//"
URL = "https://www.\"'<b>.example/p?a=1&amp;b=2"


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


def until(page, expression):
    """Wait until an expression is true; Playwright's own waiting is refused by the page's policy."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(expression)


def test_a_browser_asks_nothing_of_the_network_and_has_nothing_to_complain_of(browser, page_of_demo):
    with opened(browser, page_of_demo, offline=True) as page:
        unfold(page)
        page.click("text=tokens >> nth=0")
        page.check("#log-counts")
        page.click("#theme")
        assert page.asked == [page_of_demo.as_uri()]
        assert page.said == []


def test_every_bar_and_dot_lies_where_its_number_says(browser, page_of_demo):
    with opened(browser, page_of_demo) as page:
        page.evaluate("document.querySelectorAll('table.short').forEach((one) => one.classList.remove('short'))")
        rows = """(caption) => [...document.querySelectorAll("table")]
            .find((one) => one.caption.textContent.startsWith(caption)).tBodies[0].rows"""
        reasons = page.evaluate(f"""() => [...({rows})("What each reason")].map((row) =>
            [row.querySelector(".track i").getBoundingClientRect().width, Number(row.cells[2].dataset.v)])""")
        groups = page.evaluate(f"""() => [...({rows})("Dropped by input.source")].map((row) => {{
            const track = row.querySelector(".dots").getBoundingClientRect();
            const dot = row.querySelector(".dot").getBoundingClientRect();
            return [(dot.left + dot.width / 2 - track.left) / track.width, Number(row.cells[4].dataset.v)];
        }})""")
    assert len(reasons) == 14
    widest, most = reasons[0]
    assert most == 225
    assert all(abs(width / widest - count / most) < 0.02 for width, count in reasons)
    assert len(groups) > 10
    assert all(abs(place - rate) < 0.01 for place, rate in groups)


def test_every_histogram_stands_with_its_numbers_and_tells_what_the_pointer_is_on(browser, page_of_demo):
    with opened(browser, page_of_demo) as page:
        unfold(page)
        cards = page.evaluate("""[...document.querySelectorAll(".card")].map((card) => [
            card.querySelector("h3").textContent, card.querySelectorAll("path").length,
            card.querySelectorAll("tbody tr").length,
            card.querySelector(".histogram").dataset.bars.split(" ").length])""")
        assert len(cards) >= 30
        assert [card for card in cards if card[1] != 4 or card[2] != card[3] or not card[2]] == []
        card = page.locator(".card", has_text="n_stop_words").first
        card.scroll_into_view_if_needed()
        box = card.locator("svg").bounding_box()
        page.mouse.move(box["x"] + box["width"] - 3, box["y"] + 40)
        last = [cell.inner_text() for cell in card.locator("tbody tr").last.locator("th, td").all()]
        assert card.locator(".reading").inner_text() == f"{last[0]}: {last[1]} documents, {last[2]} kept"


def test_bars_follow_what_is_counted(browser, page_of_demo):
    width = "document.querySelector('section[aria-labelledby=reasons] tbody .track i').getBoundingClientRect().width"
    with opened(browser, page_of_demo) as page:
        before = page.evaluate(width)
        page.check("section[aria-labelledby=strata] input[value=tokens]")
        assert page.is_checked("section[aria-labelledby=flow] input[value=tokens]")
        assert page.evaluate(width) < before / 4  # too_few_words: most documents, few tokens
        assert page.locator(".flow li", has_text="near").locator(".left").inner_text().startswith("504,148")


@pytest.mark.parametrize("width", [1400, 400])
def test_no_label_of_the_flow_lies_over_another(browser, page_of_demo, width):
    labels = """[...document.querySelectorAll(".flow .stage, .flow .left, .flow .reasons > *")].map((one) => {
        const box = one.getBoundingClientRect();
        return [one.textContent, box.left, box.top, box.right, box.bottom];
    })"""
    with opened(browser, page_of_demo, viewport={"width": width, "height": 900}) as page:
        boxes = page.evaluate(labels)
    assert len(boxes) > 15
    for k, (name, left, top, right, bottom) in enumerate(boxes):
        assert 0 <= left < right <= width, name
        for other, x, y, x_end, y_end in boxes[k + 1 :]:
            assert x_end <= left or right <= x or y_end <= top + 1 or bottom <= y + 1, (name, other)


def test_a_reason_leads_to_its_documents_and_a_command_can_be_copied(browser, page_of_demo):
    shown = "[...document.querySelectorAll('.doc')].filter((one) => !one.hidden).map((one) => one.dataset.reasons)"
    with opened(browser, page_of_demo, permissions=["clipboard-read", "clipboard-write"]) as page:
        first = page.evaluate(shown)
        assert len(first) == len({reasons.split()[0] for reasons in first}) == 15  # one of each reason, and a kept one
        page.click("section[aria-labelledby=reasons] a:has-text('near_duplicate')")
        found = page.evaluate(shown)
        assert found
        assert all("near_duplicate" in reasons.split() for reasons in found)
        assert page.locator(".filter code").inner_text().endswith(" --reason near_duplicate")
        document = page.locator(".doc[data-reasons=near_duplicate]").first
        document.locator("summary").click()
        assert document.locator("blockquote").inner_text()
        document.locator("button", has_text="Copy").click()
        until(page, "[...document.querySelectorAll('.doc button')].some((one) => one.textContent === 'Copied')")
        assert page.evaluate("navigator.clipboard.readText()") == document.locator(".command code").inner_text()
        page.select_option("#filter", "too_many_hashes")
        marked = page.locator(".doc[data-reasons~=too_many_hashes]").first
        marked.locator("summary").click()
        assert marked.locator("mark").first.inner_text().strip("#") == ""
        page.select_option("#filter", "*")
        assert len(page.evaluate(shown)) == 90


def test_the_colours_that_a_reader_chose_are_remembered(browser, page_of_demo):
    theme = "document.documentElement.dataset.theme"
    with opened(browser, page_of_demo, color_scheme="light") as page:
        assert page.inner_text("#theme") == "Use dark colours"
        page.click("#theme")
        assert (page.inner_text("#theme"), page.evaluate(theme)) == ("Use light colours", "dark")
        page.reload()
        assert (page.inner_text("#theme"), page.evaluate(theme)) == ("Use light colours", "dark")


def test_a_long_table_is_folded_and_one_that_is_wider_than_the_screen_says_so(browser, page_of_demo):
    rows = "section[aria-labelledby=scorecard] tbody tr"
    hint = "getComputedStyle(document.querySelector('section[aria-labelledby=reasons] caption'), '::after').content"
    with opened(browser, page_of_demo, viewport={"width": 400, "height": 900}) as page:
        assert page.locator(f"{rows}:visible").count() == 10
        button = page.locator("section[aria-labelledby=scorecard] .more")
        assert button.inner_text() == f"Show all {page.locator(rows).count()}"
        button.click()
        assert page.locator(f"{rows}:visible").count() == page.locator(rows).count() > 30
        until(page, f"{hint}.includes('scroll sideways')")
        page.set_viewport_size({"width": 1400, "height": 900})
        until(page, f"!{hint}.includes('scroll')")


def test_the_page_is_short_enough_to_be_read(browser, page_of_demo):
    heights = {}
    for width in (1400, 400):
        with opened(browser, page_of_demo, viewport={"width": width, "height": 900}) as page:
            heights[width] = page.evaluate("document.documentElement.scrollHeight")
    assert heights[1400] < 9_380  # a third of 28,142, and of 52,488: what it was with every chart and text unfolded
    assert heights[400] < 17_490


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_and_charts_are_light_or_dark_as_the_reader_likes_and_can_be_switched(browser, page_of_demo, scheme):
    look = """[getComputedStyle(document.body).backgroundColor,
        getComputedStyle(document.querySelector(".flow .stage")).color]"""
    light = ["rgb(252, 252, 250)", "rgb(28, 32, 36)"]
    dark = ["rgb(21, 24, 27)", "rgb(231, 231, 227)"]
    with opened(browser, page_of_demo, color_scheme=scheme) as page:
        assert page.evaluate(look) == (light if scheme == "light" else dark)
        page.click("#theme")
        assert page.evaluate(look) == (dark if scheme == "light" else light)
        assert page.inner_text("#theme") == f"Use {scheme} colours"


def test_no_page_is_wider_than_its_window(browser, page_of_demo, hostile):
    for path, widths in ((page_of_demo, (320, 390, 1320)), (hostile, (390,))):
        with opened(browser, path, viewport={"width": 800, "height": 844}) as page:
            unfold(page)
            for width in widths:
                page.set_viewport_size({"width": width, "height": 844})
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
        assert page.evaluate(focused) == ["A", "", "#summary"]
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        assert page.evaluate(focused) == ["MAIN", "main", ""]
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.name") == "unit-0"
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
        unfold(page)
        body = page.inner_text("main")
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
        page.click("section[aria-labelledby=reasons] a")
        page.click(".doc:not([hidden]) button:has-text('Copy')")
        assert page.evaluate("window.hurt") is None
        assert page.locator("main script, main img, main b:has(script), main u, main svg[onload]").count() == 0
        assert (page.asked, page.said) == ([hostile.as_uri()], [])


def test_without_scripts_charts_tables_and_documents_remain(browser, page_of_demo):
    with opened(browser, page_of_demo, java_script_enabled=False) as page:
        assert page.locator("table").first.is_hidden()  # the numbers of the flow, folded
        assert page.locator("section[aria-labelledby=scorecard] tbody tr:visible").count() > 30
        assert page.locator(".card svg").first.is_visible()
        assert page.locator(".doc summary:visible").count() == 90
        assert page.locator("a[href='#of-near_duplicate']").count() > 0
        assert page.locator("#of-near_duplicate").count() == 1
        for control in ("#theme", "#filter", ".units"):
            assert not page.locator(control).first.is_visible()


def test_paper_is_light_whatever_the_screen_is(browser, page_of_demo):
    with opened(browser, page_of_demo, color_scheme="dark") as page:
        page.evaluate("""window.addEventListener("beforeprint", () => {
            window.printed = document.documentElement.dataset.theme; })""")
        page.pdf()
        assert page.evaluate("window.printed") == "light"
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
