"use strict";
(() => {
  const NS = "http://www.w3.org/2000/svg";
  const content = JSON.parse(document.getElementById("content").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const tables = Object.fromEntries(Object.entries(content.colours).map(([k, v]) => [k, bytes(v)]));

  // Numbers travel as 16 bits between the least and the greatest; 65535 means missing.
  function decode(layer) {
    const raw = new Uint16Array(bytes(layer.data).buffer);
    const step = (layer.high - layer.low) / 65534;
    return Float64Array.from(raw, (n) => (n === 65535 ? NaN : layer.low + n * step));
  }

  function node(name, attributes, parent, text) {
    const made = document.createElementNS(NS, name);
    for (const [k, v] of Object.entries(attributes)) made.setAttribute(k, v);
    if (text !== undefined) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  }

  function shown(v) {
    if (!Number.isFinite(v)) return "no value";
    const small = v !== 0 && (Math.abs(v) < 1e-3 || Math.abs(v) >= 1e5);
    return small ? v.toExponential(2).replace(/\.?0*e/, "e") : String(Number(v.toPrecision(4)));
  }
  const named = (axis) => (axis.unit ? `${axis.name} (${axis.unit})` : axis.name);

  function ticks(low, high, count = 5) {
    const rough = (high - low) / count || 1;
    const ten = 10 ** Math.floor(Math.log10(rough));
    const step = ten * [1, 2, 5, 10].find((m) => m * ten >= rough);
    const found = [];
    for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + 1e-9 * step; v += step)
      found.push(Number(v.toPrecision(12)));
    return found;
  }

  const BOX = { left: 62, top: 12, width: 330, height: 230, all: 480, tall: 290 };

  function frame(svg, across, up) {
    const x = (v) => BOX.left + ((v - across.low) / (across.high - across.low || 1)) * BOX.width;
    const y = (v) => BOX.top + BOX.height - ((v - up.low) / (up.high - up.low || 1)) * BOX.height;
    const bottom = BOX.top + BOX.height;
    node("rect", { x: BOX.left, y: BOX.top, width: BOX.width, height: BOX.height, fill: "none",
      stroke: "currentColor", "stroke-opacity": 0.5 }, svg);
    for (const v of ticks(across.low, across.high)) {
      node("line", { x1: x(v), x2: x(v), y1: bottom, y2: bottom + 4, stroke: "currentColor" }, svg);
      node("text", { x: x(v), y: bottom + 17, "text-anchor": "middle" }, svg, shown(v));
    }
    for (const v of ticks(up.low, up.high)) {
      node("line", { x1: BOX.left - 4, x2: BOX.left, y1: y(v), y2: y(v), stroke: "currentColor" }, svg);
      node("text", { x: BOX.left - 7, y: y(v) + 4, "text-anchor": "end" }, svg, shown(v));
    }
    node("text", { x: BOX.left + BOX.width / 2, y: BOX.tall - 6, "text-anchor": "middle" }, svg, across.label);
    node("text", { x: 13, y: BOX.top + BOX.height / 2, "text-anchor": "middle",
      transform: `rotate(-90 13 ${BOX.top + BOX.height / 2})` }, svg, up.label);
    return { x, y };
  }

  function painted(width, height, at, panel) {
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const table = tables[panel.colours];
    for (let row = 0; row < height; row++)
      for (let column = 0; column < width; column++) {
        const v = at(column, height - 1 - row);
        const place = 4 * (row * width + column);
        if (!Number.isFinite(v)) continue;
        const share = Math.min(Math.max((v - panel.low) / (panel.high - panel.low || 1), 0), 1);
        image.data.set(table.subarray(3 * Math.round(255 * share), 3 * Math.round(255 * share) + 3), place);
        image.data[place + 3] = 255;
      }
    context.putImageData(image, 0, 0);
    return canvas.toDataURL();
  }

  function bar(svg, panel) {
    const left = BOX.left + BOX.width + 16;
    const y = (v) => BOX.top + BOX.height - ((v - panel.low) / (panel.high - panel.low || 1)) * BOX.height;
    const colours = painted(1, 64, (_, row) => panel.low + ((panel.high - panel.low) * row) / 63, panel);
    node("image", { x: left, y: BOX.top, width: 14, height: BOX.height, preserveAspectRatio: "none",
      href: colours }, svg);
    for (const v of ticks(panel.low, panel.high))
      node("text", { x: left + 19, y: y(v) + 4 }, svg, shown(v));
  }

  // A half step beyond the first and the last node, so that every pixel lies about its node.
  const range = (axis) => {
    const half = axis.size > 1 ? (axis.upper - axis.lower) / (axis.size - 1) / 2 : 0.5;
    return { low: axis.lower - half, high: axis.upper + half, label: named(axis) };
  };
  const at = (axis, i) => axis.lower + (axis.size > 1 ? (i * (axis.upper - axis.lower)) / (axis.size - 1) : 0);

  class Panel {
    constructor(panel) {
      this.panel = panel;
      this.layers = Object.fromEntries(Object.entries(panel.layers).map(([k, v]) => [k, decode(v)]));
      this.figure = document.getElementById(panel.id);
      this.map = this.figure.querySelector("svg.map");
      this.profile = this.figure.querySelector("svg.profile");
      this.input = this.figure.querySelector("input");
      this.output = this.figure.querySelector("output");
      if (this.input) this.input.addEventListener("input", () => this.draw());
      this.draw();
    }

    get index() { return this.input ? Number(this.input.value) : 0; }

    draw() {
      const { slider } = this.panel;
      if (slider) {
        const text = `${slider.name} = ${shown(at(slider, this.index))} ${slider.unit}`.trim();
        this.output.textContent = text;
        this.input.setAttribute("aria-valuetext", text);
      }
      if (this.map) this.drawMap();
      if (this.profile) this.drawProfile();
    }

    drawMap() {
      const { panel, map: svg } = this;
      const values = this.layers.value;
      svg.replaceChildren();
      const whole = panel.across.length === 1;  // two coordinates in all: the map shows every position
      const [h, v] = whole ? (panel.flat ? [panel.slider, panel.across[0]] : [panel.across[0], panel.slider])
        : panel.across;
      const row = panel.across[0].size;
      const pick = whole
        ? (panel.flat ? (i, j) => values[i * row + j] : (i, j) => values[j * row + i])
        : (i, j) => values[(this.index * h.size + i) * v.size + j];
      const [across, up] = [range(h), range(v)];
      node("rect", { x: BOX.left, y: BOX.top, width: BOX.width, height: BOX.height, fill: "var(--missing)" }, svg);
      node("image", { x: BOX.left, y: BOX.top, width: BOX.width, height: BOX.height, preserveAspectRatio: "none",
        href: painted(h.size, v.size, pick, panel), style: "image-rendering: pixelated" }, svg);
      const { x, y } = frame(svg, across, up);
      if (whole) {
        const here = at(panel.slider, this.index);
        const ends = panel.flat
          ? { x1: x(here), x2: x(here), y1: BOX.top, y2: BOX.top + BOX.height }
          : { x1: BOX.left, x2: BOX.left + BOX.width, y1: y(here), y2: y(here) };
        node("line", { ...ends, stroke: "#ffffff", "stroke-width": 3.5 }, svg);
        node("line", { ...ends, stroke: "#d55e00", "stroke-width": 1.8 }, svg);
      }
      bar(svg, panel);
      const where = panel.slider ? `, ${this.output.textContent}` : "";
      svg.setAttribute("aria-label", `Map of ${panel.title} over ${h.name} and ${v.name}${where}; ` +
        `colours from ${shown(panel.low)} to ${shown(panel.high)} ${panel.unit}`.trim());
    }

    drawProfile() {
      const { panel, profile: svg, index } = this;
      const axis = panel.across[0];
      const line = (layer) => this.layers[layer] &&
        Array.from(this.layers[layer].subarray(index * axis.size, (index + 1) * axis.size));
      const [values, sd, forward] = [line("value"), line("sd"), line("forward")];
      svg.replaceChildren();
      const up = { low: panel.span[0], high: panel.span[1],
        label: panel.unit ? `${panel.name} (${panel.unit})` : panel.name };
      const { x, y } = frame(svg, range(axis), up);
      const clip = (v) => Math.min(Math.max(y(v), BOX.top), BOX.top + BOX.height);
      const place = values.map((_, i) => x(at(axis, i)));
      if (sd) {
        const known = values.map((v, i) => [v, sd[i], i]).filter(([v, s]) => Number.isFinite(v + s));
        const upper = known.map(([v, s, i]) => `${place[i]},${clip(v + 1.96 * s)}`);
        const lower = known.map(([v, s, i]) => `${place[i]},${clip(v - 1.96 * s)}`).reverse();
        node("polygon", { points: [...upper, ...lower].join(" "), fill: "var(--first)", opacity: 0.22 }, svg);
      }
      for (const [px, py, held] of this.near())
        node("circle", { cx: x(px), cy: clip(py), r: 2.4, fill: held ? "var(--second)" : "var(--soft)",
          opacity: 0.75 }, svg);
      const path = (line) => line.map((v, i) => (Number.isFinite(v) ? `${place[i]},${clip(v)}` : ""))
        .filter(Boolean).join(" ");
      node("polyline", { points: path(values), fill: "none", stroke: "var(--first)", "stroke-width": 2 }, svg);
      if (forward) node("polyline", { points: path(forward), fill: "none", stroke: "var(--second)",
        "stroke-width": 1.6, "stroke-dasharray": "6 4" }, svg);
      const finite = values.filter(Number.isFinite);
      const where = panel.slider ? ` at ${this.output.textContent}` : "";
      svg.setAttribute("aria-label", `Curve of ${panel.title} along ${axis.name}${where}; from ` +
        `${shown(Math.min(...finite))} to ${shown(Math.max(...finite))} ${panel.unit}`.trim());
    }

    // Measurements within half a step of the slider's position.
    near() {
      const { points, slider } = this.panel;
      if (!points) return [];
      const half = slider ? Math.max((slider.upper - slider.lower) / (slider.size - 1) / 2, points.reach) : Infinity;
      const here = slider ? at(slider, this.index) : 0;
      return points.rows.filter((p) => !slider || Math.abs(p[3] - here) <= half);
    }
  }

  for (const panel of content.panels) new Panel(panel);
  document.documentElement.dataset.ready = "yes";
})();
