// The display: nothing but the dream. Frames come as news, are fetched by their number, blended, and shown.

import { Canvas } from "/web/canvas.js";
import { Feed } from "/web/feed.js";
import { Hud } from "/web/hud.js";
import { Layers } from "/web/layers.js";
import { optionsOf } from "/web/options.js";
import { Player } from "/web/player.js";

const AT_A_TIME = 3; // requests for frames
const HOUR_MS = 3_600_000;
const LONGEST_FETCH_MS = 10_000;

const options = optionsOf(location.search);
const stage = document.getElementById("stage");
const element = document.getElementById("picture");
document.body.dataset.fit = options.fit;

const screen = rendererOf();
const player = new Player({ fade: options.fade, drop: (picture) => screen.drop(picture) });
const hud = new Hud({ enabled: options.hud });
const news = { newest: 0, boot: "", coming: [], shownAt: 0, shown: 0, late: 0 };

const feed = new Feed({
  onFrame: (frame) => want(frame),
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

// The pictures of frames are fetched side by side and played in order.
function want(frame) {
  if (frame.sequence === news.newest) return;
  if (frame.sequence < news.newest && news.newest - frame.sequence < 1000) return; // told twice
  news.newest = frame.sequence;
  const seconds = frame.duration_s / Math.max(0.02, frame.pace || 1);
  const coming = { seconds, sequence: frame.sequence, picture: null, failed: false };
  news.coming.push(coming);
  if (news.coming.length > 2 * AT_A_TIME) { // the network is slower than the dream: leave out the oldest
    for (const late of news.coming.splice(0, news.coming.length - AT_A_TIME)) late.dropped = true;
    news.late += 1;
  }
  fetchPicture(`/api/frames/${frame.sequence}`).then(
    (picture) => {
      coming.picture = picture;
      if (coming.dropped) screen.drop(picture);
      deliver();
    },
    () => { coming.failed = true; deliver(); },
  );
}

async function fetchPicture(url) {
  if (screen.fetch) return screen.fetch(url);
  const answer = await fetch(url, { signal: AbortSignal.timeout(LONGEST_FETCH_MS) });
  if (!answer.ok) throw new Error(String(answer.status));
  return { image: await createImageBitmap(await answer.blob()) };
}

function deliver() {
  while (news.coming.length > 0 && (news.coming[0].picture !== null || news.coming[0].failed)) {
    const { picture, seconds, sequence } = news.coming.shift();
    if (picture !== null) player.push(Object.assign(picture, { seconds, sequence, arrivedAt: performance.now() }));
  }
}

let before = performance.now();
function frame(now) {
  requestAnimationFrame(frame);
  const dt = Math.min(1, Math.max(0, (now - before) / 1000));
  before = now;
  const scene = player.advance(dt);
  if (scene === null || !screen.draw(scene, now / 1000)) return;
  if (news.shown !== scene.to.sequence) {
    news.shown = scene.to.sequence;
    news.shownAt = now;
    document.getElementById("first")?.remove();
  }
}
requestAnimationFrame(frame);

async function stayAwake() {
  try { await navigator.wakeLock?.request("screen"); } catch { /* on battery, or not allowed */ }
}
document.addEventListener("visibilitychange", () => { if (document.visibilityState === "visible") stayAwake(); });
stayAwake();

// A page that is open for months renews itself now and then, when nothing is blending and the server is there.
if (options.reload > 0) {
  const due = performance.now() + options.reload * HOUR_MS * (0.85 + 0.3 * Math.random());
  setInterval(() => { if (performance.now() > due && feed.linked && player.calm) location.reload(); }, 100);
}

if ("serviceWorker" in navigator && window.isSecureContext) {
  navigator.serviceWorker.register("/service-worker.js").catch(() => {});
}

// For tests and for the curious.
window.dreamloop = {
  get drawn() { return screen.drawn; },
  get shown() { return news.shown; },
  get newest() { return news.newest; },
  get linked() { return feed.linked; },
  get waiting() { return player.queue.length; },
  get age() { return player.to ? (performance.now() - player.to.arrivedAt) / 1000 : null; },
  get renderer() { return screen instanceof Canvas ? "webgl" : "css"; },
  get thrift() { return screen.thrift ?? 0; },
  options,
};
