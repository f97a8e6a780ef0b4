// One figure with axes. Its SVG has the width of its place, and is drawn again when that changes.
function logarithmicTicks(low, high) {
  const ticks = [];
  const decades = Math.log10(high / low);
  const steps = decades < 3 ? [1, 2, 5] : [1];
  const stride = Math.max(1, Math.ceil(decades / 6));
  for (let exponent = Math.floor(Math.log10(low)); exponent <= Math.log10(high); exponent += stride) {
    ticks.push(...steps.map((step) => step * 10 ** exponent).filter((tick) => tick >= low && tick <= high));
  }
  return ticks;
}

function linearTicks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10);
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step / 1e6; tick += step) {
    ticks.push(Number(tick.toPrecision(12)));
  }
  return ticks;
}

// The place of a value between two pixels; what lies beyond the ends is drawn at the end.
function makeScale({ low, high, isLogarithmic }, from, to, count) {
  const map = isLogarithmic ? (value) => Math.log10(Math.max(value, low)) : (value) => value;
  const [first, last] = [map(low), map(high)];
  const scale = (value) => from + ((map(value) - first) / (last - first || 1)) * (to - from);
  scale.ticks = isLogarithmic ? logarithmicTicks(low, high) : linearTicks(low, high, count);
  return scale;
}

// The ends of an axis around values, with some room.
function around(values, { isLogarithmic = false, room = 0.06, ends = [-Infinity, Infinity] } = {}) {
  const finite = values.filter((value) => Number.isFinite(value) && (!isLogarithmic || value > 0));
  if (finite.length === 0) return { low: isLogarithmic ? 0.1 : 0, high: 1, isLogarithmic };
  let low = finite.reduce((one, other) => Math.min(one, other));
  let high = finite.reduce((one, other) => Math.max(one, other));
  if (isLogarithmic) {
    const factor = (high / low) ** room * 1.05;
    return { low: low / factor, high: Math.min(high * factor, ends[1]), isLogarithmic };
  }
  const pad = (high - low) * room || Math.abs(high) * 0.1 || 0.1;
  return { low: Math.max(low - pad, ends[0]), high: Math.min(high + pad, ends[1]), isLogarithmic };
}

function drawAxes(layer, x, y, scaleX, scaleY, box) {
  let taken = -Infinity;
  for (const tick of scaleX.ticks) {
    const place = scaleX(tick);
    layer.append(svg("line", { class: "grid", x1: place, x2: place, y1: box.top, y2: box.bottom }));
    const text = x.text(tick);
    if (place - text.length * 3.5 > taken) {
      layer.append(svg("text", { x: place, y: box.bottom + 16, "text-anchor": "middle", class: "soft" }, text));
      taken = place + text.length * 3.5 + 4;
    }
  }
  for (const tick of scaleY.ticks) {
    const place = scaleY(tick);
    layer.append(svg("line", { class: "grid", x1: box.left, x2: box.right, y1: place, y2: place }));
    layer.append(svg("text", { x: box.left - 6, y: place + 4, "text-anchor": "end", class: "soft" }, y.text(tick)));
  }
  layer.append(svg("path", { class: "axis", fill: "none", d: `M${box.left} ${box.top}V${box.bottom}H${box.right}` }));
  layer.append(svg("text", { x: (box.left + box.right) / 2, y: box.bottom + 34, "text-anchor": "middle" }, x.title));
  layer.append(svg("text", { x: 2, y: 12 }, y.title));
}

let clips = 0;

// Draws axes, then calls draw(layer, scaleX, scaleY, box); what it draws is cut off at the axes.
function drawChart(host, { height, label, x, y, draw }) {
  const width = Math.max(host.clientWidth, 240);
  const longest = Math.max(...makeScale(y, 0, 1, 6).ticks.map((tick) => y.text(tick).length), 2);
  const box = { left: 14 + 7 * longest, right: width - 12, top: 24, bottom: height - 42 };
  const scaleX = makeScale(x, box.left, box.right, Math.max(2, Math.floor(width / 90)));
  const scaleY = makeScale(y, box.bottom, box.top, Math.max(3, Math.floor(height / 45)));
  const picture = svg("svg", { height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  drawAxes(picture, x, y, scaleX, scaleY, box);
  const clip = `clip-${(clips += 1)}`;
  const frame = { x: box.left - 7, y: box.top - 8, width: box.right - box.left + 14, height: box.bottom - box.top + 15 };
  picture.append(svg("clipPath", { id: clip }, svg("rect", frame)));
  const layer = svg("g", { "clip-path": `url(#${clip})` });
  picture.append(layer);
  draw(layer, scaleX, scaleY, box);
  host.replaceChildren(picture);
  return { picture, scaleX, scaleY, box };
}

function keepDrawn(host, draw) {
  let width = host.clientWidth;
  new ResizeObserver(() => {
    if (host.clientWidth !== width) {
      width = host.clientWidth;
      draw({});
    }
  }).observe(host);
  window.addEventListener("beforeprint", () => draw({}));
  whenChanged(draw);
}

// Likewise, for what shows trials and not their points: a slider does not change it.
function keepTrialsDrawn(host, draw) {
  let drawn = null;
  keepDrawn(host, (changes) => {
    const trial = state.selected?.trial ?? null;
    if (Object.keys(changes).length === 0 || trial !== drawn) draw();
    drawn = trial;
  });
}

// Many small dots as one element.
function dots(places, attributes) {
  const path = places.map(([x, y]) => `M${x.toFixed(1)} ${y.toFixed(1)}h0`).join("");
  return svg("path", { d: path || "M0 0", fill: "none", "stroke-linecap": "round", "stroke-width": 5, ...attributes });
}

function lineThrough(places, attributes) {
  const path = places.map(([x, y], place) => `${place ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
  return svg("path", { d: path || "M0 0", fill: "none", ...attributes });
}

// Symbols that differ in shape as well as in colour.
function symbol(kind, x, y, attributes = {}) {
  const paths = {
    cross: `M${x - 4} ${y - 4}L${x + 4} ${y + 4}M${x - 4} ${y + 4}L${x + 4} ${y - 4}`,
    diamond: `M${x} ${y - 5}L${x + 5} ${y}L${x} ${y + 5}L${x - 5} ${y}Z`,
  };
  if (kind in paths) return svg("path", { d: paths[kind], fill: "none", "stroke-width": 2, ...attributes });
  return svg("circle", { cx: x, cy: y, r: 5, ...attributes });
}
