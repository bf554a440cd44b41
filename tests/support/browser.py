"""A real browser without a window, for pages that people open."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
# No background traffic, since there is no network to answer it; no sandbox, since tests may run as root.
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
).split()

needs_browser = pytest.mark.skipif(
    BROWSER is None or DRIVER is None, reason="needs Debian's chromium and chromium-driver"
)


@contextmanager
def opened(folder: Path, name: str, window: str = "1300,2000") -> Iterator[Any]:
    """A driver; a tall window, for what is drawn there has to be seen. Its console's messages are kept.

    Args:
        folder: where the browser keeps its profile.
        name: of the picture that is left in ``$VAR_SCALING_SCREENSHOTS``, where that is set.
        window: width and height.
    """
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = str(BROWSER)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--window-size={window}", f"--user-data-dir={folder}/browser"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        driver.set_script_timeout(150)
        driver.command_executor.client_config.timeout = 300  # of a machine that has other work
        yield driver
        if pictures := os.environ.get("VAR_SCALING_SCREENSHOTS"):
            driver.save_screenshot(str(Path(pictures) / f"{name}-{folder.name}.png"))
    finally:
        driver.quit()
