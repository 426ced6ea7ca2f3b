"""The page at /ui in a real browser against a real server."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser import accessibility_violations, chromium, page
from tests.checkpoints import write_checkpoint
from tests.conftest import WORDS
from tests.servers import RunningServer, server

pytestmark = pytest.mark.slow
KEY = "a secret of the test"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def service(checkpoint: Path) -> Iterator[RunningServer]:
    with server(checkpoint) as running:
        yield running


@pytest.fixture
def opened(browser: Browser, service: RunningServer) -> Iterator[Page]:
    with page(browser, service.url) as found:
        yield found


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
    for name in ("network", "queue", "tokenize", "inference", "rest of the service"):
        expect(opened.locator("#times")).to_contain_text(name)
    expect(opened.locator("#pass")).to_contain_text("cpu (perf_counter)")


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


def test_lines_become_a_table(opened: Page) -> None:
    opened.click("#tab-many")
    opened.fill("#lines", "where is my parcel\n\nrefund please\nfive stars")
    opened.click("#many-form [type=submit]")
    expect(opened.locator("#rows tr")).to_have_count(3)
    labels = [row.split("\t")[1] for row in opened.locator("#rows tr").all_inner_texts()]
    assert labels == ["delivery", "refund", "praise"]
    opened.select_option("#filter-label", "refund")
    expect(opened.locator("#rows tr")).to_have_count(1)
    opened.fill("#filter-least", "1")
    expect(opened.locator("#rows tr")).to_have_count(0)


def test_a_file_of_5000_rows_is_classified_paged_and_downloaded(opened: Page, tmp_path: Path) -> None:
    texts = [
        f"{frame} {index}"
        for index in range(1000)
        for frame in ("refund please", 'a "late", courier', "love it", "退款", "=1+1")
    ]
    file = tmp_path / "texts.csv"
    with file.open("w", newline="", encoding="utf-8-sig") as lines:
        csv.writer(lines).writerows([["id", "text"], *enumerate(texts)])
    opened.click("#tab-many")
    opened.set_input_files("#file", file)
    expect(opened.locator("#count")).to_contain_text("5000 texts from texts.csv")
    expect(opened.locator("#column")).to_have_value("text")
    opened.click("#many-form [type=submit]")
    expect(opened.locator("#count")).to_have_text("5000 of 5000 texts", timeout=60_000)
    expect(opened.locator("#rows tr")).to_have_count(100)
    opened.click("#next")
    expect(opened.locator("#page")).to_have_text("101–200 of 5000")
    expect(opened.locator("#rows tr").first).to_contain_text(texts[100])
    with opened.expect_download() as download:
        opened.click("#download")
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8-sig"), newline="")))
    assert [row["text"].removeprefix("'") for row in rows] == texts
    assert rows[4]["text"].startswith("'=")  # no spreadsheet takes it for a formula
    assert {row["label"] for row in rows[:2]} == {"refund", "delivery"}


def test_json_lines_are_read_and_a_broken_one_is_named(opened: Page, tmp_path: Path) -> None:
    good, broken = tmp_path / "good.jsonl", tmp_path / "broken.jsonl"
    good.write_text('{"text": "late courier"}\n\n{"text": "thank you"}\n', encoding="utf-8")
    broken.write_text('{"text": "a"}\n[1]\n', encoding="utf-8")
    opened.click("#tab-many")
    opened.set_input_files("#file", broken)
    expect(opened.locator("#notice")).to_have_text("broken.jsonl, line 2: no JSON object.")
    opened.set_input_files("#file", good)
    opened.click("#many-form [type=submit]")
    expect(opened.locator("#rows tr")).to_have_count(2)


def test_a_mended_file_of_the_same_name_is_read_and_another_encoding_is_told(opened: Page, tmp_path: Path) -> None:
    file = tmp_path / "texts.csv"

    def choose(content: bytes) -> None:
        file.write_bytes(content)
        with opened.expect_file_chooser() as chooser:
            opened.click("#file")
        chooser.value.set_files(file)

    opened.click("#tab-many")
    choose("text\n我要退款\n".encode("gb18030"))
    expect(opened.locator("#notice")).to_have_text("texts.csv is not UTF-8 text; save it as UTF-8 and choose it again.")
    choose("text\n退款\n".encode())
    expect(opened.locator("#notice")).to_be_hidden()
    expect(opened.locator("#count")).to_have_text("1 texts from texts.csv")


def test_a_file_may_be_dropped_anywhere(opened: Page) -> None:
    data = opened.evaluate_handle(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File(["id\\tbody\\n1\\tlate courier\\n2\\tthank you\\n"], "texts.tsv"));
            return data;
        }"""
    )
    opened.dispatch_event("header", "dragover", {"dataTransfer": data})
    expect(opened.locator("#drop")).to_have_class("drop over")
    opened.dispatch_event("header", "drop", {"dataTransfer": data})
    expect(opened.locator("#panel-many")).to_be_visible()
    opened.select_option("#column", "body")
    opened.click("#many-form [type=submit]")
    expect(opened.locator("#rows tr").first).to_contain_text("late courier")
    expect(opened.locator("#rows tr").nth(1)).to_contain_text("praise")


def test_long_texts_go_in_smaller_requests(browser: Browser, checkpoint: Path) -> None:
    with server(checkpoint, "--max_body_bytes", "1000") as running, page(browser, running.url) as opened:
        opened.click("#tab-many")
        opened.fill("#lines", "\n".join(["where is my parcel " * 15, "refund please"] * 5 + ["x" * 1000, "five stars"]))
        opened.click("#many-form [type=submit]")
        expect(opened.locator("#count")).to_have_text("12 of 12 texts")
        labels = [row.split("\t")[1] for row in opened.locator("#rows tr").all_inner_texts()]
        assert labels[:10] == ["delivery", "refund"] * 5
        assert labels[10].startswith("body: must be at most 1000 bytes")
        assert labels[11] == "praise"


def test_a_run_is_stopped_and_continued(opened: Page) -> None:
    asked: list[Route] = []

    def busy_after_the_first(route: Route) -> None:
        asked.append(route)
        if len(asked) == 1:
            return route.continue_()
        body = {"error": "inputs: at most 1 text may be in flight", "error_type": "overloaded"}
        return route.fulfill(status=503, headers={"Retry-After": "600"}, json=body)

    opened.route("**/predict", busy_after_the_first)
    opened.click("#tab-many")
    opened.fill("#lines", "\n".join(f"late courier {number}" for number in range(300)))
    opened.click("#many-form [type=submit]")
    expect(opened.locator("#count")).to_have_text("The service is busy; going on in 600 s.")
    expect(opened.locator("#rows tr").first).to_contain_text("delivery")
    opened.click("#stop")
    expect(opened.locator("#count")).to_have_text("256 of 300 texts")
    expect(opened.locator("#many-form [type=submit]")).to_have_text("Go on")
    opened.unroute("**/predict")
    opened.click("#many-form [type=submit]")
    expect(opened.locator("#count")).to_have_text("300 of 300 texts")
    expect(opened.locator("#many-form [type=submit]")).to_have_text("Classify all")


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


def test_150_labels_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    labels = [f"a rather long label of class {number}" for number in range(150)]
    by_id = {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True}
    with server(write_checkpoint(tmp_path, **by_id)) as running, page(browser, running.url, **phone) as opened:
        classify(opened, "where is my parcel")
        expect(opened.locator("#bars button")).to_have_count(8)
        opened.click("#all-bars")
        expect(opened.locator("#bars button")).to_have_count(150)
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
