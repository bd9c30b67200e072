// From news of frames to pictures on a screen: fetched by their numbers side by side, played in order.

import { Player } from "/web/player.js";

const AT_A_TIME = 3; // requests for frames
const LONGEST_FETCH_MS = 10_000;

export class Pictures {
  constructor(screen, { fade = null, onFirst = () => {} }) {
    this.screen = screen;
    this.onFirst = onFirst;
    this.player = new Player({ fade, drop: (picture) => screen.drop(picture) });
    this.coming = [];
    this.newest = 0;
    this.shown = 0;
    this.before = performance.now();
    requestAnimationFrame((now) => this.draw(now));
  }

  want(frame) {
    if (frame.sequence === this.newest) return;
    this.newest = frame.sequence;
    const coming = { seconds: frame.duration_s / Math.max(0.02, frame.pace || 1), sequence: frame.sequence, picture: null, failed: false };
    this.coming.push(coming);
    if (this.coming.length > 2 * AT_A_TIME) { // the network is slower than the dream: leave out the oldest
      for (const late of this.coming.splice(0, this.coming.length - AT_A_TIME)) {
        late.dropped = true;
        if (late.picture) this.screen.drop(late.picture);
      }
    }
    this.fetch(`/api/frames/${frame.sequence}`).then(
      (picture) => {
        coming.picture = picture;
        if (coming.dropped) this.screen.drop(picture);
        else this.deliver();
      },
      () => { coming.failed = true; this.deliver(); },
    );
  }

  async fetch(url) {
    if (this.screen.fetch) return this.screen.fetch(url);
    const answer = await fetch(url, { signal: AbortSignal.timeout(LONGEST_FETCH_MS) });
    if (!answer.ok) throw new Error(String(answer.status));
    return { image: await createImageBitmap(await answer.blob()) };
  }

  deliver() {
    while (this.coming.length > 0 && (this.coming[0].picture !== null || this.coming[0].failed)) {
      const { picture, seconds, sequence } = this.coming.shift();
      if (picture !== null) this.player.push(Object.assign(picture, { seconds, sequence, arrivedAt: performance.now() }));
    }
  }

  draw(now) {
    requestAnimationFrame((then) => this.draw(then));
    const dt = Math.min(1, Math.max(0, (now - this.before) / 1000));
    this.before = now;
    const scene = this.player.advance(dt);
    if (scene === null || !this.screen.draw(scene, now / 1000)) return;
    if (this.shown === 0) this.onFirst();
    this.shown = scene.to.sequence;
  }

  // Seconds that the newest picture on the screen has been here.
  get age() {
    return this.player.to === null ? null : (performance.now() - this.player.to.arrivedAt) / 1000;
  }
}
