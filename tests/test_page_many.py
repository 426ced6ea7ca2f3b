"""The page at /ui in a real browser against a real server: many texts at once."""

import csv
import io
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser import page
from tests.servers import server

pytestmark = pytest.mark.slow


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
    opened.fill("#lines", "\n".join(["late courier"] * 300))  # a number would be a token that it never saw
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
