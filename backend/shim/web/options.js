// What the address of the display page may say: ?fit=cover|contain|blur&fade=SECONDS&hud=0&rotate=90&kenburns=1&reload=HOURS

const FITS = ["cover", "contain", "blur"];

export function optionsOf(search) {
  const asked = new URLSearchParams(search);
  const number = (name, least, most, otherwise) => {
    const text = asked.get(name);
    const value = text === null || text.trim() === "" ? NaN : Number(text);
    return Number.isFinite(value) ? Math.min(most, Math.max(least, value)) : otherwise;
  };
  const fit = asked.get("fit");
  return {
    fit: FITS.includes(fit) ? fit : "cover",
    fade: number("fade", 0, 30, null), // seconds; null: as long as each picture is shown, stills softly
    hud: asked.get("hud") !== "0",
    rotate: ((Math.round(number("rotate", -360, 360, 0) / 90) % 4) + 4) % 4, // quarter turns, clockwise
    kenburns: number("kenburns", 0, 3, asked.has("kenburns") ? 1 : 0), // 1: a slow drift of some percent
    reload: number("reload", 0, 168, 12), // hours after which the page renews itself; 0: never
    gl: asked.get("gl") !== "0",
  };
}
