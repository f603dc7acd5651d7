# Firefox with a profile made for the occasion, which asks the testbed's DNS over HTTPS alone and trusts its
# CA. Its exit status says nothing of the page: it is driven by Marionette, and the page has to be the
# server's.
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

program, url, ca, doh = sys.argv[1:]
# In seconds: from its start until it can be driven, and for the page.
START, PAGE = 60, 15
# The resolver, no other connections than those for the page, and the page as it was sent.
PREFERENCES = {
    "network.trr.mode": 3,
    "network.trr.uri": doh,
    "network.trr.bootstrapAddr": "127.0.0.1",
    # Names of the testbed are at loopback addresses.
    "network.trr.allow-rfc1918": True,
    "network.trr.confirmationNS": "skip",
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "browser.chrome.site_icons": False,
    "network.http.speculative-parallel-limit": 0,
    "network.predictor.enabled": False,
    "network.prefetch-next": False,
    "network.http.connection-retry-timeout": 0,
    "devtools.jsonview.enabled": False,
    "messaging-system.rsexperimentloader.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "app.normandy.enabled": False,
    "marionette.port": 0,
}


class Marionette:
    """Its messages are JSON behind their length: [0, id, command, parameters], [1, id, error, result]."""

    def __init__(self, port):
        self.stream = socket.create_connection(("127.0.0.1", port), timeout=START).makefile("rwb")
        self.read()
        self.last = 0

    def read(self):
        length = b""
        while (byte := self.stream.read(1)) not in (b":", b""):
            length += byte
        return json.loads(self.stream.read(int(length)))

    def ask(self, command, **parameters):
        self.last += 1
        message = json.dumps([0, self.last, command, parameters]).encode()
        self.stream.write(b"%d:%s" % (len(message), message))
        self.stream.flush()
        _, _, error, result = self.read()
        if error:
            raise RuntimeError(error["message"])
        return result


def port_of(profile):
    """Firefox writes down which port it listens on."""
    file = profile / "MarionetteActivePort"
    while not (file.exists() and file.read_text()):
        time.sleep(0.05)
    return int(file.read_text())


with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
    profile = pathlib.Path(home, "profile")
    profile.mkdir()
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items()]
    (profile / "user.js").write_text("".join(lines))
    database = ["certutil", "-d", f"sql:{profile}"]
    subprocess.run([*database, "-N", "--empty-password"], check=True)
    subprocess.run([*database, "-A", "-t", "C,,", "-n", "testbed", "-i", ca], check=True)
    browser = subprocess.Popen(
        [program, "--headless", "--marionette", "--profile", str(profile), "--no-remote"],
        env={**os.environ, "HOME": home},
    )
    signal.signal(signal.SIGALRM, lambda *_: sys.exit("Firefox did not start in time"))
    signal.alarm(START)
    try:
        driver = Marionette(port_of(profile))
        driver.ask("WebDriver:NewSession", capabilities={})
        signal.alarm(2 * PAGE)
        driver.ask("WebDriver:SetTimeouts", pageLoad=1000 * PAGE)
        driver.ask("WebDriver:Navigate", url=url + "?format=json")
        page = driver.ask("WebDriver:GetPageSource")["value"]
    finally:
        browser.kill()
        browser.wait()
sys.exit('"case"' not in page)
