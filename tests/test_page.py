"""The page at /ui in a real browser against a real server: one text, and what concerns the whole page."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser import accessibility_violations, page
from tests.checkpoints import write_checkpoint
from tests.conftest import WORDS
from tests.servers import RunningServer, server

pytestmark = pytest.mark.slow
KEY = "a secret of the test"


def classify(opened: Page, text: str) -> None:
    before = opened.locator("#history li").count()
    opened.fill("#text", text)
    opened.click("#one-form [type=submit]")
    expect(opened.locator("#history li")).to_have_count(before + 1)


def contributions(opened: Page) -> list[float]:
    texts = opened.locator("#pieces button").all_inner_texts()
    return [float(text.rsplit(" ", 1)[1].replace("−", "-")) for text in texts]


def test_a_text_gets_its_label_scores_evidence_and_times(opened: Page) -> None:
    classify(opened, "so where is my parcel 😡 now")
    expect(opened.locator("#label")).to_have_text("delivery")
    expect(opened.locator("#bars button")).to_have_count(3)
    expect(opened.locator("#bars [aria-pressed=true]")).to_contain_text("delivery")
    expect(opened.locator("#evidence")).to_have_text("so where is my parcel 😡 now")
    assert opened.locator("#evidence mark[title]").count() > 1
    expect(opened.locator("#pass")).to_contain_text("cpu (perf_counter)")


def test_each_stage_of_the_time_begins_where_the_one_before_ends(opened: Page) -> None:
    classify(opened, "where is my parcel")
    names = ["network", "queue", "tokenize", "inference", "rest of the service"]
    expect(opened.locator("#times dt")).to_have_text(names)
    styles = [bar.get_attribute("style") or "" for bar in opened.locator("#times .fill").all()]
    begins, widths = zip(*(map(float, re.findall(r"([\d.]+)%", style)) for style in styles), strict=True)
    assert begins == pytest.approx([sum(widths[:place]) for place in range(5)], abs=0.01)
    assert sum(widths) == pytest.approx(100, abs=0.01)


def test_another_label_shows_its_own_evidence(opened: Page) -> None:
    classify(opened, "where is my parcel")
    mine = contributions(opened)
    opened.click("#bars button:has-text('refund')")
    expect(opened.locator("#why")).to_contain_text("refund")
    expect(opened.locator("#bars [aria-pressed=true]")).to_be_focused()
    assert contributions(opened) != mine
    expect(opened.locator("#label")).to_have_text("delivery")
    expect(opened.locator("#history li")).to_have_count(1)


def test_pointing_at_a_piece_tells_what_it_adds(opened: Page) -> None:
    classify(opened, "where is my parcel")
    opened.locator("#pieces button").first.hover()
    expect(opened.locator("#tip")).to_contain_text("to the logit")
    assert opened.locator("#evidence mark.chosen").count() > 0
    opened.locator("#evidence mark[title]").first.hover()
    expect(opened.locator("#tip")).to_contain_text("where")


def test_examples_and_history_bring_texts_back(opened: Page) -> None:
    example = opened.locator("#examples button").first
    text = example.inner_text()
    example.click()
    expect(opened.locator("#history li")).to_have_count(1)
    classify(opened, "five stars")
    expect(opened.locator("#label")).to_have_text("praise")
    opened.click(f"#history button:has-text({json.dumps(text)})")
    expect(opened.locator("#text")).to_have_value(text)
    expect(opened.locator("#evidence")).to_have_text(text)


def test_only_the_answer_to_the_last_question_is_shown(opened: Page) -> None:
    held: list[Route] = []
    opened.route("**/predict", lambda route: held.append(route))
    examples = opened.locator("#examples button")
    for place in (0, 1):
        with opened.expect_request("**/predict"):
            examples.nth(place).click()
    for late, count in ((held[1], 1), (held[0], 2)):
        late.continue_()
        expect(opened.locator("#history li")).to_have_count(count)
        expect(opened.locator("#evidence")).to_have_text(examples.nth(1).inner_text())


def test_markup_in_a_text_stays_text(opened: Page) -> None:
    text = "<script>document.title='caught'</script><img src=x onerror=alert(1)> refund please"
    classify(opened, text)
    expect(opened.locator("#evidence")).to_have_text(text)
    assert opened.title() != "caught"
    assert opened.locator("#result img, #result script").count() == 0


def test_languages_and_colours_are_kept(browser: Browser, service: RunningServer) -> None:
    with page(browser, service.url, color_scheme="dark") as opened:
        expect(opened.locator("html")).to_have_attribute("data-theme", "dark")
        classify(opened, "refund please")
        opened.click("#language")
        opened.click("#theme")
        expect(opened.locator("#one-form [type=submit]")).to_have_text("分类")
        expect(opened.locator("#why")).to_contain_text("依据")
        opened.reload()
        expect(opened.locator("#tab-many")).to_have_text("批量文本")
        expect(opened.locator("html")).to_have_attribute("data-theme", "light")
        expect(opened.locator("html")).to_have_attribute("lang", "zh-CN")
    with page(browser, service.url, locale="zh-CN") as opened:
        expect(opened.locator("#tab-one")).to_have_text("单条文本")


def test_the_keyboard_is_enough(opened: Page) -> None:
    opened.focus("#text")
    opened.keyboard.type("where is my parcel")
    opened.keyboard.press("Control+Enter")
    expect(opened.locator("#label")).to_have_text("delivery")
    opened.locator("#bars button").last.focus()
    opened.keyboard.press("Enter")
    expect(opened.locator("#bars button").last).to_have_attribute("aria-pressed", "true")
    opened.focus("#tab-one")
    opened.keyboard.press("ArrowRight")
    expect(opened.locator("#panel-many")).to_be_visible()
    expect(opened.locator("#tab-many")).to_be_focused()
    opened.keyboard.press("ArrowLeft")
    opened.keyboard.press("ArrowLeft")
    expect(opened.locator("#panel-code")).to_be_visible()


def test_the_code_asks_what_the_page_asks(opened: Page, service: RunningServer) -> None:
    opened.fill("#text", 'it\'s "late" \\ 退款')
    opened.click("#tab-code")
    body = json.loads(opened.inner_text("#code-curl").split("-d '", 1)[1][:-1].replace("'\\''", "'"))
    assert body["inputs"] == 'it\'s "late" \\ 退款'
    program = opened.inner_text("#code-python")
    assert f"{service.url}/predict" in program
    printed: list[Any] = []
    exec(program, {"print": printed.append})
    assert printed[0]["label"] in WORDS
    assert printed[0]["evidence"]
    shown = opened.inner_text("#code-javascript").replace("console.log(", "return (")
    assert opened.evaluate(f"async () => {{ {shown} }}")["label"] == printed[0]["label"]


@pytest.mark.parametrize("host", ["127.0.0.1", "page.test"])
def test_code_is_copied_over_plain_http_too(browser: Browser, service: RunningServer, host: str) -> None:
    url = service.url.replace("127.0.0.1", host)
    with page(browser, url, permissions=["clipboard-read", "clipboard-write"]) as opened:
        assert opened.evaluate("isSecureContext") is (host == "127.0.0.1")
        opened.fill("#text", "where is my parcel")
        opened.click("#tab-code")
        opened.click("[data-copy=curl]")
        expect(opened.locator("[data-copy=curl]")).to_have_text("Copied")
        code = opened.inner_text("#code-curl")
        opened.click("#tab-one")
        opened.fill("#text", "")
        opened.focus("#text")
        opened.keyboard.press("Control+V")
        expect(opened.locator("#text")).to_have_value(code)


def test_a_text_of_nothing_is_not_sent(opened: Page) -> None:
    opened.click("#one-form [type=submit]")
    expect(opened.locator("#notice")).to_have_text("Write or choose a text first.")
    expect(opened.locator("#result")).to_be_hidden()


def test_a_text_unlike_the_trained_ones_is_not_sure(browser: Browser, tmp_path: Path) -> None:
    unsure = write_checkpoint(tmp_path, abstention_certainty="probability", abstention_threshold=1.1)
    with server(unsure) as running, page(browser, running.url) as opened:
        classify(opened, "where is my parcel")
        expect(opened.locator("#unsure")).to_be_visible()
        expect(opened.locator("#history .answer")).to_contain_text("not sure")
        opened.click("#tab-many")
        opened.fill("#lines", "where is my parcel")
        opened.click("#many-form [type=submit]")
        expect(opened.locator("#rows tr")).to_contain_text("not sure")
        opened.select_option("#filter-label", "not sure")
        expect(opened.locator("#rows tr")).to_have_count(1)


def test_a_number_is_shown_with_its_evidence(browser: Browser, tmp_path: Path) -> None:
    with (
        server(write_checkpoint(tmp_path, problem_type="regression")) as running,
        page(browser, running.url) as opened,
    ):
        classify(opened, "where is my parcel")
        value = float(opened.inner_text("#label"))
        assert contributions(opened)
        opened.click("#tab-many")
        opened.fill("#lines", "where is my parcel")
        opened.click("#many-form [type=submit]")
        expect(opened.locator("#rows tr td").nth(1)).to_have_text(str(value))
        expect(opened.locator("#filters")).to_be_hidden()


def test_a_busy_service_is_waited_for(opened: Page) -> None:
    refusals = iter([503])

    def busy_once(route: Route) -> None:
        if next(refusals, None) is None:
            return route.continue_()
        body = {"error": "inputs: at most 1 text may be in flight", "error_type": "overloaded"}
        return route.fulfill(status=503, headers={"Retry-After": "1"}, json=body)

    opened.route("**/predict", busy_once)
    opened.click("#tab-many")
    opened.fill("#lines", "where is my parcel\nrefund please")
    opened.click("#many-form [type=submit]")
    expect(opened.locator("#count")).to_have_text("The service is busy; going on in 1 s.")
    expect(opened.locator("#rows tr")).to_have_count(2)
    refusals = iter([503])
    opened.click("#tab-one")
    opened.fill("#text", "five stars")
    opened.click("#one-form [type=submit]")
    expect(opened.locator("#notice")).to_have_text("The service is busy. Try again in 1 s.")


def test_a_service_that_comes_back_is_asked_again(browser: Browser, checkpoint: Path) -> None:
    with server(checkpoint) as running, page(browser, running.url) as opened:
        classify(opened, "where is my parcel")
        assert running.stop() == 0
        opened.fill("#text", "five stars")
        opened.click("#one-form [type=submit]")
        expect(opened.locator("#notice")).to_contain_text("The service does not answer")
        expect(opened.locator("#text")).to_have_value("five stars")
        with server(checkpoint, "--port", str(running.address[1])):
            opened.click("#one-form [type=submit]")
            expect(opened.locator("#label")).to_have_text("praise")
            expect(opened.locator("#notice")).to_be_hidden()


def test_a_key_is_asked_for_and_refusals_are_sentences(browser: Browser, checkpoint: Path) -> None:
    with (
        server(checkpoint, "--max_characters", "30", LIT_SERVER_API_KEY=KEY) as running,
        page(browser, running.url) as opened,
    ):
        opened.fill("#text", "where is my parcel")
        opened.click("#one-form [type=submit]")
        expect(opened.locator("#notice")).to_have_text("This service wants an API key.")
        opened.fill("#key", KEY)
        opened.click("#key-form [type=submit]")
        classify(opened, "where is my parcel")
        expect(opened.locator("#notice")).to_be_hidden()
        opened.click("#tab-code")
        assert KEY not in opened.content()
        expect(opened.locator("#code-curl")).to_contain_text("X-API-Key: YOUR_KEY")
        opened.click("#tab-one")
        opened.fill("#text", "x" * 31)
        opened.click("#one-form [type=submit]")
        expect(opened.locator("#notice")).to_have_text(
            "The service does not take this: inputs: must be at most 30 characters, got 31"
        )
        opened.click("#tab-many")
        opened.fill("#lines", "refund please\n" + "x" * 31 + "\nfive stars")
        opened.click("#many-form [type=submit]")
        expect(opened.locator("#rows tr")).to_have_count(3)
        expect(opened.locator("#rows tr").nth(1)).to_contain_text("must be at most 30 characters, got 31")
        expect(opened.locator("#rows tr").nth(2)).to_contain_text("praise")


def test_several_models_are_told_apart(browser: Browser, checkpoint: Path, multi_label_checkpoint: Path) -> None:
    several = f"several={multi_label_checkpoint}"
    text = "refund please and where is my parcel"
    with server(f"one={checkpoint}", "--checkpoint", several) as running, page(browser, running.url) as opened:
        expect(opened.locator("#models [aria-current=true]")).to_have_text("one")
        classify(opened, text)
        expect(opened.locator("#label")).to_have_text(re.compile("^(refund|delivery)$"))
        opened.click("#models a:has-text('several')")
        expect(opened).to_have_title("several")
        classify(opened, text)
        expect(opened.locator("#label")).to_have_text(re.compile("^(refund, delivery|delivery, refund)$"))
        opened.click("#tab-code")
        expect(opened.locator("#code-curl")).to_contain_text('"model":"several"')


def test_150_labels_and_every_piece_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    labels = [f"a rather long label of class {number}" for number in range(150)]
    by_id = {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True}
    checkpoint = write_checkpoint(tmp_path, num_filters=32, **by_id)
    with server(checkpoint) as running, page(browser, running.url, **phone) as opened:
        classify(opened, "please send the invoice to my company")
        expect(opened.locator("#bars button")).to_have_count(8)
        opened.press("#all-bars", "Enter")
        expect(opened.locator("#bars button")).to_have_count(150)
        expect(opened.locator("#pieces button")).to_have_count(8)
        opened.mouse.move(0, 0)  # pieces that appear under the pointer would speak too
        opened.press("#all-pieces", "Enter")
        expect(opened.locator("#all-pieces")).to_have_text("Show fewer")
        assert opened.locator("#pieces button").count() > 8
        weakest = opened.locator("#pieces button").last
        weakest.focus()
        expect(opened.locator("#tip")).to_have_text(weakest.get_attribute("aria-label") or "no name")
        assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_several_labels_are_listed(browser: Browser, multi_label_checkpoint: Path) -> None:
    with server(multi_label_checkpoint) as running, page(browser, running.url) as opened:
        classify(opened, "refund please and where is my parcel")
        assert set(opened.inner_text("#label").split(", ")) == {"refund", "delivery"}
        assert contributions(opened)
        opened.click("#tab-many")
        opened.fill("#lines", "refund please and where is my parcel\nthank you")
        opened.click("#many-form [type=submit]")
        expect(opened.locator("#rows tr")).to_have_count(2)
        opened.select_option("#filter-label", "delivery")
        expect(opened.locator("#rows tr")).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(browser: Browser, service: RunningServer, scheme: str) -> None:
    with page(browser, service.url, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce") as opened:
        classify(opened, "where is my parcel")
        found = accessibility_violations(opened)
        opened.click("#tab-many")
        opened.fill("#lines", "refund please")
        opened.click("#many-form [type=submit]")
        expect(opened.locator("#rows tr")).to_have_count(1)
        found += accessibility_violations(opened)
        opened.click("#tab-code")
        assert found + accessibility_violations(opened) == []
