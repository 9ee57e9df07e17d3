"""The videos play where people watch them: in a browser, which must know their length and size and show their frames."""

from __future__ import annotations

import dataclasses
import http.server
import json
import shutil
import subprocess
import threading

import numpy as np
import pytest

from rl.panels import Scene, design
from rl.scale import Scale
from rl.video import render

pytest.importorskip("av")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
NAMES = ("video.mp4", "video.webm")
SECONDS = 60

PAGE = """<!doctype html><meta charset="utf-8"><script>
const once = (target, name) => new Promise((yes, no) => {
  target.addEventListener(name, yes, {once: true});
  target.addEventListener("error", () => no(new Error(name + ": " + (target.error ? target.error.message : "error"))), {once: true});
});
async function watch(name, box) {
  const video = document.createElement("video"), canvas = document.createElement("canvas");
  const blob = await (await fetch(name)).blob();
  video.muted = true; video.preload = "auto";
  const loaded = once(video, "loadeddata");
  video.src = URL.createObjectURL(blob);
  await loaded;
  canvas.width = video.videoWidth; canvas.height = video.videoHeight;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  const mean = () => {
    context.drawImage(video, 0, 0);
    const data = context.getImageData(...box).data, sum = [0, 0, 0];
    for (let i = 0; i < data.length; i += 4) for (let c = 0; c < 3; c++) sum[c] += data[i + c];
    return sum.map(value => 4 * value / data.length);
  };
  const shown = [];
  for (const time of [0, 0.5, video.duration - 0.02]) {
    const sought = once(video, "seeked");
    video.currentTime = time;
    await sought;
    shown.push(mean());
  }
  const ended = once(video, "ended");
  await video.play();
  await ended;
  return {duration: video.duration, width: video.videoWidth, height: video.videoHeight, shown};
}
(async () => {
  const found = {};
  for (const name of NAMES) found[name] = await watch(name, BOX).catch(error => ({error: String(error)}));
  await fetch("report", {method: "POST", body: JSON.stringify(found)});
})();
</script>"""


def served(folder, page):
    """A web server for the page and the videos; what the page reports ends in a list."""
    reports, done = [], threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.strip("/")
            body = page.encode() if not name else (folder / name).read_bytes() if name in NAMES else b""
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "text/html" if not name else f"video/{name.split('.')[-1]}")
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            reports.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            done.set()

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, reports, done


def watched(folder, page, profile):
    """What a headless browser reports of the page."""
    server, reports, done = served(folder, page)
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--autoplay-policy=no-user-gesture-required")
    address = f"http://127.0.0.1:{server.server_port}/"
    browser = subprocess.Popen(
        [CHROMIUM, *flags, f"--user-data-dir={profile}", address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        assert done.wait(SECONDS), f"{CHROMIUM} did not report within {SECONDS} s"
    finally:
        browser.terminate()
        browser.wait(20)
        server.shutdown()
        server.server_close()
    return reports[0]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)")
def test_both_formats_play_in_chromium(coloured, tmp_path):
    levels = np.linspace(30, 210, len(coloured)).astype(np.uint8)
    screens = np.broadcast_to(levels[:, None, None, None], (len(coloured), 210, 160, 3)).copy()
    screens[..., 2] = 255 - screens[..., 2]  # a colour that changes from frame to frame
    shown = dataclasses.replace(coloured, trajectory=dataclasses.replace(coloured.trajectory, screens=screens))
    video = render(shown, [tmp_path / name for name in NAMES])
    grid = design("full").grid()
    scene = Scene(shown, Scale(1.0, 0.995, 10, 10), 0, 10)
    box = next(panel for panel in design("full").panels(scene, grid) if type(panel).__name__ == "Game").box
    place = [box.x + 8, box.y + 8, box.width - 16, box.height - 16]
    page = PAGE.replace("NAMES", json.dumps(NAMES)).replace("BOX", json.dumps(place))
    for name, found in watched(tmp_path, page, tmp_path / "profile").items():
        assert "error" not in found, (name, found)
        assert found["duration"] == pytest.approx(10 / 15, abs=0.02), name
        assert (found["width"], found["height"]) == (video.width, video.height) == (1280, 720)
        for colour, frame in zip(found["shown"], (0, 7, 9), strict=True):
            # neighbouring frames are 20 apart; Chromium's own conversion is off by up to 11 in a deep blue
            np.testing.assert_allclose(colour, screens[frame, 0, 0], atol=12.0, err_msg=f"{name}, frame {frame}")
