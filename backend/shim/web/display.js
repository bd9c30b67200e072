// The display: nothing but the dream. Frames come as news, are fetched by their number, blended, and shown.

import { Canvas } from "/web/canvas.js";
import { Feed } from "/web/feed.js";
import { Hud } from "/web/hud.js";
import { Layers } from "/web/layers.js";
import { optionsOf } from "/web/options.js";
import { Pictures } from "/web/pictures.js";

const HOUR_MS = 3_600_000;

const options = optionsOf(location.search);
const stage = document.getElementById("stage");
const element = document.getElementById("picture");
document.body.dataset.fit = options.fit;

const screen = rendererOf();
const pictures = new Pictures(screen, { fade: options.fade, onFirst: () => document.getElementById("first")?.remove() });
const hud = new Hud({ enabled: options.hud });
const feed = new Feed({
  onFrame: (frame) => pictures.want(frame),
  onStatus: (status) => hud.show(status),
  onLink: (linked) => hud.link(linked),
});

function rendererOf() {
  if (options.gl) {
    try { return new Canvas(element, options); } catch (error) { console.info("blending without WebGL:", error.message); }
  }
  element.hidden = true;
  return new Layers(stage, options);
}

async function stayAwake() {
  try { await navigator.wakeLock?.request("screen"); } catch { /* on battery, or not allowed */ }
}
document.addEventListener("visibilitychange", () => { if (document.visibilityState === "visible") stayAwake(); });
stayAwake();

// A page that is open for months renews itself now and then, when nothing is blending and the server is there.
if (options.reload > 0) {
  const due = performance.now() + options.reload * HOUR_MS * (0.85 + 0.3 * Math.random());
  setInterval(() => { if (performance.now() > due && feed.linked && pictures.player.calm) location.reload(); }, 100);
}

if ("serviceWorker" in navigator && window.isSecureContext) {
  navigator.serviceWorker.register("/service-worker.js").catch(() => {});
}

// For tests and for the curious.
window.dreamloop = {
  get drawn() { return screen.drawn; },
  get shown() { return pictures.shown; },
  get newest() { return pictures.newest; },
  get linked() { return feed.linked; },
  get waiting() { return pictures.player.queue.length; },
  get age() { return pictures.age; },
  get renderer() { return screen instanceof Canvas ? "webgl" : "css"; },
  get thrift() { return screen.thrift ?? 0; },
  options,
};
