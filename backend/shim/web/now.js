// What it dreams now, and why.

import { caption, post } from "/web/api.js";
import { Canvas } from "/web/canvas.js";
import { Curve } from "/web/curve.js";
import { Layers } from "/web/layers.js";
import { ago, ask, attempt, by, bytes, duration, h } from "/web/parts.js";
import { Pictures } from "/web/pictures.js";

const WORDS = {
  starting: "Waking the engine", buffering: "Falling asleep", dreaming: "Dreaming", resting: "Dreaming, the engine rests",
  remembering: "Remembering", paused: "Paused", stopping: "Stopping",
};
const MOODS = { dreaming: "good", resting: "good", paused: "warn", stopping: "bad" };

// A fresh picture that was folded in and not remembered has none to show.
const vanish = (event) => { event.target.style.visibility = "hidden"; };

export class Now {
  constructor() {
    this.status = null;
    const canvas = by("live");
    let screen;
    try { screen = new Canvas(canvas, { fit: "cover", rotate: 0, kenburns: 0 }); } catch {
      canvas.hidden = true;
      screen = new Layers(canvas.parentElement, { fit: "cover", rotate: 0, kenburns: 0 });
    }
    this.pictures = new Pictures(screen, {});
    this.curve = new Curve(by("curve"));
    by("do-pause").addEventListener("click", () => this.togglePause());
    by("do-next").addEventListener("click", () => attempt(() => post("/api/control/next"), "Another theme comes with the next keyframe"));
    by("do-stop").addEventListener("click", () => ask("Stop the dream?", "Displays keep the last picture until it is started again on its machine.", "Stop it", () => attempt(() => post("/api/control/stop"), "It is stopping")));
    by("say").addEventListener("submit", (event) => { event.preventDefault(); this.say(); });
    by("say-text").addEventListener("keydown", (event) => { if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); by("say").requestSubmit(); } });
  }

  get paused() { return this.status?.state === "paused"; }

  async togglePause() {
    await attempt(() => post(`/api/control/${this.paused ? "resume" : "pause"}`));
  }

  async say() {
    const text = by("say-text").value.trim();
    const seconds = Number(by("say-seconds").value);
    if (!text) return;
    const answer = await attempt(() => post("/api/prompt", { text, seconds }), "It turns toward it within two keyframes");
    if (answer) by("say-text").value = "";
  }

  show(status) {
    this.status = status;
    const { display, reason, engine, memory } = status;
    const told = caption(status);
    by("now-theme").textContent = told.theme;
    by("now-prompt").textContent = told.prompt;
    by("now-state").textContent = WORDS[status.state] ?? status.state;
    by("now-reason").textContent = reason.sentence;
    by("do-pause").textContent = this.paused ? "Go on" : "Pause";
    by("pill").dataset.mood = MOODS[status.state] ?? (reason.code === "ok" ? "warn" : "bad");
    by("pill-text").textContent = `${status.state}${display.shown_fps > 0 ? ` · ${display.shown_fps.toFixed(1)} fps` : ""}`;
    const said = status.prompts.said;
    by("say-told").textContent = said ? `Dreaming of “${said.text}” for another ${duration(said.seconds_left)}.` : "";
    this.buffer(display);
    this.curve.add(memory.collapse);
    const collapse = memory.collapse;
    by("curve-text").textContent = !collapse.armed ? "Not enough has been seen yet to tell."
      : `${collapse.effective_number.toFixed(1)} distinct pictures of late; ${collapse.collapsed ? "it goes round in circles" : "it is well"} (level ${collapse.level.toFixed(2)}).`;
    this.events(memory.events);
    this.facts(status, engine);
  }

  buffer(display) {
    const target = Math.max(display.buffer_target_seconds, 0.1);
    const meter = by("buffer");
    meter.setAttribute("aria-valuemax", target.toFixed(0));
    meter.setAttribute("aria-valuenow", display.buffer_seconds.toFixed(1));
    meter.firstElementChild.style.width = `${Math.min(100, (100 * display.buffer_seconds) / target)}%`;
    const pace = display.pace < 0.98 ? `; time is stretched to ${Math.round(100 * display.pace)} % for a slow engine` : "";
    by("buffer-text").textContent = `${display.buffer_seconds.toFixed(1)} of ${target.toFixed(0)} seconds${pace}`;
  }

  events(events) {
    const list = by("events");
    const names = events.map((event) => event.at).join();
    if (list.dataset.names === names && names) return;
    list.dataset.names = names;
    list.replaceChildren(
      ...[...events].reverse().map((event) => h("li", {},
        h("img", { src: `/api/images/${event.memory}?width=160`, alt: "", loading: "lazy", onerror: vanish }),
        h("div", {}, h("time", { dateTime: event.at, class: "quiet" }, ago(event.at)), h("p", {}, event.reason)),
      )),
      ...(events.length === 0 ? [h("li", { class: "quiet none" }, "None so far: it has not needed any.")] : []),
    );
  }

  facts(status, engine) {
    const { dream, display, memory, storage } = status;
    const facts = {
      Engine: engine.kind === "none" ? "not chosen yet" : `${engine.kind === "embedded" ? "embedded" : "ComfyUI"} ${engine.version}${engine.reachable ? "" : " (away)"}`,
      Model: engine.checkpoint, Device: engine.device, Mode: dream.mode,
      "Picture size": dream.width ? `${dream.width} × ${dream.height}` : "",
      "A keyframe takes": dream.keyframe_s ? `${dream.keyframe_s.toFixed(2)} s` : "",
      Keyframes: `${dream.keyframes} good, ${dream.rejected} refused, ${dream.failed_jobs} jobs failed`,
      "Frames shown": `${display.frames_shown} in ${duration(status.uptime_s)}`,
      Remembers: `${memory.entries} pictures, ${bytes(memory.bytes)}`, "Judged by": memory.matcher,
      "Frames on disk": `${storage.frames}, ${bytes(storage.frame_bytes)}`,
      "Newest trouble": engine.last_error ?? storage.last_error ?? memory.problem ?? "",
    };
    const list = by("facts");
    list.replaceChildren(...Object.entries(facts).filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
    list.title = status.note;
  }
}
