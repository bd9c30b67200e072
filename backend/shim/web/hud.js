// The quiet overlay: what is dreamt, what it is doing, and three buttons. Shown while somebody is there.

import { caption, post } from "/web/api.js";

const SHOWN_MS = 4_500;

export class Hud {
  constructor({ enabled }) {
    this.enabled = enabled;
    this.timer = 0;
    this.paused = false;
    this.part = Object.fromEntries(
      ["hud", "theme", "prompt", "state", "rate", "why", "pause", "next", "full"].map((id) => [id, document.getElementById(id)]),
    );
    this.part.hud.inert = true;
    this.part.pause.addEventListener("click", () => this.togglePause());
    this.part.next.addEventListener("click", () => this.ask("next"));
    this.part.full.addEventListener("click", () => this.fullScreen());
    document.addEventListener("keydown", (event) => this.key(event));
    let last = [0, 0];
    document.addEventListener("pointermove", (event) => {
      const moved = Math.hypot(event.screenX - last[0], event.screenY - last[1]);
      last = [event.screenX, event.screenY];
      if (moved > 3) this.wake(); // browsers send a move when a page merely appears
    });
    document.addEventListener("pointerdown", (event) => {
      const awake = document.body.classList.contains("awake");
      if (awake && event.pointerType === "touch" && !this.part.hud.contains(event.target)) this.sleep();
      else this.wake();
    });
    this.part.hud.addEventListener("focusin", () => this.wake());
    if (!document.documentElement.requestFullscreen) this.part.full.hidden = true;
  }

  wake() {
    if (!this.enabled) return;
    document.body.classList.add("awake");
    this.part.hud.inert = false;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.sleep(), SHOWN_MS);
  }

  sleep() {
    clearTimeout(this.timer);
    if (this.part.hud.contains(document.activeElement) && document.activeElement.matches(":focus-visible")) {
      this.timer = setTimeout(() => this.sleep(), SHOWN_MS);
      return;
    }
    document.body.classList.remove("awake");
    this.part.hud.inert = true;
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") { this.sleep(); return; }
    this.wake();
    const onButton = event.target instanceof Element && event.target.closest("button, a");
    if (event.key === " " && !onButton) { event.preventDefault(); this.togglePause(); }
    if (event.key === "n") this.ask("next");
    if (event.key === "f") this.fullScreen();
  }

  async togglePause() {
    await this.ask(this.paused ? "resume" : "pause");
  }

  async ask(what) {
    try {
      await post(`/api/control/${what}`);
    } catch (refused) {
      this.say(refused.status === 401 ? "the token is wanted: give it in the studio" : refused.message);
    }
  }

  async fullScreen() {
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else await document.documentElement.requestFullscreen({ navigationUI: "hide" });
    } catch { /* kiosks are full screen already */ }
  }

  show(status) {
    this.paused = status.state === "paused";
    const told = caption(status);
    this.part.theme.textContent = told.theme;
    this.part.prompt.textContent = told.prompt;
    this.part.state.textContent = status.state;
    this.part.rate.textContent = status.display.shown_fps > 0 ? `${status.display.shown_fps.toFixed(1)} frames a second` : "";
    this.part.why.textContent = status.reason.code === "ok" ? "" : status.reason.sentence;
    this.part.pause.textContent = this.paused ? "Go on" : "Pause";
  }

  link(linked) {
    if (!linked) {
      this.part.state.textContent = "reconnecting";
      this.part.rate.textContent = "";
      this.part.why.textContent = "";
    }
  }

  say(text) {
    this.part.why.textContent = text;
    this.wake();
  }
}
