// Small parts of the studio: elements, toasts, dialogs, words for numbers.

import { Refused, setToken } from "/web/api.js";

// An element with properties, and children that are elements or plain text: nothing is ever read as HTML.
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const by = (id) => document.getElementById(id);

let toastTimer = 0;
export function toast(text) {
  const element = by("toast");
  element.textContent = text;
  element.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => element.classList.remove("shown"), 4000);
}

// Does something and tells what came of it; asks for the token where one is wanted.
export async function attempt(work, done) {
  try {
    const answer = await work();
    if (done) toast(typeof done === "function" ? done(answer) : done);
    return answer;
  } catch (refused) {
    if (!(refused instanceof Refused)) throw refused;
    if (refused.status === 401) askToken(refused.message);
    else toast(refused.message);
    return null;
  }
}

export function openDialog(title, ...children) {
  const dialog = by("dialog");
  dialog.replaceChildren(h("div", {}, h("h2", { id: "dialog-title" }, title), ...children));
  if (!dialog.open) dialog.showModal();
  return dialog;
}

export const closeDialog = () => by("dialog").close();

export function ask(title, text, action, work) {
  openDialog(
    title,
    h("p", {}, text),
    h("div", { class: "row" },
      h("button", { type: "button", class: "danger", onclick: () => { closeDialog(); work(); } }, action),
      h("button", { type: "button", onclick: closeDialog, autofocus: true }, "No"),
    ),
  );
}

function askToken(why) {
  const input = h("input", { id: "token", type: "password", autocomplete: "off", required: true });
  openDialog(
    "The token, please",
    h("p", { class: "quiet" }, `${why}. It stands in the file token of the status folder and is kept in this browser only.`),
    h("form", { class: "row", onsubmit: (event) => { event.preventDefault(); setToken(input.value.trim()); closeDialog(); toast("Try again now"); } },
      h("label", { class: "inline grow", htmlFor: "token" }, "Token", input),
      h("button", { type: "submit", class: "primary" }, "Keep it"),
    ),
  );
  input.focus();
}

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) { count /= 1000; unit += 1; }
  return `${count < 10 && unit > 0 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

export const ago = (iso) => `${duration(Math.max(0, (Date.now() - Date.parse(iso)) / 1000))} ago`;

export function clockTime(value) {
  return new Date(value).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}
