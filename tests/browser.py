"""Chromium without a window, driven through the pipe of its DevTools protocol: nothing to install, no port."""

import json
import os
import select
import shutil
import signal
import time

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe", "--no-first-run")
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions")
PATIENCE = 60.0  # seconds, for one answer on a busy machine


class Browser:
    """One page of a browser, with what it complained about and asked for.

    Attributes:
        complaints: console errors and exceptions so far.
        requests: addresses of everything that was loaded.
    """

    def __init__(self, folder, width=1200, height=900):
        self.complaints, self.requests, self._next, self._rest = [], [], 0, b""
        to_child, self._write = os.pipe()
        self._read, from_child = os.pipe()
        # The browser reads from its file 3 and writes to its file 4.
        high = [os.dup(fd) for fd in (to_child, from_child)]
        spawn = [(os.POSIX_SPAWN_DUP2, high[0], 3), (os.POSIX_SPAWN_DUP2, high[1], 4)]
        quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
        arguments = [CHROMIUM, *FLAGS, *QUIET, f"--user-data-dir={folder}", f"--window-size={width},{height}", "about:blank"]
        self._pid = os.posix_spawn(CHROMIUM, arguments, os.environ, file_actions=quiet + spawn)
        for fd in (to_child, from_child, *high):
            os.close(fd)
        self._session = None
        pages = [t for t in self.send("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        self._session = self.send("Target.attachToTarget", targetId=pages[0]["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method, **params):
        """Ask for something and wait for the answer."""
        self._next += 1
        message = {"id": self._next, "method": method, "params": params}
        os.write(self._write, json.dumps(message | ({"sessionId": self._session} if self._session else {})).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._next:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def _receive(self):
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(end - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            part = os.read(self._read, 1 << 16)
            assert part, "the browser has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(message)
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"])
        if method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(params["args"])
        if method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"])
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        return message

    def open(self, address):
        """Load a page and wait until it stands."""
        self.send("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def run(self, expression):
        """The value of an expression in the page."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition):
        """Until it holds."""
        end = time.monotonic() + PATIENCE
        while not self.run(condition):
            assert time.monotonic() < end, f"never: {condition}"
            time.sleep(0.02)

    def place(self, selector, u=0.5, v=0.5):
        """Where a share of an element's width and height is in the window, after scrolling to it."""
        box = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{box}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        x, y, width, height = self.run(f"(({{x, y, width, height}}) => [x, y, width, height])({box}.getBoundingClientRect())")
        return x + u * width, y + v * height

    def mouse(self, kind, x, y):
        """Press, move or release the mouse."""
        held = {"mousePressed": 1, "mouseMoved": 1, "mouseReleased": 0}[kind]
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=held, clickCount=1)

    def click(self, selector, u=0.5, v=0.5):
        """Press and release the mouse there."""
        x, y = self.place(selector, u, v)
        self.mouse("mousePressed", x, y)
        self.mouse("mouseReleased", x, y)

    def tap(self, selector, u=0.5, v=0.5):
        """Touch there."""
        x, y = self.place(selector, u, v)
        self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def key(self, name, code=0, text=""):
        """Press and release a key."""
        shared = {"key": name, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", **shared, **({"text": text} if text else {}))
        self.send("Input.dispatchKeyEvent", type="keyUp", **shared)

    def close(self):
        """End it."""
        try:
            self._session = None
            self.send("Browser.close")
        except (AssertionError, OSError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._read)
        os.close(self._write)
