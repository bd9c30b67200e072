// The daemon's news: server-sent events, with a watchdog, since a dead connection often says nothing.

const SILENT_MS = 15_000; // the server says something every ten seconds at the least
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 4_000;

export class Feed {
  constructor({ onFrame, onStatus, onLink }) {
    this.onFrame = onFrame;
    this.onStatus = onStatus;
    this.onLink = onLink;
    this.linked = false;
    this.source = null;
    this.wait = FIRST_WAIT_MS;
    this.timer = 0;
    this.heardAt = 0;
    for (const [target, event] of [[window, "online"], [window, "pageshow"], [document, "visibilitychange"], [document, "resume"]]) {
      target.addEventListener(event, () => this.wakeUp());
    }
    window.addEventListener("offline", () => this.lost());
    window.addEventListener("pagehide", () => this.close());
    setInterval(() => this.watch(), 2_000);
    this.open();
  }

  open() {
    this.close();
    this.heardAt = performance.now();
    const source = new EventSource("/api/events");
    this.source = source;
    const heard = () => {
      if (source !== this.source) return;
      this.heardAt = performance.now();
      this.wait = FIRST_WAIT_MS;
      this.link(true);
    };
    source.addEventListener("open", heard);
    source.addEventListener("still", heard);
    source.addEventListener("frame", (event) => { heard(); this.tell(this.onFrame, event); });
    source.addEventListener("status", (event) => { heard(); this.tell(this.onStatus, event); });
    source.addEventListener("error", () => { if (source === this.source) this.lost(); });
  }

  tell(whom, event) {
    let value;
    try { value = JSON.parse(event.data); } catch { return; }
    whom(value);
  }

  lost() {
    this.close();
    this.link(false);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), this.wait * (0.7 + 0.6 * Math.random()));
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
  }

  watch() {
    if (this.source !== null && performance.now() - this.heardAt > SILENT_MS) this.lost();
  }

  wakeUp() {
    if (document.visibilityState === "hidden") return;
    if (this.source === null || performance.now() - this.heardAt > SILENT_MS / 3) {
      this.wait = FIRST_WAIT_MS;
      clearTimeout(this.timer);
      this.open();
    }
  }

  link(linked) {
    if (linked !== this.linked) {
      this.linked = linked;
      this.onLink(linked);
    }
  }

  close() {
    this.source?.close();
    this.source = null;
  }
}
