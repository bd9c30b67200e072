// How varied the dream has been while this page was open: a line, and the level at which it is helped.

const POINTS = 720;
const EVERY_MS = 5_000;
const KEY = "dreamloop.curve";

export class Curve {
  constructor(canvas) {
    this.canvas = canvas;
    this.points = [];
    try { this.points = JSON.parse(sessionStorage.getItem(KEY) ?? "[]"); } catch { /* nothing kept */ }
    if (!Array.isArray(this.points)) this.points = [];
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  add(collapse) {
    const now = Date.now();
    const last = this.points.at(-1);
    if (last && now - last[0] < EVERY_MS) return;
    this.points.push([now, collapse.armed ? Math.round(1000 * (1 - collapse.level)) / 1000 : null]);
    if (this.points.length > POINTS) this.points.splice(0, this.points.length - POINTS);
    try { sessionStorage.setItem(KEY, JSON.stringify(this.points)); } catch { /* private window */ }
    this.draw();
  }

  draw() {
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (width === 0) return;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    pen.scale(ratio, ratio);
    pen.clearRect(0, 0, width, height);
    const y = (value) => 8 + (1 - value) * (height - 16);
    pen.lineWidth = 1;
    pen.strokeStyle = colour("--line");
    for (const value of [0, 0.5, 1]) { pen.beginPath(); pen.moveTo(0, y(value)); pen.lineTo(width, y(value)); pen.stroke(); }
    pen.fillStyle = colour("--quiet");
    pen.font = "11px sans-serif";
    pen.fillText("as varied as a healthy dream", 4, y(1) + 12);
    pen.fillText("helped below", 4, y(0.5) + 12);
    const span = Math.max(60_000, (this.points.at(-1)?.[0] ?? 0) - (this.points[0]?.[0] ?? 0));
    const start = (this.points.at(-1)?.[0] ?? 0) - span;
    pen.strokeStyle = colour("--accent");
    pen.lineWidth = 2;
    pen.lineJoin = "round";
    pen.beginPath();
    let down = false;
    for (const [at, value] of this.points) {
      if (value === null) { down = false; continue; }
      const x = ((at - start) / span) * width;
      if (down) pen.lineTo(x, y(value)); else pen.moveTo(x, y(value));
      down = true;
    }
    pen.stroke();
  }
}
