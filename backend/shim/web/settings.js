// Every key of config.yaml as a form; each change is checked by the daemon before it is written.

import { call, get } from "/web/api.js";
import { attempt, by, h, toast } from "/web/parts.js";

export class Settings {
  async open() {
    const answer = await attempt(() => get("/api/config"));
    if (answer === null) return;
    const sections = new Map();
    for (const key of answer.keys) {
      const name = key.key.split(".")[0];
      if (!sections.has(name)) sections.set(name, []);
      sections.get(name).push(key);
    }
    by("settings").replaceChildren(...[...sections].map(([name, keys]) => h("section", { class: "card group", "aria-label": name }, h("h2", {}, name), ...keys.map((key) => this.row(key)))));
    this.tell(answer);
  }

  tell(answer) {
    const restart = answer.needs_restart ?? [];
    const problems = answer.problems ?? [];
    by("settings-told").textContent = problems.length > 0 ? problems[0]
      : restart.length > 0 ? `Waits for the next start: ${restart.join(", ")}` : "Changes are written to config.yaml, with its comments kept.";
  }

  row(key) {
    const id = `key-${key.key}`;
    const problem = h("p", { class: "problem", role: "alert" });
    const field = this.field(key, id);
    field.addEventListener("change", async () => {
      problem.textContent = "";
      const answer = await attempt(() => call("PUT", "/api/config", { key: key.key, value: field.value.trim() }));
      if (answer === null) { field.value = key.value; return; }
      if (!answer.saved) { problem.textContent = answer.problems.join("; "); return; }
      key.value = field.value.trim();
      toast(answer.live ? `${key.key} holds from now on` : `${key.key} holds from the next start`);
      this.tell(answer);
    });
    return h("div", { class: "setting" },
      h("label", { htmlFor: id }, key.key.split(".")[1].replaceAll("_", " "), key.live ? null : h("span", { class: "badge" }, "at the next start"), h("small", {}, `${key.description} (${key.wish})`)),
      field, problem,
    );
  }

  field(key, id) {
    if (key.choices) {
      return h("select", { id, disabled: key.fixed }, ...key.choices.map((choice) => h("option", { value: choice, selected: choice === key.value }, choice)));
    }
    return h("input", { id, value: key.value, disabled: key.fixed, autocomplete: "off", spellcheck: false, title: key.fixed ? `set by ${key.fixed}` : "" });
  }
}
