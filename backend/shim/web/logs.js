// The newest lines of the daemon's log.

import { get } from "/web/api.js";
import { by, clockTime, h } from "/web/parts.js";

const MOST = 600;
const EVERY_MS = 2_000;

export class Log {
  constructor() {
    this.number = 0;
    this.timer = 0;
  }

  open() {
    clearInterval(this.timer);
    this.timer = setInterval(() => this.look(), EVERY_MS);
    this.look();
  }

  close() { clearInterval(this.timer); }

  async look() {
    if (document.visibilityState !== "visible") return;
    let answer;
    try { answer = await get(`/api/log?after=${this.number}`); } catch { return; }
    const list = by("log");
    for (const line of answer.lines) {
      this.number = Math.max(this.number, line.number);
      list.append(h("li", { data: { level: line.level } }, h("time", {}, clockTime(line.at * 1000)), h("span", {}, line.level), h("span", {}, line.text)));
    }
    while (list.children.length > MOST) list.firstChild.remove();
    if (answer.lines.length > 0 && by("log-follow").checked) list.scrollTop = list.scrollHeight;
  }

  // Another start of the daemon counts its lines anew.
  again() {
    this.number = 0;
    by("log").replaceChildren();
  }
}
