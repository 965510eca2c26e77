"use strict";
// Lays life over a page that is whole without it: heat maps, the browser of probes, tooltips, light and dark.
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const root = document.documentElement;
  const $ = (selector, from = document) => from.querySelector(selector);
  const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];
  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (value !== null && value !== undefined) node.setAttribute(key, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };
  const minus = (text) => text.replace("-", "\u2212");
  const share = (value) => (value > 0.9995 ? "100%" : value >= 0.0995 ? `${Math.round(value * 100)}%` : value >= 0.0005 ? `${(value * 100).toFixed(1)}%` : value >= 1e-8 ? `${(value * 100).toFixed(Math.ceil(-Math.log10(value * 100)))}%` : "<0.000001%");
  const nats = (value) => (value === null || Number.isNaN(value) ? "not measured" : minus((value > 0 ? "+" : "") + value.toFixed(Math.abs(value) < 0.095 ? 3 : 2)));

  // --- light and dark ---
  const toggle = $("#theme");
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const dark = () => parseInt(colour("--paper").slice(1, 3), 16) < 128; // as it is now: paper is always light in print
  const onTheme = [];
  const themed = () => {
    toggle.setAttribute("aria-pressed", String(dark()));
    onTheme.forEach((draw) => draw());
  };
  try { if (localStorage.theme) root.dataset.theme = localStorage.theme; } catch (_) { /* a file may have no storage */ }
  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.theme = root.dataset.theme; } catch (_) { /* as above */ }
    themed();
  });
  for (const media of ["(prefers-color-scheme: dark)", "print"]) matchMedia(media).addEventListener("change", themed);

  // --- tooltips: every mark says what it is in aria-label ---
  const tip = make("div", { id: "tip", role: "status", hidden: "" });
  document.body.append(tip);
  document.addEventListener("pointerover", (event) => {
    const mark = event.target.closest?.("figure svg [aria-label]:not([aria-roledescription=axis])");
    tip.hidden = !mark || mark.getAttribute("role") !== "graphics-symbol";
    if (tip.hidden) return;
    tip.textContent = mark.getAttribute("aria-label");
    const box = mark.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(box.left + box.width / 2 - tip.offsetWidth / 2, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${box.top > tip.offsetHeight + 12 ? box.top - tip.offsetHeight - 8 : box.bottom + 8}px`;
  });
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  // --- data, read when first needed ---
  let data = null;
  const load = () => (data ??= read("data"));
  let halves = null;
  const floats = (text) => {
    halves ??= Float32Array.from({ length: 65536 }, (_, bits) => {
      const sign = bits >> 15 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
      if (exponent === 31) return fraction ? NaN : sign * Infinity;
      return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -24 * fraction;
    });
    const raw = atob(text), values = new Float32Array(raw.length / 2);
    for (let i = 0; i < values.length; i++) values[i] = halves[raw.charCodeAt(2 * i) | (raw.charCodeAt(2 * i + 1) << 8)];
    return values;
  };
  const embed = async (stage, spec, renderer) => { // the Vega view of a specification; the library is read at the first call
    if (!window.vegaEmbed) document.head.append(make("script", {}, `(() => {${$("#vega").textContent}})();`));
    return (await window.vegaEmbed(stage, spec, { actions: false, renderer, tooltip: false, defaultStyle: false, mode: "vega" })).view;
  };
  const waiting = new Map(); // what is built as soon as it is near, and else when the page has nothing better to do
  const start = (node) => {
    const build = waiting.get(node);
    waiting.delete(node);
    return build?.();
  };
  const lazily = (node, build) => {
    waiting.set(node, build);
    const watch = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      watch.disconnect();
      setTimeout(() => start(node), 0);
    }, { rootMargin: "300px" });
    watch.observe(node);
  };
  const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 200));
  const rest = async () => { // one after the other, so that a picture of the whole page and its print have them all
    const [next] = waiting.keys();
    if (!next) return;
    try { await start(next); } finally { idle(rest); }
  };
  addEventListener("load", () => idle(rest));

  // --- samples ---
  const thumb = (item, size = 48) => {
    const { uri, side, columns, rows } = load().sprite, scale = size / side;
    const style = `width:${size}px;height:${size}px;background-image:url(${uri});background-size:${columns * size}px ${rows * size}px;` +
      `background-position:${-(item.i % columns) * side * scale}px ${-Math.floor(item.i / columns) * side * scale}px`;
    return make("span", { class: "thumb", role: "img", "aria-label": `image ${item.n}, class ${item.l}`, style });
  };
  const plain = (item) => (item.i === undefined ? `${item.p} ${item.t}` : `${item.n}, class ${item.l}`);
  const shown = (item, size) => {
    const long = size > 90 && item.i === undefined && plain(item).length > 600; // it scrolls, so the keyboard must reach it
    if (item.i === undefined) return make("span", { class: "sample", dir: "auto", tabindex: long ? "0" : null }, item.p, item.p ? " " : "", make("b", {}, item.t));
    return make("span", { class: "sample" }, thumb(item, size), ` class ${item.l}`, item.z ? make("span", { class: "quiet" }, ` · ${item.z}`) : null);
  };

  // --- heat maps ---
  const ramp = (skew) => {
    const rgb = (name) => colour(name).match(/[0-9a-f]{2}/gi).map((pair) => parseInt(pair, 16));
    const paper = rgb("--paper"), { hurt, helped } = load().colours;
    const violet = [[50, 10, 80], [100, 50, 140], [160, 120, 190], [225, 190, 250]];
    const side = skew ? [paper, ...(dark() ? [violet[1], violet[2], violet[3]] : [violet[2], violet[1], violet[0]])] : null;
    const up = side ?? (dark() ? [paper, helped[2], helped[1], helped[0]] : [paper, helped[0], helped[1], helped[2]]);
    const down = dark() ? [paper, hurt[0], hurt[1], hurt[2]] : [paper, hurt[2], hurt[1], hurt[0]];
    return (t) => {
      const stops = t < 0 ? down : up, place = Math.min(1, Math.sqrt(Math.abs(t))) * 3, low = Math.min(2, Math.floor(place));
      return [0, 1, 2].map((c) => Math.round(stops[low][c] + (stops[low + 1][c] - stops[low][c]) * (place - low)));
    };
  };
  const paint = (values, nx, ny, limit, skew) => {
    const canvas = make("canvas", { width: nx, height: ny }), context = canvas.getContext("2d"), picture = context.createImageData(nx, ny);
    const at = ramp(skew), table = new Uint32Array(1025), pixels = new Uint32Array(picture.data.buffer);
    for (let i = 0; i <= 1024; i++) { const [r, g, b] = at(i / 512 - 1); table[i] = (255 << 24) | (b << 16) | (g << 8) | r; }
    const gap = dark() ? 0xff2a2622 : 0xffe2e6ea;
    for (let i = 0; i < values.length; i++) {
      const value = values[i];
      pixels[i] = value !== value ? gap : table[Math.max(0, Math.min(1024, Math.round((value / limit) * 512 + 512)))];
    }
    context.putImageData(picture, 0, 0);
    return canvas;
  };
  const bar = (node, limit, skew) => {
    const at = ramp(skew), stops = [];
    for (let i = 0; i <= 40; i++) stops.push(`rgb(${at(skew ? i / 40 : i / 20 - 1).join(",")})`);
    $(".ramp", node).style.background = `linear-gradient(90deg,${stops.join(",")})`;
    $(".low", node).textContent = skew ? "0" : `${minus((-limit).toFixed(2))} nats, hurt`;
    $(".high", node).textContent = skew ? `${limit.toFixed(2)} nats apart` : `helped, +${limit.toFixed(2)} nats`;
  };

  class HeatMap {
    constructor(figure, skew) {
      this.figure = figure;
      this.skew = skew;
      this.section = figure.closest("[data-part]");
      this.map = load().parts[this.section.dataset.part].matrix;
      this.arm = 0;
      this.view = null;
      this.pinned = false;
    }
    get sampled() { return !this.skew && this.map.sampled !== null && Boolean($("[name^=grain][value=cells]:checked", this.section)); }
    get size() {
      if (this.skew) return [this.map.both.length, this.map.both.length];
      if (this.sampled) return [this.map.sampled[1].length, this.map.sampled[0].length];
      return [Math.ceil(this.map.columns.length / this.map.block[1]), Math.ceil(this.map.rows.length / this.map.block[0])];
    }
    groups(axis) {
      if (this.skew) return [];
      if (this.sampled) { // how many of the chosen places lie before each end
        const chosen = this.map.sampled[axis === "row" ? 0 : 1], before = (end) => chosen.filter((place) => place < end).length;
        return this.map[`${axis}_groups`].map(([start, end, name]) => ({ start: before(start), end: before(end), name }));
      }
      const block = this.map.block[axis === "row" ? 0 : 1];
      return this.map[`${axis}_groups`].map(([start, end, name]) => ({ start: start / block, end: end / block, name }));
    }
    apart(values) { // |I − Iᵀ| over the samples that are both probe and query
      const { both, columns } = this.map, n = both.length, result = new Float32Array(n * n);
      const at = (i, j) => values[both[i][0] * columns.length + both[j][1]];
      for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) result[i * n + j] = Math.abs(at(i, j) - at(j, i));
      return result;
    }
    place([x, y]) { // what stands in a cell of the picture: row, column and how many cells it averages
      if (this.skew) return [this.map.both[y][0], this.map.both[x][0], 1];
      if (this.sampled) return [this.map.sampled[0][y], this.map.sampled[1][x], 1];
      const [high, wide] = this.map.block;
      return [y * high, x * wide, high * wide];
    }
    async build() {
      const stage = $(".stage", this.figure), spec = structuredClone(load().heatmap);
      const [nx, ny] = this.size, labelled = this.groups("row").length > 1 && stage.clientWidth > 500;
      const left = labelled ? 90 : 4;
      spec.padding = { left, top: this.groups("column").length > 1 ? 22 : 4, right: 2, bottom: 2 };
      spec.width = stage.clientWidth - left - 2;
      spec.height = Math.round(Math.max(Math.min((spec.width * ny) / nx, 640), Math.min(spec.width, this.skew ? 200 : 430)));
      this.view?.finalize();
      this.view = await embed(stage, spec, "canvas");
      this.view.signal("nx", nx).signal("ny", ny).signal("labels", left - 10).signal("xdom", [0, nx]).signal("ydom", [0, ny]);
      this.view.data("row_groups", this.groups("row")).data("column_groups", this.groups("column"));
      if (!this.skew && !this.sampled) this.view.data("kinds", this.map.kinds.map(([r, c]) => ({ r, c })));
      this.view.addSignalListener("hover", (_, cell) => { if (cell && !this.pinned) this.show(cell); });
      this.view.addSignalListener("pick", (_, cell) => { if (cell) { this.pinned = true; this.show(cell); } });
      this.draw();
      if (!this.skew && !this.cell) this.show(this.first());
      stage.dataset.ready = "true";
    }
    first() { // the cell to open with: a negation where there is one, else the most moved
      const [nx] = this.size, known = this.sampled || this.map.block[0] * this.map.block[1] > 1 ? [] : this.map.kinds;
      const named = known.filter(([r, c, kind]) => kind === "negation" && !Number.isNaN(this.values[r * nx + c]));
      const most = (cells, size) => cells.reduce((best, cell) => (size(cell) > size(best) ? cell : best), cells[0]);
      if (named.length) { const [r, c] = most(named, ([row, column]) => this.values[row * nx + column]); return [c, r]; }
      const place = this.values.reduce((best, value, i) => (Math.abs(value) > Math.abs(this.values[best]) || Number.isNaN(this.values[best]) ? i : best), 0);
      return [place % nx, Math.floor(place / nx)];
    }
    draw() {
      const entry = this.map.arms[this.arm], [nx, ny] = this.size;
      const key = this.skew ? "skew" : this.sampled ? "part" : "data", limit = entry[`${key}_limit`];
      this.values = this.skew && !entry.skew ? this.apart(floats(entry.data)) : floats(entry[key]);
      const image = paint(this.values, nx, ny, limit, this.skew);
      bar(this.figure, limit, this.skew);
      this.view.signal("ink", colour("--ink")).signal("muted", colour("--muted")).data("raster", [{ image }]).runAsync();
      if (this.cell) this.show(this.cell);
    }
    show(cell) {
      const [nx, ny] = this.size;
      this.cell = cell = [Math.max(0, Math.min(nx - 1, cell[0])), Math.max(0, Math.min(ny - 1, cell[1]))];
      this.view.signal("cell", cell).runAsync();
      const [row, column, many] = this.place(cell), value = this.values[cell[1] * nx + cell[0]], samples = load().samples;
      const second = this.skew ? this.map.rows[column] : this.map.columns[column];
      const named = this.skew || this.sampled ? null : this.map.kinds.find(([r, c]) => r === row && c === column)?.[2];
      const kind = named ?? (this.map.rows[row] === second && !this.skew ? "self" : this.sampled ? "single cell" : null);
      const panel = $(".inspector", this.section);
      panel.replaceChildren(
        make("p", { class: "figure-number" }, this.skew ? `${value.toFixed(2)}` : nats(value), make("small", {}, Number.isNaN(value) ? "" : this.skew ? " nats between the two ways" : " nats")),
        make("p", { class: "quiet" }, many > 1 ? `mean of up to ${many} cells beginning at this one` : kind ? kind.replace(/_/g, " ") : this.skew ? "|I − Iᵀ|" : "no named relation", ` · ${this.map.arms[this.arm].label}`),
        make("h4", {}, this.skew ? "One" : "Probe"), make("p", {}, shown(samples[this.map.rows[row]], 64)),
        make("h4", {}, this.skew ? "Other" : "Query"), make("p", {}, shown(samples[second], 64)),
        make("p", {}, make("a", { href: `#probe=${this.map.ids[row]}` }, "All about this probe")),
      );
    }
    zoom(factor) {
      const [nx, ny] = this.size;
      for (const [name, most] of [["xdom", nx], ["ydom", ny]]) {
        const [low, high] = this.view.signal(name), middle = (low + high) / 2, half = Math.max(2, Math.min(((high - low) / 2) * factor, most / 2));
        const start = Math.max(0, Math.min(middle - half, most - 2 * half));
        this.view.signal(name, [start, Math.min(most, start + 2 * half)]);
      }
      this.view.runAsync();
    }
    key(event) {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (step) { this.pinned = true; const [x, y] = this.cell ?? [0, 0]; this.show([x + step[0], y + step[1]]); }
      else if (event.key === "+" || event.key === "=") this.zoom(0.6);
      else if (event.key === "-") this.zoom(1.6);
      else if (event.key === "0") this.zoom(1e9);
      else if (event.key === "Escape") { this.pinned = false; this.view.signal("cell", null).runAsync(); }
      else return;
      event.preventDefault();
    }
  }
  for (const section of $$("[data-part]")) {
    const maps = [];
    for (const figure of $$(".heatmap", section)) {
      lazily(figure, async () => {
        const map = new HeatMap(figure, figure.dataset.skew === "true");
        map.arm = Number($("[name^=arm]:checked", section)?.value ?? 0);
        await map.build();
        maps.push(map);
        $(".stage", figure).addEventListener("keydown", (event) => map.key(event));
        for (const button of $$("[data-zoom]", figure)) button.addEventListener("click", () => map.zoom(Number(button.dataset.zoom)));
        onTheme.push(() => map.draw());
        let wide = figure.clientWidth;
        new ResizeObserver(() => { if (Math.abs(figure.clientWidth - wide) > 8) { wide = figure.clientWidth; map.build(); } }).observe(figure);
      });
    }
    section.addEventListener("change", (event) => {
      for (const map of maps) {
        map.cell = null;
        map.pinned = false;
        if (event.target.name.startsWith("arm")) { map.arm = Number(event.target.value); map.view.signal("cell", null); map.draw(); }
        if (event.target.name.startsWith("grain") && !map.skew) map.build();
      }
    });
  }

  // --- one probe ---
  const search = $("#search"), results = $("#results"), detail = $("#probe-detail");
  const list = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean), { probes, samples } = load();
    const found = probes.filter((probe) => {
      const text = (probe.t ??= `${probe.n} ${probe.k} ${probe.m.map((m) => plain(samples[m])).join(" ")}`.toLowerCase());
      return words.every((word) => text.includes(word));
    });
    $("#found").textContent = `${found.length} of ${probes.length} probes${found.length > 40 ? "; the first 40 are listed" : ""}`;
    results.replaceChildren(...found.slice(0, 40).map((probe) => make("li", {}, make("a", { href: `#probe=${probe.id}`, "data-probe": probe.id },
      make("span", { class: "name" }, probe.n), make("span", { class: "quiet", dir: "auto" }, probe.m.map((m) => plain(samples[m])).join(" + ").slice(0, 140))))));
    mark();
  };
  const mark = () => { for (const link of $$("a", results)) link.toggleAttribute("aria-current", link.dataset.probe === detail.dataset.probe); };
  const cells = (title, rows, largest, note) => {
    if (!rows.length) return null;
    const { samples } = load(), scale = Math.max(...rows.map((row) => Math.abs(row[1])), largest, 1e-9);
    return make("div", { class: "cells" }, make("h5", {}, title, make("small", { class: "quiet" }, " nats")), make("table", {}, make("caption", { class: "unseen" }, `${title}: ${note}`),
      make("thead", { class: "unseen" }, make("tr", {}, ...["query, its relation, its probability before and after", "influence"].map((name) => make("th", { scope: "col" }, name)))),
      make("tbody", {}, ...rows.map(([index, value, before, , kind]) => make("tr", {},
        make("td", {}, shown(samples[index], 32), make("span", { class: "odds" }, [kind?.replace(/_/g, " "), before === null ? null : `${share(Math.exp(before))} → ${share(Math.exp(Math.min(0, before + value)))}`].filter(Boolean).join(" · "))),
        make("td", { class: "value" }, make("span", { class: value < 0 ? "gauge hurt" : "gauge", style: `--share:${(Math.abs(value) / scale).toFixed(3)}` }), nats(value)))))));
  };
  const FOLLOWS = { paraphrase: "paraphrase", negation: "negation", entailed: "conclusion", contrapositive: "contrapositive" };
  const excluded = (probe, arm) => { // of what the probe is no part, and why
    if (probe.k !== "sample" && probe.k !== "chat") return [`Left out of scores by relation: a ${probe.k === "noisy" ? "damaged version" : probe.k} has desiderata of its own.`];
    const kinds = arm.c.map((cell) => cell[4]), own = arm.c.filter((cell) => cell[4] === "self"), lines = []; // of a chat an answer each
    if (own.length && !(own.reduce((sum, cell) => sum + cell[1], 0) > 0)) lines.push("Left out of every score that is a share of its own gain: it did not become likelier itself.");
    const missing = load().parts[probe.b].text ? Object.keys(FOLLOWS).filter((kind) => !kinds.includes(kind)).map((kind) => FOLLOWS[kind]) : [];
    if (missing.length) lines.push(`Left out, for want of such a query: ${missing.join(", ")}.`);
    return lines;
  };
  let chart = null;
  const losses = async (probe, part, stage) => {
    const shapes = part.arms.map((arm) => arm.shape), steps = [];
    for (const [index, arm] of Object.entries(probe.a)) {
      (arm.s ?? []).forEach((loss, step) => { if (loss !== null) steps.push({ step, loss, arm: index, colour: colour(`--arm-${index % 6}`), shape: shapes[index] }); });
    }
    chart?.finalize();
    chart = null;
    if (steps.length < 2) { stage.replaceChildren(); return; }
    const spec = structuredClone(load().losses);
    spec.width = Math.min(420, (stage.clientWidth || 320) - 70);
    spec.data[0].values = steps;
    chart = await embed(stage, spec, "svg");
    chart.signal("muted", colour("--muted")).signal("line", colour("--line")).runAsync();
  };
  const open = (id, scroll) => {
    const { probes, parts, samples } = load(), probe = probes.find((item) => item.id === id || item.n === id);
    if (!probe) { detail.replaceChildren(make("p", {}, `No probe called ${id.slice(0, 80)} is in this page.`)); detail.dataset.probe = ""; return; }
    const part = parts[probe.b], stage = make("div", { class: "losses", role: "img", "aria-label": `Loss by step for ${probe.n}` });
    const arms = Object.entries(probe.a).map(([index, arm]) => {
      const by = (flag) => arm.c.filter((cell) => cell[3] & flag && !cell[4]), largest = Math.max(0, ...arm.c.map((cell) => Math.abs(cell[1])));
      return make("section", { class: "arm" },
        make("h4", {}, make("span", { class: `key shape-${part.arms[index].shape}`, style: `--arm:var(--arm-${index % 6})` }), part.arms[index].short),
        make("p", { class: "quiet" }, part.arms[index].label),
        arm.x ? make("p", { class: "failed" }, `✗ failed: ${arm.x}`) : null,
        ...(arm.x && !arm.c.length ? [] : excluded(probe, arm)).map((line) => make("p", { class: "quiet excluded" }, line)),
        cells("Its relations", arm.c.filter((cell) => cell[4]), largest, "named pairs"),
        cells("Of the others, helped most", by(1), largest, "largest first"), cells("Of the others, hurt most", by(2).reverse(), largest, "most hurt first"));
    });
    detail.replaceChildren(make("h3", { tabindex: "-1" }, probe.n), make("p", { class: "quiet" }, `${probe.k === "sample" ? "one sample" : probe.k} · ${part.label} · `, make("code", {}, probe.id)),
      ...probe.m.map((m) => make("blockquote", {}, shown(samples[m], 96))), stage, make("div", { class: "arms" }, ...arms));
    detail.dataset.probe = probe.id;
    losses(probe, part, stage);
    mark();
    if (scroll) { $("#probe").scrollIntoView(); $("h3", detail).focus({ preventScroll: true }); }
  };
  onTheme.push(() => { if (chart && detail.dataset.probe) open(detail.dataset.probe, false); });
  const telling = () => { // the probe to open with: most named relations, learned best
    const { probes } = load(), size = (probe) => { const cells = Object.values(probe.a)[0]?.c ?? []; return cells.filter((cell) => cell[4]).length + Math.min(0.99, Math.max(0, cells.find((cell) => cell[4] === "self")?.[1] ?? 0) / 20); };
    return probes.reduce((best, probe) => (size(probe) > size(best) ? probe : best), probes[0]);
  };
  const follow = (scroll) => {
    const match = location.hash.match(/^#probe=(.+)$/);
    if (!match) return false;
    try { open(decodeURIComponent(match[1]), scroll); } catch (error) { if (!(error instanceof URIError)) throw error; }
    return true;
  };
  if (search) {
    $(".browser").hidden = false;
    search.addEventListener("input", list);
    addEventListener("hashchange", () => follow(true));
    if (follow(false)) requestAnimationFrame(() => $("#probe").scrollIntoView());
    lazily($("#probe"), () => { list(); if (detail.dataset.probe === undefined && load().probes.length) open(telling().id, false); });
  }
  themed();
})();
