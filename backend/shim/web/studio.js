// The studio: sections behind the hash of the address, fed by the same news as the display.

import { Feed } from "/web/feed.js";
import { Gallery } from "/web/gallery.js";
import { Log } from "/web/logs.js";
import { Now } from "/web/now.js";
import { by } from "/web/parts.js";
import { Settings } from "/web/settings.js";
import { Themes } from "/web/themes.js";

const now = new Now();
const views = { now, memory: new Gallery(), themes: new Themes(), settings: new Settings(), log: new Log() };
let current = "";
let boot = "";

function show() {
  const wanted = location.hash.slice(1);
  const name = wanted in views ? wanted : "now";
  if (name === current) return;
  views[current]?.close?.();
  current = name;
  for (const each of Object.keys(views)) by(`view-${each}`).hidden = each !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `Dreamloop studio: ${name}`;
  window.scrollTo(0, 0);
  views[name].open?.();
}

new Feed({
  onFrame: (frame) => now.pictures.want(frame),
  onStatus: (status) => {
    now.show(status);
    views.themes.mark(status.dream.theme);
    if (boot && boot !== status.boot_id) views.log.again();
    boot = status.boot_id;
  },
  onLink: (linked) => {
    if (linked) return;
    by("pill").dataset.mood = "bad";
    by("pill-text").textContent = "reconnecting";
  },
});

by("dialog").addEventListener("click", (event) => { if (event.target === by("dialog")) by("dialog").close(); });
window.addEventListener("hashchange", show);
show();
