// Übersicht: the dream on the desktop of a Mac. Put this file into the widgets folder, and your own folder into
// STATUS. The pictures come from the pages that a running dream serves (shim.host and shim.port in config.yaml).
import { React } from "uebersicht";

const STATUS = "$HOME/dreamloop/status/status.json";
const PAGES = "http://127.0.0.1:8422";
const STALE_MS = 5000; // the daemon writes at least once a second

export const command = `cat "${STATUS}"`;
export const refreshFrequency = 500;
export const className = "right: 24px; bottom: 24px; width: 768px; color: #ddd; font: 13px -apple-system";

const parsed = (output) => {
  try {
    return JSON.parse(output);
  } catch {
    return null; // no dream has begun yet
  }
};

export const render = ({ output }) => {
  const status = parsed(output);
  if (!status) return React.createElement("div", null, "no dream");
  const stale = Date.now() - Date.parse(status.updated_at) > STALE_MS;
  const words = [stale ? "stalled" : status.state, status.dream.theme];
  if (!stale && status.reason.code !== "ok") words.push(status.reason.sentence);
  return React.createElement(
    "div",
    { style: { opacity: stale ? 0.5 : 1 } },
    status.frame &&
      React.createElement("img", {
        src: `${PAGES}/api/frames/${status.frame.sequence}`,
        style: { width: "100%", display: "block" },
      }),
    words.filter(Boolean).join(" · "),
  );
};
