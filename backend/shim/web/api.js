// Asking for something to be done. Where a token is wanted, it is kept in this browser only.

const KEY = "dreamloop.token";

export function token() {
  try { return localStorage.getItem(KEY) ?? ""; } catch { return ""; }
}

export function setToken(value) {
  try { value ? localStorage.setItem(KEY, value) : localStorage.removeItem(KEY); } catch { /* private window */ }
}

export class Refused extends Error {
  constructor(message, code, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

export async function call(method, path, body) {
  const headers = {};
  if (body instanceof Blob) headers["Content-Type"] = body.type;
  if (token()) headers.Authorization = `Bearer ${token()}`;
  if (body !== undefined && !(body instanceof Blob)) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body === undefined || body instanceof Blob ? body : JSON.stringify(body) });
  } catch {
    throw new Refused("Dreamloop cannot be reached", "offline", 0);
  }
  const value = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(value.message ?? answer.statusText, value.code ?? "failed", answer.status);
  return value;
}

export const get = (path) => call("GET", path);
export const send = (path, file) => call("POST", path, file);
export const post = (path, body = {}) => call("POST", path, body);

// What is on display, in words: the engine is some seconds ahead of it, and may be with another theme already.
export function caption({ dream, frame }) {
  const named = (theme) => (theme === "said" ? "as you said" : theme);
  const shown = frame?.theme || dream.theme;
  return shown === dream.theme
    ? { theme: named(shown), prompt: dream.prompt }
    : { theme: named(shown), prompt: `soon: ${named(dream.theme)}` };
}
