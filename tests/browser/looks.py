"""What is looked for on every page: what axe-core calls severe, and words upon each other."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

#: Of axe-core, which axe-playwright-python brings; docs/report.md names it.
AXE_VERSION = "4.12.1"
SEVERE = ("serious", "critical")


def severe(page: Page) -> list[tuple[str, str, str]]:
    """What axe-core calls serious or critical: its rule, and the first place."""
    found = Axe().run(page).response
    assert found["testEngine"] == {"name": "axe-core", "version": AXE_VERSION}
    return [
        (one["id"], one["help"], one["nodes"][0]["html"][:200])
        for one in found["violations"]
        if one["impact"] in SEVERE
    ]


def overlapping(page: Page) -> list[tuple[str, str]]:
    """Texts on one line of a picture that run into each other, and those that are cut off."""
    found = []
    for picture in page.locator("svg.chart").all():
        boxes = picture.evaluate(
            """svg => [...svg.querySelectorAll("text")].filter(
            t => t.textContent.trim() && t.getAttribute("opacity") !== "0").map(t => {
            const b = t.getBoundingClientRect(), s = svg.getBoundingClientRect();
            return [t.textContent, b.left, b.right, b.top, b.bottom, s.left, s.right] })"""
        )
        for place, (one, left, right, top, bottom, edge, end) in enumerate(boxes):
            if left < edge - 1 or right > end + 1:
                found.append((one, "the edge"))
            for other, left2, right2, top2, bottom2, *_ in boxes[place + 1 :]:
                apart = right <= left2 + 1 or right2 <= left + 1
                if not (apart or bottom <= top2 + 3 or bottom2 <= top + 3):
                    found.append((one, other))
    return found
