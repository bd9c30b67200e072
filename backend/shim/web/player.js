// When each picture is on the screen: a small queue, played one picture behind, so that between two pictures
// there is always something to blend. Pure arithmetic on the time that is handed in; it knows nothing of WebGL.

const TARGET = 1.2; // pictures that should lie ready: enough for the jitter of a network
const SLOWEST = 0.85;
const FASTEST = 1.4;
const TOO_MANY = 6; // after a frozen tab: do not hurry through, go on with the newest
const SOFT_S = 1.4; // a still fades in so long
const STILL_S = 2; // shown longer than this, a picture is a still
const LONGEST_S = 60;

export class Player {
  // fade: seconds of a blend; null: the whole time between two moving pictures, SOFT_S for stills.
  constructor({ fade = null, drop = () => {} } = {}) {
    this.fade = fade;
    this.drop = drop;
    this.queue = [];
    this.from = null;
    this.to = null;
    this.held = 0; // seconds that `to` has been coming or shown
  }

  // picture: { image, seconds } with the seconds that the daemon shows it.
  push(picture) {
    this.queue.push(picture);
    if (this.queue.length > TOO_MANY) {
      for (const late of this.queue.splice(0, this.queue.length - 2)) this.drop(late);
      this.queue[0].apart = true;
    }
  }

  // Moves on by dt seconds; returns { from, to, mix }, or null before the first picture.
  advance(dt) {
    if (this.to === null) {
      if (this.queue.length === 0) return null;
      this.from = this.to = this.queue.shift();
      this.held = LONGEST_S;
    }
    const speed = Math.min(FASTEST, Math.max(SLOWEST, 1 + 0.15 * (this.queue.length - TARGET)));
    this.held = Math.min(2 * LONGEST_S, this.held + dt * (this.length > STILL_S ? 1 : speed));
    while (this.queue.length > 0 && this.held >= this.length) {
      const over = this.held - this.length;
      this.held = over < this.length / 2 ? over : 0; // after a wait the next one comes from its beginning
      if (this.from !== this.to) this.drop(this.from);
      this.from = this.to;
      this.to = this.queue.shift();
    }
    return { from: this.from, to: this.to, mix: this.mix };
  }

  // How long `to` has to be coming and shown before the next one begins to come.
  get length() {
    const seconds = Math.min(LONGEST_S, Math.max(0.01, this.from?.seconds ?? 0.1));
    return this.to?.apart ? Math.max(seconds, SOFT_S) : seconds;
  }

  get mix() {
    if (this.from === this.to) return 1;
    const blend = this.blend;
    if (blend <= 0) return 1;
    const share = Math.min(1, this.held / blend);
    // Moving pictures flow into one another evenly; a still comes and stays.
    return blend < this.length ? share * share * (3 - 2 * share) : share;
  }

  get blend() {
    if (this.fade !== null) return Math.min(this.fade, this.length);
    return this.length > STILL_S ? SOFT_S : this.length;
  }

  // Between two pictures, so that a reload now would show.
  get calm() {
    return this.mix >= 0.98;
  }
}
