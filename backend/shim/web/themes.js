// The themes: how often each comes, what it says, try it now, edit its file.

import { call, get, post } from "/web/api.js";
import { attempt, by, closeDialog, h, openDialog, toast } from "/web/parts.js";

const FRESH = `name: my theme
description: One sentence for people.
weight: 1
positive:
  - what to dream of, in a few words
negative: what to keep away from
`;

export class Themes {
  constructor() {
    this.current = "";
    by("theme-new").addEventListener("click", () => this.edit("my-theme.yaml", FRESH, true));
  }

  async open() {
    const answer = await attempt(() => get("/api/themes"));
    if (answer === null) return;
    by("themes").replaceChildren(...answer.themes.map((theme) => this.card(theme)));
    this.mark(this.current);
  }

  mark(name) {
    this.current = name;
    for (const card of by("themes").children) card.toggleAttribute("data-now", card.dataset.name === name);
  }

  card(theme) {
    const told = h("output", {}, theme.weight.toFixed(1));
    const slider = h("input", {
      type: "range", min: "0.1", max: "5", step: "0.1", value: String(Math.min(5, theme.weight)), "aria-label": `How often ${theme.name} comes`,
      oninput: () => { told.value = Number(slider.value).toFixed(1); }, onchange: () => this.weigh(theme, Number(slider.value)),
    });
    return h("li", { class: "card", data: { name: theme.name } },
      h("h3", {}, theme.name),
      h("p", { class: "quiet" }, theme.description || theme.prompts[0]),
      h("p", { class: "quiet" }, `${theme.prompts.length} prompts · ${theme.file}`),
      h("label", { class: "inline" }, "Comes", slider, told),
      h("div", { class: "row" },
        h("button", { type: "button", onclick: () => attempt(() => post("/api/themes/try", { name: theme.name }), `${theme.name} comes with the next keyframe`) }, "Try now"),
        h("button", { type: "button", onclick: () => this.look(theme) }, "Edit"),
      ),
    );
  }

  // The one line of the weight is changed; the rest of the file stays as its author wrote it.
  async weigh(theme, weight) {
    const answer = await attempt(() => get(`/api/themes/text?${new URLSearchParams({ name: theme.name })}`));
    if (answer === null) return;
    const line = `weight: ${weight.toFixed(1)}`;
    const text = /^weight:.*$/m.test(answer.text) ? answer.text.replace(/^weight:[^#\n]*/m, (old) => line + (/\s+$/.exec(old)?.[0] ?? "")) : `${line}\n${answer.text}`;
    const saved = await attempt(() => call("PUT", "/api/themes/text", { file: answer.file, text }));
    if (saved?.saved) toast(`${theme.name} comes ${weight.toFixed(1)} times as often as usual`);
    else if (saved) toast(saved.problems[0]?.wish ?? "it was not saved");
  }

  async look(theme) {
    const answer = await attempt(() => get(`/api/themes/text?${new URLSearchParams({ name: theme.name })}`));
    if (answer) this.edit(answer.file, answer.text, false);
  }

  edit(file, text, fresh) {
    const name = h("input", { id: "theme-file", value: file, readOnly: !fresh, required: true, pattern: "[a-z0-9][a-z0-9_\\-]*\\.ya?ml" });
    const area = h("textarea", { id: "theme-text", value: text, spellcheck: false, rows: 18 });
    const problems = h("ul", { class: "problems problem", role: "alert" });
    openDialog(
      fresh ? "A new theme" : "Edit a theme",
      h("form", {
        onsubmit: async (event) => {
          event.preventDefault();
          const saved = await attempt(() => call("PUT", "/api/themes/text", { file: name.value, text: area.value }));
          if (saved === null) return;
          problems.replaceChildren(...saved.problems.map((one) => h("li", {}, `${one.line ? `line ${one.line}: ` : ""}${one.key}${one.value ? ` = ${one.value}` : ""}: ${one.wish}`)));
          if (saved.saved) { closeDialog(); toast(`${saved.name} is saved`); this.open(); }
        },
      },
        h("p", {}, h("label", { class: "inline" }, "File", name)),
        h("p", {}, h("label", { htmlFor: "theme-text", class: "quiet" }, "Its text, in YAML")),
        area, problems,
        h("div", { class: "row" }, h("button", { type: "submit", class: "primary" }, "Save"), h("button", { type: "button", onclick: closeDialog }, "Leave it")),
      ),
    );
    area.focus();
  }
}
