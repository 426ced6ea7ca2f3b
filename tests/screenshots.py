"""Draw the pictures of page and report that the documents show: `python -m tests.screenshots [CHECKPOINT]`."""

import io
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.browser import chromium, page
from tests.servers import server

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "service" / "screenshots"
QUESTION = "hi, where is my parcel? it should have arrived on monday, i want my money back"
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "is_mobile": True}
COLOURS = 128  # in a picture's palette: a third of the bytes, no difference to see


def classify(opened: Page, text: str) -> None:
    """Ask for one text, without a pointer over the page."""
    opened.fill("#text", text)
    opened.click("#one-form [type=submit]")
    expect(opened.locator("#evidence")).to_have_text(text)
    opened.mouse.move(0, 0)
    opened.evaluate("document.activeElement.blur()")


def classify_file(opened: Page) -> None:
    """Classify the quickstart's test texts; show those of one label."""
    opened.click("#tab-many")
    opened.set_input_files("#file", ROOT / "training" / "quickstart" / "test.jsonl")
    opened.click("#many-form [type=submit]")
    expect(opened.locator("#next")).to_be_enabled()
    expect(opened.locator("#stop")).to_be_hidden(timeout=60_000)
    opened.select_option("#filter-label", "refund")


def save(name: str, picture: bytes) -> None:
    """Write a picture with a small palette."""
    path = FOLDER / f"{name}.png"
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path.relative_to(ROOT), f"{path.stat().st_size / 1000:.0f} kB")


def draw(browser: Browser, url: str) -> None:
    """All pictures of the page at `url`."""
    with page(browser, url) as opened:
        classify(opened, QUESTION)  # the first answers of a service take longer
    looks: dict[str, dict[str, Any]] = {"light": {}, "dark": {"color_scheme": "dark"}, "phone": PHONE}
    for name, options in looks.items():
        with page(browser, url, reduced_motion="reduce", **options) as opened:
            classify(opened, QUESTION)
            save(name, opened.screenshot(full_page=name != "phone"))
            if name == "light":
                opened.locator("#bars button").nth(1).click()
                expect(opened.locator("#bars button").nth(1)).to_have_attribute("aria-pressed", "true")
                opened.locator("#pieces button").first.hover()
                save("evidence", opened.locator("#result").screenshot())
    with page(browser, url, reduced_motion="reduce") as opened:
        classify_file(opened)
        save("batch", opened.screenshot())
    with page(browser, url, reduced_motion="reduce", locale="zh-CN") as opened:
        classify(opened, "我的快递怎么还没有到，我想退款")
        save("chinese", opened.screenshot(full_page=True))


def draw_report(browser: Browser, checkpoint: Path) -> None:
    """The first screen of a checkpoint's report."""
    opened = browser.new_page(viewport={"width": 1100, "height": 1000})
    opened.goto((checkpoint / "report.html").resolve().as_uri())
    save("report", opened.screenshot())


def main() -> None:
    """Serve the checkpoint and draw."""
    checkpoint = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/quickstart")
    FOLDER.mkdir(exist_ok=True)
    with server(checkpoint) as running, chromium() as browser:
        draw(browser, running.url)
        draw_report(browser, checkpoint)


if __name__ == "__main__":
    main()
