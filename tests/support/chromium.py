"""A headless Chromium, driven over the WebDriver protocol (W3C) by ChromeDriver, with no package between."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1100,1400",
]


def missing():
    """Why there is no browser; nothing where there is one."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        return "no chromium and chromedriver on the path (Debian packages chromium, chromium-driver)"
    return ""


class Chromium:
    """One browser; a context."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        for line in self.driver.stdout:
            if "started successfully on port" in line:
                self.base = f"http://127.0.0.1:{line.rstrip().rstrip('.').rsplit(' ', 1)[1]}"
                break
        options = {
            "args": [*OPTIONS, f"--user-data-dir={self.folder.name}"],
            "binary": shutil.which("chromium"),
        }
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        self.session = ""
        self.session = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        return self

    def __exit__(self, *_):
        try:
            if self.session:
                self.ask("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait(30)
            self.driver.stdout.close()
            self.folder.cleanup()

    def ask(self, method, path, body=None):
        where = f"{self.base}{f'/session/{self.session}' if self.session else ''}{path}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(where, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            request, timeout=120
        ) as answer:
            return json.load(answer)["value"]

    def open(self, path: Path):
        """Open a file and wait until its script has drawn."""
        self.ask("POST", "/url", {"url": path.resolve().as_uri()})
        for _ in range(200):
            if self.run("return document.documentElement.dataset.ready") == "yes":
                return
            time.sleep(0.1)
        raise AssertionError(f"the page did not draw: {self.log()}")

    def run(self, script, *args):
        return self.ask("POST", "/execute/sync", {"script": script, "args": list(args)})

    def find(self, css):
        return next(iter(self.ask("POST", "/element", {"using": "css selector", "value": css}).values()))

    def press(self, css, keys):
        """Type keys, as WebDriver codes, into an element."""
        self.ask("POST", f"/element/{self.find(css)}/value", {"text": keys})

    def picture(self, path: Path | None = None):
        png = base64.b64decode(self.ask("GET", "/screenshot"))
        if path is not None:
            path.write_bytes(png)
        return png

    def whole(self, path: Path, width=1100, height=None):
        """A picture of the whole page, whatever its height."""
        height = height or self.run("return document.documentElement.scrollHeight")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.devtools("Emulation.setDeviceMetricsOverride", size)
        return self.picture(path)

    def log(self):
        """What the console got since it was last read."""
        return [e for e in self.ask("POST", "/se/log", {"type": "browser"}) if e["level"] != "DEBUG"]

    def devtools(self, command, params):
        return self.ask("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    def media(self, kind="", scheme="light"):
        """Emulate print and a preferred colour scheme."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.devtools("Emulation.setEmulatedMedia", {"media": kind, "features": features})

    def printed(self):
        """The page as PDF."""
        return base64.b64decode(self.ask("POST", "/print", {"background": False}))
