// The linked viewer: three planes of the input, the kernel, three planes of the output. Hover, scrub and sweep are
// answered here; only a pin goes to the server.

import {axisTaps, central, clamp, nearestOutput, within} from "./geometry.js";
import {drawKernel} from "./kernel.js";
import {KINDS, LETTERS} from "./marks.js";
import {buildPage} from "./page.js";
import {columnX, drawKind, extentSize, rowY} from "./planes.js";
import {Volume, colourTable, number} from "./volume.js";
import {inputWords, outputWords, sumWords, tapWords} from "./words.js";

const NAMES = ["depth", "height", "width"];
const SETTLE_MS = 250;
const HINT = "is pinned. Point at a voxel or a tap to see what it reads, or who reads it; a click pins, Esc goes back.";

export class Viewer {
  constructor(root, store) {
    this.root = root;
    this.store = store;
    this.layer = null; // what the server sent last
    this.hover = null; // what the mouse is on: {kind: "input" | "output" | "tap", at: [d, h, w]}
    this.rest = null; // what is shown when it is on nothing
    this.sweep = null; // over all outputs: {position, playing, due, last}; what is behind it has been filled in
    this.sum = null; // over the taps of one output: the same, and {output}; what is behind it has been added
    this.zoom = {input: 1, output: 1};
    this.centre = {input: null, output: null};
    this.ranges = {}; // what the hand has set, else the server's
    this.spaced = true;
    this.bases = new Map();
    this.took = []; // milliseconds of the last drawings
    this.listeners = new Set(); // called when it has drawn
    buildPage(this);
    store.listeners.add(this.onStore = () => this.later());
    this.observer = new ResizeObserver(() => this.later());
    this.observer.observe(this.box);
  }

  remove() {
    this.store.listeners.delete(this.onStore);
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
    clearTimeout(this.settling);
    this.box.remove();
  }

  /** Take what the server sent. `send` tells it the pinned output voxel. */
  update(header, arrays, send) {
    const before = this.layer;
    this.send = send;
    this.layer = {...header, kernel: arrays.kernel, planes: this.thin(header, arrays)};
    this.tables = {input: colourTable(header.input.colours), output: colourTable(header.output.colours)};
    this.bases.clear();
    const axes = JSON.stringify(header.axes);
    if (!before || JSON.stringify(before.axes) !== axes || before.input.key !== header.input.key) {
      this.hover = this.sweep = this.sum = null;
      this.fit();
    }
    for (const kind of KINDS) if (before?.[kind].range !== header[kind].range) delete this.ranges[kind];
    if (!before || before.pin.join() !== header.pin.join() || JSON.stringify(before.axes) !== axes) {
      this.rest = {kind: "output", at: header.pin};
    }
    const style = getComputedStyle(this.box);
    this.surface = style.getPropertyValue("--st-background-color").trim() || "#fff";
    this.box.style.colorScheme = isDark(this.surface) ? "dark" : "light"; // for the browser's own sliders and lists
    this.describe();
    this.draw();
  }

  /** The three planes of the output through the pin, each a volume one voxel thick. */
  thin(header, arrays) {
    const full = header.axes.map(axis => axis.outputs);
    return [0, 1, 2].map(across => {
      const [shape, origin] = [[...full], [0, 0, 0]];
      [shape[across], origin[across]] = [1, header.pin[across]];
      return new Volume(arrays[`plane_${LETTERS[across]}`].data, shape, origin, full);
    });
  }

  get focus() {
    if (this.hover) return this.hover;
    if (this.sum) return {kind: "tap", at: this.tapAt(this.sum.position), of: this.sum.output};
    return this.sweep ? {kind: "output", at: this.swept(this.sweep.position)} : this.rest;
  }

  /** The voxels of input and output whose planes are shown for a focus. */
  centres(focus) {
    const {axes, pin} = this.layer;
    if (focus.kind === "output") return {input: central(axes, focus.at), output: focus.at};
    if (focus.kind === "input") return {input: focus.at, output: nearestOutput(axes, focus.at)};
    const output = focus.of ?? (this.rest.kind === "output" ? this.rest.at : pin);
    const voxel = axes.map((axis, i) => clamp(axisTaps(axis, output[i])[focus.at[i]], 0, axis.size - 1));
    return {input: voxel, output};
  }

  volume(kind) {
    return this.store.get(this.layer[kind].key);
  }

  /** The plane of a kind across an axis at an index; of the output perhaps only the pinned one is here. */
  plane(kind, across, index) {
    const whole = this.volume(kind)?.plane(across, index);
    if (whole || kind === "input") return whole ?? null;
    return index === this.layer.pin[across] ? this.layer.planes[across].plane(across, index) : null;
  }

  /** The index that is shown across an axis: the wanted one, or the pinned one where that is not here. */
  shown(kind, across, index) {
    return kind === "input" || this.plane(kind, across, index) ? index : this.layer.pin[across];
  }

  value(kind, at) {
    const found = this.volume(kind)?.at(...at);
    if (found !== undefined || kind === "input") return found;
    return this.layer.planes.map(plane => plane.at(...at)).find(value => value !== undefined);
  }

  swept(position) {
    const [, H, W] = this.layer.axes.map(axis => axis.outputs);
    return [Math.floor(position / (H * W)), Math.floor(position / W) % H, position % W];
  }

  position(at) {
    const [, H, W] = this.layer.axes.map(axis => axis.outputs);
    return (at[0] * H + at[1]) * W + at[2];
  }

  /** The tap of that number, in the order of the kernel. */
  tapAt(number) {
    const [, KH, KW] = this.layer.kernel.shape;
    return [Math.floor(number / (KH * KW)), Math.floor(number / KW) % KH, number % KW];
  }

  get positions() {
    return this.layer.axes.reduce((all, axis) => all * axis.outputs, 1);
  }

  point(focus) {
    if (JSON.stringify(focus) === JSON.stringify(this.hover)) return;
    this.hover = focus;
    this.later();
  }

  /** Rest on a voxel: what is shown while the mouse is on nothing. */
  settle(focus) {
    this.rest = focus;
    this.hover = this.sweep = this.sum = null;
    this.later();
    clearTimeout(this.settling);
    // Where only the pinned planes are here, the server has to send the others.
    const {output} = this.centres(focus);
    if (focus.kind === "output" && output.some((index, across) => !this.plane("output", across, index))) {
      this.settling = setTimeout(() => this.pin(output), SETTLE_MS);
    }
  }

  pin(output) {
    clearTimeout(this.settling);
    this.rest = {kind: "output", at: output};
    this.sweep = this.sum = null;
    this.later();
    if (output.join() !== this.layer.pin.join()) this.send(output);
  }

  /** Pin what is looked at: an output, or the one in whose middle an input voxel lies. */
  choose(focus) {
    if (focus.kind !== "tap") this.pin(this.centres(focus).output);
  }

  pinnedNow(focus) {
    return focus.kind === "output" && focus.at.join() === this.layer.pin.join();
  }

  release() {
    this.hover = null;
    if (this.sweep || this.sum || !this.pinnedNow(this.rest)) {
      this.sweep = this.sum = null;
      this.rest = {kind: "output", at: this.layer.pin};
      this.later();
    } else {
      this.pin(this.layer.axes.map(axis => (axis.outputs - 1) >> 1));
    }
  }

  /** Move along an axis: the planes of this kind that lie across it follow. */
  step(kind, axis, by) {
    const at = [...this.centres(this.focus)[kind]];
    const most = kind === "input" ? this.layer.axes[axis].size : this.layer.axes[axis].outputs;
    at[axis] = clamp(at[axis] + by, 0, most - 1);
    this.settle({kind, at});
  }

  /** Walk over all outputs, or stop there. */
  playSweep() {
    this.sum = null;
    this.sweep = this.played(this.sweep, this.positions - 1);
  }

  /** Walk over the taps of what is pinned and add up, or stop there. */
  playSum() {
    const output = this.layer.pin;
    this.sweep = null;
    this.sum = {...this.played(this.sum, this.layer.kernel.data.length - 1), output};
  }

  /** A walk that begins, goes on, or stops. */
  played(walk, end) {
    this.hover = null;
    this.later();
    if (walk?.playing) return {...walk, playing: false};
    requestAnimationFrame(() => this.tick());
    const position = walk && walk.position < end ? walk.position : 0;
    return {position, end, playing: true, due: 0, last: performance.now()};
  }

  tick() {
    const walk = this.sum ?? this.sweep;
    if (!walk?.playing || !this.box.isConnected) return;
    const now = performance.now();
    // Hover interrupts, leaving resumes.
    if (!this.hover) walk.due += Number(this.speed.value) * (now - walk.last) / 1000;
    walk.last = now;
    const steps = Math.floor(walk.due);
    if (steps) {
      walk.due -= steps;
      walk.position = Math.min(walk.position + steps, walk.end);
      walk.playing = walk.position < walk.end;
      this.draw();
    }
    requestAnimationFrame(() => this.tick());
  }

  /** Product of one tap of an output, and the sum up to it. */
  added(output, number) {
    const {axes, kernel} = this.layer;
    const along = axes.map((axis, i) => axisTaps(axis, output[i]));
    let [voxel, product, sum] = [0, 0, 0];
    for (let n = 0; n <= number; n++) {
      const at = this.tapAt(n).map((tap, i) => along[i][tap]);
      voxel = at.every((index, i) => within(axes[i], index)) ? this.value("input", at) : null;
      product = (voxel === undefined ? NaN : voxel ?? 0) * kernel.data[n];
      sum += product;
    }
    return {voxel, product, sum};
  }

  fit() {
    this.zoom = {input: 1, output: 1};
    this.centre = {input: null, output: null};
  }

  /** Zoom in until a window is a third of the view. */
  closeUp() {
    const {axes} = this.layer;
    const {input, output} = this.centres(this.focus);
    const reach = Math.max(...axes.map(axis => (axis.kernel - 1) * axis.dilation + 1));
    const longest = Math.max(...axes.map((_, i) => extentSize(this, "input", i)));
    this.zoom.input = clamp(longest / (3 * reach), 1, 64);
    this.zoom.output = clamp(this.zoom.input / Math.max(...axes.map(axis => axis.stride)), 1, 64);
    this.centre = {input: [...input], output: [...output]};
    this.later();
  }

  later() {
    if (!this.layer || this.frame) return;
    this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    if (!this.layer || !this.box.isConnected) return;
    const began = performance.now();
    const focus = this.focus;
    const at = this.centres(focus);
    this.indices = {
      input: at.input,
      output: at.output.map((index, across) => this.shown("output", across, index)),
    };
    for (const kind of KINDS) drawKind(this, kind, focus, at);
    drawKernel(this, focus, at);
    this.say(focus, at);
    this.took.push(performance.now() - began);
    if (this.took.length > 1000) this.took.shift();
    this.listeners.forEach(listener => listener());
  }

  range(kind) {
    return this.ranges[kind] ?? [this.layer[kind].low, this.layer[kind].high];
  }

  sentence({kind, at, of}) {
    const {axes, channel, inChannels, bias, kernel} = this.layer;
    if (of) {
      const mlx = inChannels === 1 ? this.value("output", of) : null;
      return sumWords(at, of, this.sum.position + 1, kernel, this.added(of, this.sum.position), bias, mlx);
    }
    if (kind === "output") return outputWords(axes, at, channel, inChannels);
    return kind === "input" ? inputWords(axes, at) : tapWords(axes, at);
  }

  /** What is on screen, for whoever looks from outside. */
  state() {
    const {pin, axes} = this.layer;
    return {pin, axes, focus: this.focus, shown: this.indices, words: this.sentence(this.focus), took: this.took, sweep: this.sweep, sum: this.sum};
  }

  /** Where a voxel of a plane is, in pixels of its canvas. */
  place(kind, across, row, column) {
    const {view} = this.cells[kind][across];
    return [columnX(view, column), rowY(view, row)];
  }

  valueOf({kind, at}) {
    if (kind !== "tap") return this.value(kind, at);
    const {data, shape: [, KH, KW]} = this.layer.kernel;
    return data[(at[0] * KH + at[1]) * KW + at[2]];
  }

  say(focus) {
    const sentence = this.sentence(focus);
    const [, name, rest] = sentence.match(/^(.*?) ((?:reads|is read|multiplies|of output) .*)$/);
    const value = number(this.valueOf(focus));
    this.name.textContent = `${name} `;
    this.number.textContent = `= ${value}`;
    // What is pinned stands above in full: here is room to say what can be done.
    this.words.textContent = ` ${focus === this.rest && this.pinnedNow(focus) ? HINT : rest}`;
    const text = `${name} = ${value} ${rest}`;
    clearTimeout(this.speaking);
    // A screen reader hears where the hand comes to rest, not every voxel on the way.
    this.speaking = setTimeout(() => { if (this.live.textContent !== text) this.live.textContent = text; }, 300);
    this.sweepButton.textContent = this.sweep?.playing ? "Pause" : "Sweep";
    this.sumButton.textContent = this.sum?.playing ? "Pause" : "Add up";
    this.scrub.max = this.positions - 1;
    this.scrub.value = this.position(this.centres(focus).output);
    this.scrub.setAttribute("aria-valuetext", `output ${this.centres(focus).output.join(", ")}`);
  }

  /** Titles, colour bars and labels: what changes only with what the server sends, or with a range. */
  describe() {
    for (const kind of KINDS) {
      const {title, scope, finite} = this.layer[kind];
      const [low, high] = this.range(kind);
      const head = this.heads[kind];
      head.title.textContent = title;
      head.low.textContent = finite ? number(low) : "nothing finite";
      head.high.textContent = finite ? number(high) : "";
      head.scope.textContent = this.ranges[kind] ? "set by hand" : scope;
      const stops = Array.from({length: 9}, (_, i) => `#${this.layer[kind].colours.slice(6 * 32 * i - (i === 8 ? 6 : 0)).slice(0, 6)}`);
      head.bar.style.background = finite ? `linear-gradient(to right, ${stops.join()})` : "none";
      for (const cell of this.cells[kind]) {
        cell.canvas.setAttribute("aria-label", `${title}, plane across ${NAMES[cell.across]}`);
        cell.slider.setAttribute("aria-label", `${title}, plane ${LETTERS[cell.across]} (${NAMES[cell.across]})`);
      }
    }
    this.spacing.parentElement.hidden = !this.layer.input.spacing;
    this.kernelTitle.textContent = this.layer.kernelTitle;
    this.notice.textContent = this.layer.notice;
    this.notice.hidden = !this.layer.notice;
  }
}

function isDark(colour) {
  const context = document.createElement("canvas").getContext("2d");
  context.fillStyle = colour;
  const [r, g, b] = [1, 3, 5].map(at => parseInt(context.fillStyle.slice(at, at + 2), 16));
  return 0.299 * r + 0.587 * g + 0.114 * b < 128;
}
