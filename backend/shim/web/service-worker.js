// So that a kiosk that starts before its server does has a page to wait on: the shell from the cache, nothing else.

const SHELL = "dreamloop-shell";
const FILES = [
  "/", "/web/display.css", "/web/display.js", "/web/api.js", "/web/canvas.js", "/web/feed.js", "/web/hud.js", "/web/layers.js",
  "/web/options.js", "/web/pictures.js", "/web/player.js", "/manifest.webmanifest", "/web/icons/icon.svg",
];

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(SHELL).then((cache) => cache.addAll(FILES)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { pathname, origin } = new URL(event.request.url);
  if (event.request.method !== "GET" || origin !== self.location.origin || !FILES.includes(pathname)) return;
  event.respondWith(newestOrKept(event.request, pathname));
});

async function newestOrKept(request, pathname) {
  const cache = await caches.open(SHELL);
  try {
    const answer = await fetch(request);
    if (answer.ok) await cache.put(pathname, answer.clone());
    return answer;
  } catch (error) {
    const kept = await cache.match(pathname);
    if (kept) return kept;
    throw error;
  }
}
