"""Pictures of the report for docs/: `python -m tests.browser.shots build/demo` takes them anew."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, sync_playwright

Scheme = Literal["light", "dark"]

SIZES: tuple[tuple[str, int, Scheme], ...] = (
    ("report-1280-light.png", 1280, "light"),
    ("report-1280-dark.png", 1280, "dark"),
    ("report-390-light.png", 390, "light"),
    ("report-390-dark.png", 390, "dark"),
)
#: As much of the page as a picture in the documents can hold.
HEIGHT = {1280: 1900, 390: 2600}
DOCS = Path(__file__).parents[2] / "docs"


def shoot(browser: Browser, demo: Path, out: Path, width: int, scheme: Scheme) -> Path:
    """Take the top of a demo's report and write it with few colours."""
    from PIL import Image

    context = browser.new_context(
        viewport={"width": width, "height": HEIGHT[width]}, color_scheme=scheme
    )
    page = context.new_page()
    page.goto((demo / "report" / "index.html").as_uri())
    taken = page.screenshot()
    context.close()
    Image.open(io.BytesIO(taken)).convert("RGB").quantize(96).save(out, optimize=True)
    return out


def main() -> None:
    """Take all pictures of the demo that the command line names."""
    from tests.browser.conftest import CHROMIUM

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name, width, scheme in SIZES:
            shoot(browser, Path(sys.argv[1]), DOCS / name, width, scheme)
        browser.close()


if __name__ == "__main__":
    main()
