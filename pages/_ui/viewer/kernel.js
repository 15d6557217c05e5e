// Draws the kernel as its depth planes, a square a tap, and says which one the pointer is on.

import {axisReaders, axisTaps, clamp, within} from "./geometry.js";
import {ACCENT, LINE, MOST_MARKS} from "./marks.js";
import {number, paint} from "./volume.js";

export function drawKernel(viewer, focus, at) {
  const {kernel, depthColours, axes} = viewer.layer;
  const [KD, KH, KW] = kernel.shape;
  const canvas = viewer.kernel;
  const width = viewer.kernelBox.clientWidth;
  if (!width) return;
  const [gap, label] = [14, 18];
  const cell = clamp(Math.floor((width - gap * KD) / (KD * KW)), 5, Math.min(40, Math.max(5, Math.floor(160 / KH))));
  const across = Math.max(1, Math.min(KD, Math.floor((width + gap) / (KW * cell + gap))));
  const down = Math.ceil(KD / across);
  const [tall, wide] = [down * (KH * cell + label + gap) - gap, Math.max(across * (KW * cell + gap) - gap, 44)];
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  if (canvas.width !== Math.round(wide * ratio) || canvas.height !== Math.round(tall * ratio)) {
    [canvas.width, canvas.height] = [Math.round(wide * ratio), Math.round(tall * ratio)];
    [canvas.style.width, canvas.style.height] = [`${wide}px`, `${tall}px`];
  }
  viewer.kernelView = {cell, across, gap, label, KD, KH, KW};
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, wide, tall);
  const style = getComputedStyle(viewer.box);
  context.textAlign = "left";
  context.textBaseline = "middle";
  const signature = `kernel ${kernel.data.length} ${cell}`;
  let base = viewer.bases.get("kernel");
  if (base?.signature !== signature) {
    base = {signature, planes: kernelPictures(viewer, kernel)};
    viewer.bases.set("kernel", base);
  }
  context.imageSmoothingEnabled = false;
  for (let d = 0; d < KD; d++) {
    const [x, y] = kernelPlace(viewer, d);
    context.fillStyle = depthColours[d];
    context.fillRect(x, y - label + 3, 10, 10);
    context.fillStyle = style.color;
    context.font = `12px ${style.fontFamily}`;
    if (KW * cell >= 34) context.fillText(`D ${d}`, x + 14, y - label + 9);
    context.drawImage(base.planes[d], x, y, KW * cell, KH * cell);
    context.strokeStyle = depthColours[d];
    context.lineWidth = 2;
    context.strokeRect(x, y, KW * cell, KH * cell);
  }
  // Which taps multiply padding.
  const along = focus.kind === "output"
    && axes.map((axis, i) => axisTaps(axis, focus.at[i]).map(index => !within(axis, index)));
  const outside = along && along.some(each => each.some(Boolean))
    ? ([d, h, w]) => along[0][d] || along[1][h] || along[2][w] : () => false;
  if (along && kernel.data.length <= MOST_MARKS) {
    for (let d = 0; d < KD; d++) for (let h = 0; h < KH; h++) for (let w = 0; w < KW; w++) {
      if (outside([d, h, w])) hollowTap(viewer, context, tapRect(viewer, [d, h, w]));
    }
  }
  if (cell >= 30) drawWeights(viewer, context, kernel, cell, tap => outside(tap) && style.color);
  if (focus.kind === "tap") {
    context.strokeStyle = ACCENT;
    context.lineWidth = 3;
    context.strokeRect(...tapRect(viewer, focus.at));
  } else if (focus.kind === "input") {
    // Each output that reads this voxel does so through another tap.
    context.strokeStyle = ACCENT;
    context.lineWidth = 2;
    const taps = axes.map((axis, i) => axisReaders(axis, focus.at[i]).map(
      output => (focus.at[i] + axis.padding - output * axis.stride) / axis.dilation));
    if (taps[0].length * taps[1].length * taps[2].length <= MOST_MARKS) {
      for (const d of taps[0]) for (const h of taps[1]) for (const w of taps[2]) {
        context.strokeRect(...tapRect(viewer, [d, h, w]));
      }
    }
  }
}

function kernelPlace(viewer, depth) {
  const {cell, across, gap, label, KH, KW} = viewer.kernelView;
  return [depth % across * (KW * cell + gap), Math.floor(depth / across) * (KH * cell + label + gap) + label];
}

function tapRect(viewer, [d, h, w]) {
  const [x, y] = kernelPlace(viewer, d);
  const {cell} = viewer.kernelView;
  return [x + w * cell + 0.5, y + h * cell + 0.5, cell - 1, cell - 1];
}

function kernelPictures(viewer, {data, shape: [KD, KH, KW]}) {
  const most = data.reduce((most, value) => Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most, 0) || 1;
  return Array.from({length: KD}, (_, d) => {
    const picture = document.createElement("canvas");
    [picture.width, picture.height] = [KW, KH];
    const image = new ImageData(KW, KH);
    const weights = data.subarray(d * KH * KW, (d + 1) * KH * KW);
    paint(weights, -most, most, viewer.tables.output, new Uint32Array(image.data.buffer));
    picture.getContext("2d").putImageData(image, 0, 0);
    return picture;
  });
}

function drawWeights(viewer, context, {data, shape: [KD, KH, KW]}, cell, colourOf) {
  const most = Math.max(...data.map(Math.abs)) || 1;
  context.textAlign = "center";
  context.font = `${Math.min(12, cell / 3.4)}px ui-monospace, Menlo, Consolas, monospace`;
  for (let d = 0, i = 0; d < KD; d++) for (let h = 0; h < KH; h++) for (let w = 0; w < KW; w++, i++) {
    const [x, y, size] = tapRect(viewer, [d, h, w]);
    context.fillStyle = colourOf([d, h, w]) || (Math.abs(data[i]) > 0.6 * most ? "#fff" : "#000");
    context.fillText(shortNumber(data[i]), x + size / 2, y + size / 2 + 1);
  }
  context.textAlign = "left";
}

/** A tap that multiplies padding: hollow, as it is on the planes. */
function hollowTap(viewer, context, [x, y, width, height]) {
  context.globalAlpha = 0.72;
  context.fillStyle = viewer.surface;
  context.fillRect(x, y, width, height);
  context.globalAlpha = 1;
  context.strokeStyle = LINE;
  context.lineWidth = 1;
  context.setLineDash([3, 2]);
  context.strokeRect(x + 1, y + 1, width - 2, height - 2);
  context.setLineDash([]);
}

export function tapUnder(viewer, event) {
  const {cell, across, KD, KH, KW} = viewer.kernelView;
  for (let d = 0; d < KD; d++) {
    const [x, y] = kernelPlace(viewer, d);
    const [w, h] = [Math.floor((event.offsetX - x) / cell), Math.floor((event.offsetY - y) / cell)];
    if (w >= 0 && h >= 0 && w < KW && h < KH) return [d, h, w];
  }
  return null;
}

/** A weight in the little room of its square. */
function shortNumber(value) {
  if (!Number.isFinite(value)) return number(value).slice(0, 4);
  const text = String(Number(value.toPrecision(2)));
  return text.replace(/^(-?)0\./, "$1.").slice(0, 5);
}
