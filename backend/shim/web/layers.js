// The same without WebGL: pictures as layers over one another, whose opacity the browser blends.

export class Layers {
  constructor(stage, { fit, rotate, kenburns }) {
    this.fit = fit;
    this.kenburns = kenburns;
    this.drawn = 0;
    this.turn = document.createElement("div");
    this.turn.id = "turn";
    stage.append(this.turn);
    this.rotate = rotate;
    new ResizeObserver(() => this.resize(stage)).observe(stage);
    this.resize(stage);
  }

  resize(stage) {
    const { clientWidth: width, clientHeight: height } = stage;
    const style = this.turn.style;
    const sideways = this.rotate % 2 === 1;
    style.width = `${sideways ? height : width}px`;
    style.height = `${sideways ? width : height}px`;
    style.left = `${sideways ? (width - height) / 2 : 0}px`;
    style.top = `${sideways ? (height - width) / 2 : 0}px`;
    style.transform = `rotate(${90 * this.rotate}deg)`;
  }

  // The images of one picture, decoded; rejects where it cannot be had.
  async fetch(url) {
    const kinds = this.fit === "blur" ? ["back", "front"] : ["front"];
    const images = kinds.map((kind) => {
      const image = new Image();
      image.className = `layer ${kind}`;
      image.alt = "";
      image.src = url;
      return image;
    });
    await Promise.all(images.map((image) => image.decode()));
    return { images };
  }

  drop(picture) {
    for (const image of picture.images ?? []) {
      image.remove();
      image.removeAttribute("src");
    }
    picture.images = null;
  }

  draw({ from, to, mix }, seconds) {
    for (const picture of from === to ? [to] : [from, to]) {
      for (const image of picture.images ?? []) if (!image.isConnected) this.turn.append(image);
    }
    for (const image of from.images ?? []) image.style.opacity = "1";
    for (const image of to.images ?? []) image.style.opacity = String(from === to ? 1 : mix);
    if (this.kenburns > 0) {
      const swing = 0.03 * this.kenburns;
      const zoom = 1 + swing * (1.6 + Math.sin(seconds / 23));
      this.turn.style.scale = String(zoom);
      this.turn.style.translate = `${40 * swing * Math.sin(seconds / 31)}% ${40 * swing * Math.cos(seconds / 37)}%`;
    }
    this.drawn += 1;
    return true;
  }
}
