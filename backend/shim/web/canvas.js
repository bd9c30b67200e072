// Draws the blend of two pictures on the GPU: cover, contain, or contain over a blurred copy of itself.

const VERTEX = `#version 300 es
out vec2 place;
void main() {
  vec2 corner = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
  place = corner;
  gl_Position = vec4(corner, 0.0, 1.0);
}`;

// Catmull-Rom instead of bilinear, since dreams are smaller than walls; a little noise against banding in dark skies.
const FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D older, newer;
uniform vec2 olderScale, newerScale, olderSize, newerSize, drift;
uniform float mixing, zoom, fit, enlarged, time;
uniform mat2 turn;
in vec2 place;
out vec4 colour;

vec3 smoothly(sampler2D picture, vec2 at, vec2 size) {
  vec2 spot = at * size - 0.5, base = floor(spot), f = spot - base;
  vec2 w0 = f * (-0.5 + f * (1.0 - 0.5 * f)), w1 = 1.0 + f * f * (-2.5 + 1.5 * f);
  vec2 w2 = f * (0.5 + f * (2.0 - 1.5 * f)), w3 = f * f * (-0.5 + 0.5 * f);
  vec2 w12 = w1 + w2, p0 = (base - 0.5) / size, p12 = (base + 0.5 + w2 / w12) / size, p3 = (base + 2.5) / size;
  vec3 sum = texture(picture, vec2(p12.x, p0.y)).rgb * (w12.x * w0.y);
  sum += texture(picture, vec2(p0.x, p12.y)).rgb * (w0.x * w12.y);
  sum += texture(picture, p12).rgb * (w12.x * w12.y);
  sum += texture(picture, vec2(p3.x, p12.y)).rgb * (w3.x * w12.y);
  sum += texture(picture, vec2(p12.x, p3.y)).rgb * (w12.x * w3.y);
  float all = w12.x * w0.y + w0.x * w12.y + w12.x * w12.y + w3.x * w12.y + w12.x * w3.y;
  return clamp(sum / all, 0.0, 1.0);
}

vec3 soft(sampler2D picture, vec2 at, vec2 size) {
  float level = max(0.0, log2(max(size.x, size.y)) - 4.0);
  vec3 sum = vec3(0.0);
  for (int x = -2; x <= 2; x++) for (int y = -2; y <= 2; y++)
    sum += textureLod(picture, at + vec2(x, y) * 0.03, level).rgb;
  return sum * (0.5 / 25.0);
}

vec3 seen(sampler2D picture, vec2 scale, vec2 size) {
  vec2 spot = turn * place;
  vec2 at = (spot * scale / zoom + drift) * vec2(0.5, -0.5) + 0.5;
  bool inside = all(greaterThanEqual(at, vec2(0.0))) && all(lessThanEqual(at, vec2(1.0)));
  if (inside) return enlarged > 0.5 ? smoothly(picture, at, size) : texture(picture, at).rgb;
  if (fit < 1.5) return vec3(0.0);
  vec2 covering = scale / max(scale.x, scale.y);
  return soft(picture, spot * covering * vec2(0.5, -0.5) + 0.5, size);
}

void main() {
  vec3 shown = mixing >= 1.0 ? seen(newer, newerScale, newerSize)
    : mix(seen(older, olderScale, olderSize), seen(newer, newerScale, newerSize), mixing);
  float noise = fract(52.9829189 * fract(dot(gl_FragCoord.xy + time, vec2(0.06711056, 0.00583715))));
  colour = vec4(shown + (noise - 0.5) / 255.0, 1.0);
}`;

const NAMES = [
  "older", "newer", "olderScale", "newerScale", "olderSize", "newerSize", "mixing", "zoom", "drift", "fit", "enlarged",
  "time", "turn",
];
const FITS = { cover: 0, contain: 1, blur: 2 };
const MOST_PIXELS = [3840 * 2160, 1920 * 1080, 960 * 540, 640 * 360]; // by thrift
const SLOW_FPS = 24;
const LOOK_S = 3;

export class Canvas {
  // Throws where there is no WebGL2.
  constructor(element, { fit, rotate, kenburns }) {
    this.element = element;
    this.fit = FITS[fit];
    this.rotate = rotate;
    this.kenburns = kenburns;
    this.drawn = 0;
    this.thrift = 0; // a browser that draws without a GPU gets fewer pixels, then simpler ones
    this.watched = { since: 0, drawn: 0 };
    this.lost = false;
    this.gl = element.getContext("webgl2", {
      alpha: false, antialias: false, depth: false, powerPreference: "low-power", preserveDrawingBuffer: false,
    });
    if (!this.gl) throw new Error("no WebGL2");
    element.addEventListener("webglcontextlost", (event) => { event.preventDefault(); this.lost = true; });
    element.addEventListener("webglcontextrestored", () => this.begin());
    this.begin();
    this.sized = false;
    new ResizeObserver(() => { this.sized = false; }).observe(element);
  }

  begin() {
    const gl = this.gl;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(`WebGL: ${gl.getProgramInfoLog(program)}`);
    gl.useProgram(program);
    this.at = Object.fromEntries(NAMES.map((name) => [name, gl.getUniformLocation(program, name)]));
    gl.uniform1i(this.at.older, 0);
    gl.uniform1i(this.at.newer, 1);
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
    this.lost = false;
    this.generation = (this.generation ?? 0) + 1;
  }

  // Just before something is drawn: it clears what is on the screen.
  resize() {
    if (this.sized) return;
    this.sized = true;
    const { clientWidth, clientHeight } = this.element;
    const ratio = Math.min(window.devicePixelRatio || 1, Math.sqrt(MOST_PIXELS[this.thrift] / Math.max(1, clientWidth * clientHeight)));
    const width = Math.max(1, Math.round(clientWidth * ratio));
    const height = Math.max(1, Math.round(clientHeight * ratio));
    if (this.element.width !== width) this.element.width = width;
    if (this.element.height !== height) this.element.height = height;
  }

  // Onto the GPU, once; the bitmap is let go of.
  load(picture) {
    const gl = this.gl;
    if (picture.texture && picture.generation === this.generation) return true;
    if (!picture.image) return false; // its GPU was lost
    picture.texture = gl.createTexture();
    picture.generation = this.generation;
    gl.activeTexture(gl.TEXTURE1);
    gl.bindTexture(gl.TEXTURE_2D, picture.texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, picture.image);
    for (const [name, value] of [
      [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE], [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE], [gl.TEXTURE_MAG_FILTER, gl.LINEAR],
      [gl.TEXTURE_MIN_FILTER, this.fit === FITS.blur ? gl.LINEAR_MIPMAP_LINEAR : gl.LINEAR],
    ]) gl.texParameteri(gl.TEXTURE_2D, name, value);
    if (this.fit === FITS.blur) gl.generateMipmap(gl.TEXTURE_2D);
    picture.width = picture.image.width;
    picture.height = picture.image.height;
    picture.image.close();
    picture.image = null;
    return true;
  }

  drop(picture) {
    picture.image?.close();
    picture.image = null;
    if (picture.texture && picture.generation === this.generation) this.gl.deleteTexture(picture.texture);
    picture.texture = null;
  }

  draw({ from, to, mix }, seconds) {
    const gl = this.gl;
    if (this.lost || !this.load(to)) return false;
    const single = from === to || !this.load(from);
    const older = single ? to : from;
    this.resize();
    gl.viewport(0, 0, this.element.width, this.element.height);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, older.texture);
    gl.activeTexture(gl.TEXTURE1);
    gl.bindTexture(gl.TEXTURE_2D, to.texture);
    gl.uniform2fv(this.at.olderScale, this.scaleOf(older));
    gl.uniform2fv(this.at.newerScale, this.scaleOf(to));
    gl.uniform2f(this.at.olderSize, older.width, older.height);
    gl.uniform2f(this.at.newerSize, to.width, to.height);
    gl.uniform1f(this.at.mixing, single ? 1 : mix);
    gl.uniform1f(this.at.fit, this.fit);
    gl.uniform1f(this.at.enlarged, this.thrift < 2 && this.element.width > to.width * 1.1 ? 1 : 0);
    gl.uniform1f(this.at.time, Math.floor((seconds * 60) % 64) * 5.588238);
    const swing = this.kenburns * 0.03;
    gl.uniform1f(this.at.zoom, 1 + swing * (1.6 + Math.sin(seconds / 23)));
    gl.uniform2f(this.at.drift, swing * 0.8 * Math.sin(seconds / 31), swing * 0.8 * Math.cos(seconds / 37));
    gl.uniformMatrix2fv(this.at.turn, false, TURNS[this.rotate]);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    this.drawn += 1;
    this.watch(seconds);
    return true;
  }

  // Fewer pictures a second than the eye wants: draw less of each.
  watch(seconds) {
    const past = seconds - this.watched.since;
    if (past < LOOK_S) return;
    const rate = (this.drawn - this.watched.drawn) / past;
    const hidden = document.visibilityState !== "visible" || past > 2 * LOOK_S;
    if (rate < SLOW_FPS && !hidden && this.watched.since > 0 && this.thrift < MOST_PIXELS.length - 1) {
      this.thrift += 1;
      this.sized = false;
    }
    this.watched = { since: seconds, drawn: this.drawn };
  }

  // Places on the screen, -1 to 1, times this are places in the picture, -1 to 1.
  scaleOf({ width, height }) {
    const sideways = this.rotate % 2 === 1;
    const screen = (sideways ? this.element.height : this.element.width) / (sideways ? this.element.width : this.element.height);
    const wide = screen / (width / height);
    const cover = wide > 1 ? [1, 1 / wide] : [wide, 1];
    const contain = wide > 1 ? [wide, 1] : [1, 1 / wide];
    return this.fit === FITS.cover ? cover : contain;
  }
}

const TURNS = [[1, 0, 0, 1], [0, 1, -1, 0], [-1, 0, 0, -1], [0, -1, 1, 0]].map((each) => new Float32Array(each));
