// What is remembered, as a gallery: look closer, keep, forget, fold in, take away.

import { get, post, send } from "/web/api.js";
import { ago, ask, attempt, by, bytes, closeDialog, h, openDialog } from "/web/parts.js";

const PAGE = 48;

export class Gallery {
  constructor() {
    this.offset = 0;
    this.opened = false;
    by("memory-tools").addEventListener("submit", (event) => { event.preventDefault(); this.begin(); });
    for (const id of ["memory-order", "memory-theme"]) by(id).addEventListener("change", () => this.begin());
    by("memory-more").addEventListener("click", () => this.more());
    by("memory-yours").addEventListener("change", async (event) => { await this.add(event.target.files); event.target.value = ""; });
    const view = by("view-memory");
    view.addEventListener("dragover", (event) => { event.preventDefault(); by("gallery").classList.add("over"); });
    view.addEventListener("dragleave", () => by("gallery").classList.remove("over"));
    view.addEventListener("drop", (event) => { event.preventDefault(); by("gallery").classList.remove("over"); this.add(event.dataTransfer.files); });
  }

  async open() {
    if (!this.opened) {
      this.opened = true;
      const answer = await attempt(() => get("/api/themes"));
      by("memory-theme").append(...(answer?.themes ?? []).map((theme) => h("option", { value: theme.name }, theme.name)));
    }
    await this.begin();
  }

  async begin() {
    this.offset = 0;
    by("gallery").replaceChildren();
    await this.more();
  }

  async more() {
    const query = new URLSearchParams({ offset: this.offset, limit: PAGE, order: by("memory-order").value });
    if (by("memory-theme").value) query.set("theme", by("memory-theme").value);
    if (by("memory-words").value.trim()) query.set("words", by("memory-words").value.trim());
    const page = await attempt(() => get(`/api/memory?${query}`));
    if (page === null) return;
    by("memory-count").textContent = `${page.entries} pictures, ${bytes(page.bytes)}`;
    this.offset += page.memories.length;
    by("gallery").append(...page.memories.map((memory) => this.tile(memory)));
    by("memory-more").hidden = page.memories.length < PAGE;
    if (this.offset === 0) by("gallery").append(h("li", { class: "empty" }, "Nothing yet. What is beautiful and unlike the rest will come to be remembered."));
  }

  // Pictures of somebody's own, one after the other.
  async add(files) {
    for (const file of files) await attempt(() => send("/api/memory/seeds", file), `${file.name} is remembered, to be dreamt toward`);
    await this.begin();
  }

  tile(memory) {
    const tag = memory.pinned ? "kept" : memory.origin === "seed" ? "yours" : null;
    const item = h("li", { data: { id: memory.id } },
      h("button", { type: "button", onclick: () => this.look(memory, item), "aria-label": `${memory.theme || "a picture"}, ${ago(memory.added_at)}${tag ? `, ${tag}` : ""}` },
        h("img", { src: `/api/images/${memory.id}?width=480`, alt: "", loading: "lazy", decoding: "async" }),
        tag ? h("span", { class: "tag" }, tag) : null,
      ),
    );
    return item;
  }

  look(memory, item) {
    const url = `/api/images/${memory.id}`;
    const facts = {
      Prompt: memory.prompt, Remembered: ago(memory.added_at), Beauty: memory.score.toFixed(2), Seed: memory.seed,
      Size: `${memory.width} × ${memory.height}`, "Came back": `${memory.times_shown} times`, "Shows its words": memory.shows_prompt?.toFixed(2),
    };
    openDialog(
      memory.theme || "A picture of yours",
      h("img", { class: "picture", src: url, alt: memory.prompt }),
      h("dl", { class: "facts" }, ...Object.entries(facts).filter(([, value]) => value !== undefined && value !== "").map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(value))))),
      h("div", { class: "row" },
        h("button", { type: "button", class: "primary", onclick: () => this.inject(memory) }, "Fold in now"),
        h("button", { type: "button", onclick: (event) => this.pin(memory, item, event.currentTarget) }, memory.pinned ? "Let go" : "Keep"),
        h("a", { class: "button", href: url, target: "_blank", rel: "noopener" }, "Open full"),
        h("a", { class: "button", href: url, download: `dreamloop-${memory.id.slice(0, 12)}.png` }, "Download with workflow"),
        h("button", { type: "button", class: "danger", onclick: () => this.forget(memory, item) }, "Forget"),
        h("button", { type: "button", onclick: closeDialog }, "Close"),
      ),
    );
  }

  async inject(memory) {
    if (await attempt(() => post("/api/control/inject", { id: memory.id }), "It is folded in over the next keyframes")) closeDialog();
  }

  async pin(memory, item, button) {
    const pinned = !memory.pinned;
    if (!(await attempt(() => post("/api/control/pin", { id: memory.id, pinned }), pinned ? "It is kept for good" : "It may be forgotten again"))) return;
    memory.pinned = pinned;
    button.textContent = pinned ? "Let go" : "Keep";
    item.replaceWith(this.tile(memory));
  }

  forget(memory, item) {
    ask("Forget this picture?", "It goes for good, with its latent.", "Forget it", async () => {
      if (await attempt(() => post("/api/control/forget", { id: memory.id }), "Forgotten")) item.remove();
    });
  }
}
