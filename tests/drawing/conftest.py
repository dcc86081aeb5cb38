"""Pages in a real browser."""

import shutil
from pathlib import Path

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


@pytest.fixture(scope="package")
def browser(tmp_path_factory):
    """One browser for all pages: starting it takes seconds."""
    if not (BROWSER and DRIVER):
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    quiet = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")
    profile = f"--user-data-dir={tmp_path_factory.mktemp('browser')}"
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", profile, *quiet):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def open_file(browser):
    def open_at(file: Path, width: int, dark: bool):
        mobile = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", mobile)
        scheme = {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
        browser.get(f"file://{file}")
        return browser

    yield open_at
    assert browser.get_log("browser") == []  # the log since it was last read


def assert_readable(page, width: int, dark: bool) -> None:
    """It fits into the width, and the text stands out from a ground of the right brightness."""
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    ground, ink = page.execute_script("const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]")
    brightness = [sum(map(int, colour.strip("rgba()").split(",")[:3])) / 3 for colour in (ground, ink)]
    assert (brightness[0] < brightness[1]) == dark
    assert abs(brightness[0] - brightness[1]) > 150
