"""A real browser for tests: Chromium, without a window.

Debian's `chromium` and `chromium-driver` have the same version. Elsewhere `CHROMIUM` and `CHROMEDRIVER` name the two
programs.
"""

from __future__ import annotations

import io
import os
import shutil
import time
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

_MISSING = (
    "{what} is not on this machine. On Debian: apt-get install chromium chromium-driver. Elsewhere install Chromium "
    "and the chromedriver of its version, and name them in CHROMIUM and CHROMEDRIVER."
)
_OPTIONS = (
    "--headless=new",
    # Tests may run as root, in a container with a small /dev/shm.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-extensions",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
)
#: Colours of a picture for the documentation: enough for text and badges.
_COLOURS = 96


class Browser:
    """A window. CSS selectors name elements of the page. Waiting has a deadline; a failure shows the page's text."""

    def __init__(self, folder, *, size=(1280, 800)):
        options = Options()
        options.binary_location = _found("CHROMIUM", "chromium", "chromium-browser", "google-chrome")
        for option in (*_OPTIONS, f"--window-size={size[0]},{size[1]}", f"--user-data-dir={folder}"):
            options.add_argument(option)
        self._driver = webdriver.Chrome(options, Service(_found("CHROMEDRIVER", "chromedriver")))
        self._driver.set_page_load_timeout(60)

    def open(self, url):
        """Open a page."""
        self._driver.get(url)

    @property
    def url(self):
        """The URL in the window."""
        return self._driver.current_url

    @property
    def text(self):
        """The visible text of the page."""
        return self._driver.execute_script("return document.body ? document.body.innerText : ''")

    def wait_for(self, text, *, within=60.0):
        """Wait until the page shows a text."""
        self._until(lambda: text in self.text, f"{text!r} is not shown", within)

    def fill(self, selector, text):
        """Type into a field, after waiting until it exists."""
        field = self._find(selector)
        field.clear()
        field.send_keys(text)

    def click(self, selector):
        """Click on an element, after waiting until it exists."""
        self._find(selector).click()

    def run(self, script, *arguments):
        """Run JavaScript, and return its result."""
        return self._driver.execute_script(script, *arguments)

    def screenshot(self, path, *, size=None):
        """Write the window's contents as a small PNG. `size` first sets the window's width and height."""
        if size is not None:
            self._driver.set_window_size(*size)
        picture = Image.open(io.BytesIO(self._driver.get_screenshot_as_png())).convert("RGB")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)

    def close(self):
        """End the browser."""
        self._driver.quit()

    def _find(self, selector, within=30.0):
        def look():
            found = [one for one in self._driver.find_elements(By.CSS_SELECTOR, selector) if one.is_displayed()]
            return found[0] if found else None

        return self._until(look, f"there is no {selector}", within)

    def _until(self, look, what, within):
        deadline = time.monotonic() + within
        while True:
            try:
                if found := look():
                    return found
            except WebDriverException:
                pass  # the page changes during the call
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} within {within} s at {self.url}:\n{self.text}")
            time.sleep(0.05)


def _found(variable, *names):
    given = os.environ.get(variable)
    path = given or next(filter(None, map(shutil.which, names)), None)
    assert path, _MISSING.format(what=names[0])
    return path
