// The viewer's elements, and what the hand does on them.

import {clamp, others} from "./geometry.js";
import {tapUnder} from "./kernel.js";
import {KINDS, LETTERS} from "./marks.js";
import {middleOf} from "./planes.js";

const SPEEDS = [
  ["1", "1 a second"], ["8", "8 a second"], ["60", "60 a second"], ["600", "600 a second"], ["6000", "6000 a second"],
];

export function buildPage(viewer) {
  viewer.box = element("div", {class: "viewer"});
  const sentence = element("p", {class: "sentence"});
  viewer.name = element("span");
  viewer.number = element("b");
  viewer.words = element("span");
  sentence.append(viewer.name, viewer.number, viewer.words);
  viewer.live = element("p", {class: "live", "aria-live": "polite"});
  viewer.notice = element("p", {class: "notice"});
  viewer.box.append(sentence, viewer.live, buildTools(viewer), viewer.notice);
  viewer.grid = element("div", {class: "grid"});
  viewer.heads = {};
  viewer.cells = {};
  for (const kind of KINDS) {
    viewer.grid.append(buildHead(viewer, kind));
    viewer.cells[kind] = [0, 1, 2].map(across => buildCell(viewer, kind, across));
  }
  viewer.grid.append(buildKernel(viewer));
  viewer.box.append(viewer.grid);
  viewer.box.addEventListener("keydown", event => {
    if (event.key === "Escape") {
      event.preventDefault();
      viewer.release();
    }
  });
  viewer.root.append(viewer.box);
  viewer.root.host && (viewer.root.host.viewer = viewer);
}

function buildTools(viewer) {
  const tools = element("div", {class: "tools", role: "group", "aria-label": "Sweep and view"});
  viewer.sweepButton = element("button", {type: "button", class: "primary"}, "Sweep");
  viewer.sweepButton.onclick = () => viewer.playSweep();
  viewer.sumButton = element("button", {type: "button", class: "primary"}, "Add up");
  viewer.sumButton.onclick = () => viewer.playSum();
  viewer.scrub = element("input", {type: "range", min: 0, value: 0, "aria-label": "Output position of the sweep"});
  viewer.scrub.oninput = () => {
    viewer.hover = viewer.sum = null;
    viewer.sweep = {position: Number(viewer.scrub.value), end: viewer.positions - 1, playing: false, due: 0, last: 0};
    viewer.later();
  };
  viewer.speed = element("select", {"aria-label": "Speed of the sweep"});
  for (const [value, text] of SPEEDS) viewer.speed.append(element("option", {value}, text));
  viewer.speed.value = "8";
  const button = (text, act) => {
    const found = element("button", {type: "button"}, text);
    found.onclick = () => { act(); viewer.later(); };
    return found;
  };
  const spacing = element("label", {class: "spacing"});
  viewer.spacing = element("input", {type: "checkbox"});
  viewer.spacing.checked = true;
  viewer.spacing.onchange = () => { viewer.spaced = viewer.spacing.checked; viewer.later(); };
  spacing.append(viewer.spacing, "voxel spacing");
  tools.append(viewer.sweepButton, viewer.scrub, viewer.speed, viewer.sumButton, button("Close-up", () => viewer.closeUp()),
    button("Whole planes", () => viewer.fit()), spacing);
  return tools;
}

function buildHead(viewer, kind) {
  const head = element("div", {class: `head ${kind}`});
  const parts = {
    title: element("b"), low: element("span"), bar: element("i", {
      tabindex: 0, role: "img", "aria-label": `Colours of the ${kind}: drag or arrow keys to change, double click or Home to reset`,
    }), high: element("span"), scope: element("small"),
  };
  const range = element("span", {class: "range"});
  range.append(parts.low, parts.bar, parts.high, parts.scope);
  head.append(parts.title, range);
  viewer.heads[kind] = parts;
  bindBar(viewer, kind, parts.bar);
  return head;
}

/** Drag across the colours for their width, up and down for their level; signed colours stay centred on zero. */
function bindBar(viewer, kind, bar) {
  const change = (wider, higher) => {
    const [low, high] = viewer.range(kind);
    const [middle, half] = [(low + high) / 2, (high - low) / 2];
    const level = kind === "output" ? 0 : middle + higher * 2 * half;
    const reach = half * Math.exp(wider) || 1;
    viewer.ranges[kind] = [level - reach, level + reach];
    viewer.describe();
    viewer.later();
  };
  const reset = () => {
    delete viewer.ranges[kind];
    viewer.describe();
    viewer.later();
  };
  bar.onpointerdown = event => bar.setPointerCapture(event.pointerId);
  bar.onpointermove = event => {
    if (event.buttons & 1) change(-event.movementX / 100, event.movementY / 200);
  };
  bar.ondblclick = reset;
  bar.onkeydown = event => {
    const moves = {ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, -0.05], ArrowDown: [0, 0.05]};
    if (moves[event.key]) change(...moves[event.key]);
    else if (event.key === "Home") reset();
    else return;
    event.preventDefault();
  };
}

function buildCell(viewer, kind, across) {
  const figure = element("div", {class: `cell ${kind} ${LETTERS[across]}`});
  const label = element("span", {class: "index"});
  const canvas = element("canvas", {tabindex: 0, role: "application", "aria-roledescription": "plane"});
  const slider = element("input", {type: "range", min: 0, value: 0});
  slider.oninput = () => {
    const at = [...viewer.centres(viewer.focus)[kind]];
    at[across] = Number(slider.value);
    viewer.settle({kind, at});
  };
  figure.append(canvas, label, slider);
  viewer.grid.append(figure);
  const cell = {across, canvas, label, slider, view: null, plane: null};
  bindCanvas(viewer, kind, cell);
  return cell;
}

/** The voxel under the pointer; null beside the volume. */
function voxelUnder(viewer, kind, {across, view}, event) {
  if (!view) return null;
  const [row, column] = others(across);
  const at = [0, 0, 0];
  at[across] = viewer.indices[kind][across];
  // + 0: what is rounded may be -0.
  at[row] = Math.round(view.middleRow + (event.offsetY - view.height / 2) / view.tall * (view.up ? -1 : 1)) + 0;
  at[column] = Math.round(view.middleColumn + (event.offsetX - view.width / 2) / view.wide) + 0;
  const most = axis => kind === "input" ? viewer.layer.axes[axis].size : viewer.layer.axes[axis].outputs;
  return at.every((index, axis) => index >= 0 && index < most(axis)) ? at : null;
}

function bindCanvas(viewer, kind, cell) {
  const {canvas, across} = cell;
  let pressed = null;
  canvas.onpointerdown = event => {
    canvas.focus({preventScroll: true});
    pressed = {x: event.clientX, y: event.clientY, dragged: false};
    if (event.pointerType === "mouse") canvas.setPointerCapture(event.pointerId);
  };
  canvas.onpointermove = event => {
    if (!viewer.layer) return;
    if (pressed && event.buttons & 1) {
      pressed.dragged ||= Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > 4;
      if (pressed.dragged) pan(viewer, kind, cell, event.movementX, event.movementY);
      return;
    }
    const at = voxelUnder(viewer, kind, cell, event);
    viewer.point(at && {kind, at});
  };
  canvas.onpointerleave = () => viewer.point(null);
  canvas.onpointerup = event => {
    const at = voxelUnder(viewer, kind, cell, event);
    if (pressed && !pressed.dragged && at) viewer.choose({kind, at});
    pressed = null;
  };
  canvas.onpointercancel = () => { pressed = null; };
  canvas.addEventListener("wheel", event => {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      zoomAt(viewer, kind, cell, event, Math.exp(-event.deltaY / 200));
    } else if (viewer.root.activeElement === canvas) {
      // Only once it has been clicked: a page must scroll past a picture.
      event.preventDefault();
      viewer.step(kind, across, Math.sign(event.deltaY));
    }
  }, {passive: false});
  canvas.ondblclick = () => { viewer.fit(); viewer.later(); };
  canvas.onkeydown = event => {
    const [row, column] = others(across);
    const up = cell.view?.up ? 1 : -1;
    const moves = {
      ArrowLeft: [column, -1], ArrowRight: [column, 1], ArrowUp: [row, up], ArrowDown: [row, -up],
      PageUp: [across, 1], PageDown: [across, -1],
    };
    if (moves[event.key]) viewer.step(kind, ...moves[event.key]);
    else if (event.key === "Enter" || event.key === " ") viewer.choose(viewer.focus);
    else if (event.key === "+" || event.key === "=") zoomAt(viewer, kind, cell, null, 1.25);
    else if (event.key === "-") zoomAt(viewer, kind, cell, null, 0.8);
    else if (event.key === "0") { viewer.fit(); viewer.later(); }
    else return;
    event.preventDefault();
  };
}

function pan(viewer, kind, {across, view}, dx, dy) {
  const [row, column] = others(across);
  viewer.centre[kind] ??= middleOf(viewer, kind);
  viewer.centre[kind][column] -= dx / view.wide;
  viewer.centre[kind][row] -= dy / view.tall * (view.up ? -1 : 1);
  viewer.hover = null;
  viewer.later();
}

/** Zoom, keeping what is under the pointer (or looked at) where it is. */
function zoomAt(viewer, kind, {across, view}, event, factor) {
  const [row, column] = others(across);
  const zoom = clamp(viewer.zoom[kind] * factor, 1, 64);
  const scale = viewer.zoom[kind] / zoom;
  const middle = viewer.centre[kind] ?? middleOf(viewer, kind);
  const at = [...viewer.centres(viewer.focus)[kind]];
  if (event) {
    at[row] = view.middleRow + (event.offsetY - view.height / 2) / view.tall * (view.up ? -1 : 1);
    at[column] = view.middleColumn + (event.offsetX - view.width / 2) / view.wide;
  }
  viewer.centre[kind] = zoom === 1 ? null : middle.map((value, axis) => at[axis] + (value - at[axis]) * scale);
  viewer.zoom[kind] = zoom;
  viewer.later();
}

function buildKernel(viewer) {
  viewer.kernelBox = element("div", {class: "kernel"});
  viewer.kernelTitle = element("b");
  viewer.kernel = element("canvas", {
    tabindex: 0, role: "application", "aria-roledescription": "kernel", "aria-label": "Kernel, one square a tap",
  });
  viewer.kernelBox.append(viewer.kernelTitle, viewer.kernel);
  viewer.kernel.onpointermove = event => {
    const tap = viewer.layer && tapUnder(viewer, event);
    viewer.point(tap && {kind: "tap", at: tap});
  };
  viewer.kernel.onpointerleave = () => viewer.point(null);
  viewer.kernel.onclick = event => {
    const tap = tapUnder(viewer, event);
    if (tap) viewer.settle({kind: "tap", at: tap});
  };
  viewer.kernel.onkeydown = event => {
    const moves = {
      ArrowLeft: [2, -1], ArrowRight: [2, 1], ArrowUp: [1, -1], ArrowDown: [1, 1], PageUp: [0, 1], PageDown: [0, -1],
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    const shape = viewer.layer.kernel.shape;
    const at = viewer.rest.kind === "tap" ? [...viewer.rest.at] : shape.map(size => (size - 1) >> 1);
    const [axis, by] = moves[event.key];
    at[axis] = clamp(at[axis] + by, 0, shape[axis] - 1);
    viewer.settle({kind: "tap", at});
  };
  return viewer.kernelBox;
}

function element(tag, attributes = {}, text = "") {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
  if (text) found.textContent = text;
  return found;
}
