"""OHIF in Chromium, with MONAI Label's panel: what a person does in it, and what they see."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from parts import CHROMIUM_FLAGS, chromium
from PIL import Image
from playwright.sync_api import HttpCredentials, Locator, Page, Response, sync_playwright

SECONDS = 1000.0
# Software rendering of three planes takes its time.
PATIENCE = 300 * SECONDS

# Is every plane drawn with its volume loaded? The services of OHIF throw until the mode has started.
LOADED = """() => { try {
  const services = window.services;
  const ids = [...services.viewportGridService.getState().viewports.keys()];
  const volumes = window.cornerstone.cache.getVolumes();
  return ids.length >= 3 && volumes.length > 0 && volumes.every(v => !v.loadStatus || v.loadStatus.loaded)
    && ids.every(id => services.cornerstoneViewportService.getCornerstoneViewport(id)?.getCamera()?.focalPoint);
} catch { return false; } }"""

# Shows the slice of a plane that holds a point; gives the point's place on the page.
SHOW = """([index, point]) => {
  const services = window.services;
  const id = [...services.viewportGridService.getState().viewports.keys()][index];
  const viewport = services.cornerstoneViewportService.getCornerstoneViewport(id);
  const {viewPlaneNormal: n, focalPoint: f, position: p} = viewport.getCamera();
  const d = n.reduce((sum, value, i) => sum + value * (point[i] - f[i]), 0);
  viewport.setCamera({focalPoint: f.map((v, i) => v + d * n[i]), position: p.map((v, i) => v + d * n[i])});
  viewport.render();
  const box = viewport.element.getBoundingClientRect();
  const [x, y] = viewport.worldToCanvas(point);
  return [box.left + x, box.top + y];
}"""

# The world point, LPS mm, at a place on the page.
WORLD = """([index, x, y]) => {
  const services = window.services;
  const id = [...services.viewportGridService.getState().viewports.keys()][index];
  const viewport = services.cornerstoneViewportService.getCornerstoneViewport(id);
  const box = viewport.element.getBoundingClientRect();
  return [...viewport.canvasToWorld([x - box.left, y - box.top])];
}"""

# Is an image shown, in a viewer of one plane?
SHOWN = """() => { try {
  const services = window.services;
  const id = services.viewportGridService.getActiveViewportId();
  return !!services.cornerstoneViewportService.getCornerstoneViewport(id).getCurrentImageId();
} catch { return false; } }"""

# Shows the slice of a stack that is nearest to a point; gives the point's place on the page.
SHOW_IN_STACK = """async point => {
  const services = window.services;
  const id = services.viewportGridService.getActiveViewportId();
  const viewport = services.cornerstoneViewportService.getCornerstoneViewport(id);
  const {viewPlaneNormal: n} = viewport.getCamera();
  const place = id => window.cornerstone.metaData.get('imagePlaneModule', id).imagePositionPatient;
  const distances = viewport.getImageIds().map(
    id => Math.abs(n.reduce((sum, value, i) => sum + value * (place(id)[i] - point[i]), 0)));
  await viewport.setImageIdIndex(distances.indexOf(Math.min(...distances)));
  const box = viewport.element.getBoundingClientRect();
  const [x, y] = viewport.worldToCanvas(point);
  return [box.left + x, box.top + y];
}"""

SEGMENTS = """() => window.services.segmentationService.getSegmentations().flatMap(
  one => Object.values(one.segments).filter(segment => segment).map(segment => segment.label))"""


@dataclass
class Inference:
    """What OHIF asked, and what it got."""

    url: str
    params: dict
    status: int
    body: bytes


@dataclass
class Viewer:
    """The page, and what went wrong on it."""

    page: Page
    errors: list[str] = field(default_factory=list)

    def open_study(self, server: str, study: str) -> None:
        """Open a study in MONAI Label's mode, and connect its panel to the server."""
        page = self.page
        page.goto(f"{server}/ohif/monai-label?StudyInstanceUIDs={study}", timeout=PATIENCE)
        page.wait_for_function(LOADED, timeout=PATIENCE)
        with contextlib.suppress(Exception):
            page.get_by_text("Confirm and Hide").click(timeout=10 * SECONDS)
        # OHIF expects the server at port 8000.
        page.locator("#monailabelServerURL").fill(f"{server}/")
        page.locator("#monailabelServerURL").blur()
        page.locator(".monaiLabelPanel button").first.click()
        page.locator("label.tab-label", has_text="Auto-Segmentation").wait_for(timeout=PATIENCE)
        # Room for the three planes.
        page.locator('[data-cy="side-panel-header-left"]').click()
        # The panel gives the labels their colours a second later.
        page.wait_for_timeout(3 * SECONDS)

    def open_segmentation(self, server: str, study: str) -> list[str]:
        """Open a study in the ordinary viewer, and the segmentation in it; the labels of its segments."""
        page = self.page
        page.goto(f"{server}/ohif/viewer?StudyInstanceUIDs={study}", timeout=PATIENCE)
        page.wait_for_function(SHOWN, timeout=PATIENCE)
        page.locator('[data-cy="study-browser-thumbnail-no-image"]', has_text="SEG").dblclick()
        page.get_by_role("button", name="Yes", exact=True).click()
        page.wait_for_timeout(3 * SECONDS)
        return page.evaluate(SEGMENTS)

    def show_in_stack(self, point_lps: Sequence[float]) -> tuple[float, float]:
        """Show the slice of the ordinary viewer that is nearest to a point; its place on the page."""
        x, y = self.page.evaluate(SHOW_IN_STACK, [float(value) for value in point_lps])
        self.page.wait_for_timeout(3 * SECONDS)
        return x, y

    def open_section(self, name: str, model: str) -> None:
        """Open a section of the panel, and choose its model, which clears the clicks."""
        label = self.page.locator("label.tab-label", has_text=name)
        # The input that the label stands for is not drawn.
        self.page.evaluate("id => document.getElementById(id).click()", label.get_attribute("for"))
        self._section(name).locator("select.selectBox").select_option(model)
        self.page.wait_for_timeout(SECONDS)

    def click_landmark(self, name: str, place: tuple[float, float]) -> None:
        """Choose a landmark in the list of the open section, and click where it belongs."""
        cell = self.page.get_by_role("cell", name=name, exact=True)
        self.page.locator("tr.clickable-row:visible").filter(has=cell).click()
        self.page.mouse.click(*place)
        self.page.wait_for_timeout(SECONDS)

    def run(self, section: str) -> Inference:
        """Press a section's Run, and wait for the answer of the server and its drawing."""
        tab = self._section(section)
        with self.page.expect_response(lambda answer: "/infer/" in answer.url, timeout=PATIENCE) as waited:
            tab.locator("button.actionButton", has_text="Run").click()
        answer: Response = waited.value
        body = answer.body()
        self.page.wait_for_timeout(3 * SECONDS)
        form = (answer.request.post_data_buffer or b"").decode()
        params = re.search(r'name="params"\r\n\r\n(.*?)\r\n--', form, re.DOTALL)
        return Inference(answer.url, json.loads(params[1]) if params else {}, answer.status, body)

    def _section(self, name: str) -> Locator:
        return self.page.locator(".tab", has=self.page.locator("label.tab-label", has_text=name))

    def options(self, model: str, **values: object) -> None:
        """Set options of a model in the panel's dialog."""
        self.page.get_by_text("Options / Configurations").click()
        self.page.locator("select[name=selectSection]").select_option("infer")
        self.page.locator("select[name=selectName]").select_option(model)
        for name, value in values.items():
            control = self.page.locator(f'[id="infer{model}{name}"]')
            if isinstance(value, bool):
                control.set_checked(value)
            else:
                control.select_option(value)
        self.page.get_by_role("button", name="Confirm", exact=True).click()
        self.page.wait_for_timeout(SECONDS)

    def show(self, plane: int, point_lps: Sequence[float]) -> tuple[float, float]:
        """Show the slice of a plane (0, 1, 2 from the left) that holds a point; its place on the page."""
        x, y = self.page.evaluate(SHOW, [plane, [float(value) for value in point_lps]])
        self.page.wait_for_timeout(2 * SECONDS)
        return x, y

    def world(self, plane: int, place: tuple[float, float]) -> np.ndarray:
        """(3,) LPS mm of a place on the page."""
        return np.array(self.page.evaluate(WORLD, [plane, *place]))

    def picture(self) -> np.ndarray:
        """(height, width, 3) of the page."""
        return np.asarray(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")).astype(int)


@contextlib.contextmanager
def viewer(folder: Path, account: HttpCredentials | None = None) -> Iterator[Viewer]:
    """A browser with an empty profile; the account is what a person types where the server asks for one."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(folder / "profile"),
            executable_path=chromium(),
            headless=True,
            args=CHROMIUM_FLAGS,
            http_credentials=account,
            viewport={"width": 1600, "height": 860},
        )
        try:
            page = context.pages[0] if context.pages else context.new_page()
            page.set_default_timeout(PATIENCE)
            found = Viewer(page)
            page.on("pageerror", lambda error: found.errors.append(str(error)))
            yield found
        finally:
            context.close()
