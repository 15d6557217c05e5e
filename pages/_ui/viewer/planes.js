// Draws the three planes of the input or of the output as the viewer stands: voxels, what is lit, crosshair, numbers.

import {axisReach, axisTaps, axisWindow, clamp, latticeOnPlane, others, readersOnPlane, tapsOnPlane} from "./geometry.js";
import {ACCENT, LETTERS, LINE, MOST_MARKS} from "./marks.js";
import {Volume, number, paint} from "./volume.js";

const TALLEST_PX = 300;
const NUMBERS_FROM_PX = 36;
const OVERVIEW_PX = 72;

export function extent(viewer, kind, axis) {
  const a = viewer.layer.axes[axis];
  if (kind === "output") return [0, a.outputs - 1];
  const volume = viewer.volume("input");
  if (volume && volume.shape[axis] < a.size) return [volume.origin[axis], volume.origin[axis] + volume.shape[axis] - 1];
  return axisReach(a);
}

export function extentSize(viewer, kind, axis) {
  const [first, last] = extent(viewer, kind, axis);
  return last - first + 1;
}

/** The middle of what is shown, per axis. */
export function middleOf(viewer, kind) {
  return [0, 1, 2].map(axis => (extent(viewer, kind, axis)[0] + extent(viewer, kind, axis)[1]) / 2);
}

/** The three planes of one kind. */
export function drawKind(viewer, kind, focus, at) {
  const size = viewer.spaced && viewer.layer[kind].spacing ? viewer.layer[kind].spacing : [1, 1, 1];
  const cells = viewer.cells[kind];
  const width = cells[0].canvas.clientWidth;
  if (!width) return;
  // One scale for all three: a voxel is as large on each of them.
  const length = axis => extentSize(viewer, kind, axis) * size[axis];
  const wide = Math.min(...cells.map(({across}) => width / length(others(across)[1])));
  const tall = Math.max(...cells.map(({across}) => length(others(across)[0])));
  const height = Math.max(60, Math.min(TALLEST_PX, Math.ceil(tall * wide)));
  const scale = 0.97 * Math.min(wide, height / tall) * viewer.zoom[kind];
  const middle = viewer.centre[kind] ?? middleOf(viewer, kind);
  for (const cell of cells) {
    const [row, column] = others(cell.across);
    cell.view = {
      width, height, middleRow: middle[row], middleColumn: middle[column],
      tall: size[row] * scale, wide: size[column] * scale, up: cell.across !== 0,
    };
    drawPlane(viewer, kind, cell, focus, at);
  }
}

function drawPlane(viewer, kind, cell, focus, at) {
  const {across, canvas, view} = cell;
  const index = viewer.indices[kind][across];
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  if (canvas.width !== Math.round(view.width * ratio) || canvas.height !== Math.round(view.height * ratio)) {
    canvas.width = Math.round(view.width * ratio);
    canvas.height = Math.round(view.height * ratio);
    canvas.style.height = `${view.height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, view.width, view.height);
  const plane = viewer.plane(kind, across, index);
  cell.plane = plane;
  if (plane) drawBase(viewer, context, kind, cell, index, plane);
  drawBorder(viewer, context, kind, cell);
  if (kind === "input") drawReads(viewer, context, cell, focus, at, index);
  else drawOutputs(viewer, context, cell, focus, at, index);
  drawCrosshair(context, cell, at[kind]);
  if (kind === "input" && viewer.layer.overview) drawOverview(viewer, context, cell, index);
  if (plane && Math.min(view.tall, view.wide) >= NUMBERS_FROM_PX) drawNumbers(viewer, context, kind, cell, plane);
  const {axes} = viewer.layer;
  const most = kind === "input" ? axes[across].size : axes[across].outputs;
  cell.label.textContent = `${LETTERS[across]} ${index}/${most}`;
  cell.slider.max = most - 1;
  if (cell.slider.value !== String(index)) cell.slider.value = index;
  cell.slider.setAttribute("aria-valuetext", `${index} of 0 to ${most - 1}`);
}

export function columnX(view, column) {
  return view.width / 2 + (column - view.middleColumn) * view.wide;
}

export function rowY(view, row) {
  return view.height / 2 + (row - view.middleRow) * view.tall * (view.up ? -1 : 1);
}

/** The rectangle of a voxel: left, top, width, height. */
function voxelRect(view, row, column, inset = 0) {
  return [
    columnX(view, column - 0.5) + inset, rowY(view, view.up ? row + 0.5 : row - 0.5) + inset,
    Math.max(1, view.wide - 2 * inset), Math.max(1, view.tall - 2 * inset),
  ];
}

function drawBase(viewer, context, kind, cell, index, plane) {
  const {view, across} = cell;
  const [low, high] = viewer.range(kind);
  const until = kind === "output" && viewer.sweep ? viewer.sweep.position : -1;
  const signature = [viewer.layer[kind].key, index, low, high, until, plane.rows, plane.columns, viewer.volume(kind) ? 1 : 0].join();
  let base = viewer.bases.get(cell);
  if (base?.signature !== signature) {
    const picture = base?.picture ?? document.createElement("canvas");
    [picture.width, picture.height] = [plane.columns, plane.rows];
    const image = new ImageData(plane.columns, plane.rows);
    const pixels = new Uint32Array(image.data.buffer);
    paint(plane.values, low, high, viewer.tables[kind], pixels);
    if (until >= 0) hideAhead(viewer, pixels, across, index, plane, until);
    if (view.up) flip(pixels, plane.rows, plane.columns);
    picture.getContext("2d").putImageData(image, 0, 0);
    base = {signature, picture};
    viewer.bases.set(cell, base);
  }
  const {firstRow, firstColumn, rows, columns} = plane;
  context.imageSmoothingEnabled = false;
  const top = view.up ? rowY(view, firstRow + rows - 0.5) : rowY(view, firstRow - 0.5);
  context.drawImage(base.picture, columnX(view, firstColumn - 0.5), top, columns * view.wide, rows * view.tall);
}

/** The whole plane, small, where the rest of the picture is only a box of it; and where that box is. */
function drawOverview(viewer, context, {across, view}, index) {
  const {axes, overview: {key, box}} = viewer.layer;
  const whole = viewer.store.get(key);
  if (!whole) return;
  const [row, column] = others(across);
  const step = Math.ceil(Math.max(...axes.map(axis => axis.size)) / Math.max(...whole.shape));
  const {values, rows, columns} = new Volume(whole.data, whole.shape, [0, 0, 0], whole.shape).plane(across, Math.floor(index / step));
  const picture = document.createElement("canvas");
  [picture.width, picture.height] = [columns, rows];
  const image = new ImageData(columns, rows);
  const pixels = new Uint32Array(image.data.buffer);
  paint(values, ...viewer.range("input"), viewer.tables.input, pixels);
  if (view.up) flip(pixels, rows, columns);
  picture.getContext("2d").putImageData(image, 0, 0);
  const scale = OVERVIEW_PX / Math.max(axes[row].size * view.tall, axes[column].size * view.wide);
  const [high, wide] = [axes[row].size * view.tall * scale, axes[column].size * view.wide * scale];
  const [left, top] = [6, view.height - high - 6];
  context.imageSmoothingEnabled = false;
  context.fillStyle = viewer.surface;
  context.fillRect(left - 2, top - 2, wide + 4, high + 4);
  context.drawImage(picture, left, top, wide, high);
  const [[first, last], [begin, end]] = [box[row], box[column]];
  const from = view.up ? axes[row].size - 1 - last : first;
  context.strokeStyle = ACCENT;
  context.lineWidth = 1;
  context.strokeRect(
    left + begin / axes[column].size * wide, top + from / axes[row].size * high,
    (end - begin + 1) / axes[column].size * wide, (last - first + 1) / axes[row].size * high);
}

/** Outputs that the sweep has not come to yet are not there. */
function hideAhead(viewer, pixels, across, index, plane, until) {
  const [row, column] = others(across);
  const at = [0, 0, 0];
  at[across] = index;
  for (let r = 0, i = 0; r < plane.rows; r++) {
    for (let c = 0; c < plane.columns; c++, i++) {
      at[row] = r + plane.firstRow;
      at[column] = c + plane.firstColumn;
      if (viewer.position(at) > until) pixels[i] = 0;
    }
  }
}

function drawBorder(viewer, context, kind, {across, view}) {
  const [row, column] = others(across);
  const {axes} = viewer.layer;
  const most = axis => kind === "input" ? axes[axis].size : axes[axis].outputs;
  const [top, bottom] = view.up ? [most(row) - 0.5, -0.5] : [-0.5, most(row) - 0.5];
  context.strokeStyle = LINE;
  context.lineWidth = 1;
  context.strokeRect(
    columnX(view, -0.5) - 0.5, rowY(view, top) - 0.5, most(column) * view.wide + 1, Math.abs(rowY(view, bottom) - rowY(view, top)) + 1);
}

function drawReads(viewer, context, cell, focus, at, index) {
  const {axes, depthColours} = viewer.layer;
  const {view, across} = cell;
  if (focus.kind === "output") {
    const [row, column] = others(across);
    const spans = axes.map((axis, i) => axisWindow(axis, focus.at[i]));
    if (index < spans[across][0] || index > spans[across][1]) return;
    const [[top, bottom], [left, right]] = [spans[row], spans[column]];
    const corner = voxelRect(view, view.up ? bottom : top, left);
    const frame = [corner[0], corner[1], (right - left + 1) * view.wide, (bottom - top + 1) * view.tall];
    // What lies between the taps of a dilation is dark: it is not read.
    context.fillStyle = "rgba(0, 0, 0, 0.45)";
    context.fillRect(...frame);
    const marks = tapsOnPlane(axes, focus.at, across, index);
    if (marks.length <= MOST_MARKS) {
      for (const mark of marks) markVoxel(context, view, mark, depthColours[mark.tap[0]]);
    }
    context.strokeStyle = ACCENT;
    context.lineWidth = 2;
    context.strokeRect(...frame);
  } else if (focus.of) {
    for (const mark of tapsOnPlane(axes, focus.of, across, index)) {
      const now = mark.tap.join() === focus.at.join();
      if (now) markVoxel(context, view, mark, depthColours[mark.tap[0]]);
      else fillVoxel(context, view, {...mark, padding: true}, depthColours[mark.tap[0]]);
    }
    ringVoxel(context, view, axes.map((axis, i) => axisTaps(axis, focus.of[i])[focus.at[i]]), across, index);
  } else if (focus.kind === "tap") {
    const marks = latticeOnPlane(axes, focus.at, across, index);
    for (const mark of marks) fillVoxel(context, view, mark, depthColours[focus.at[0]]);
  } else {
    ringVoxel(context, view, at.input, across, index);
  }
}

function drawOutputs(viewer, context, cell, focus, at, index) {
  const {view, across} = cell;
  if (focus.kind === "input") {
    const marks = readersOnPlane(viewer.layer.axes, focus.at, across, index);
    context.lineWidth = 2;
    context.strokeStyle = ACCENT;
    for (const {row, column} of marks.slice(0, MOST_MARKS)) {
      context.fillStyle = "rgba(247, 103, 7, 0.35)";
      context.fillRect(...voxelRect(view, row, column));
      context.strokeRect(...voxelRect(view, row, column, 0.5));
    }
  } else {
    ringVoxel(context, view, at.output, across, index);
  }
}

/** One of many voxels: its colour alone, or a frame in the padding. */
function fillVoxel(context, view, {row, column, padding}, colour) {
  const rect = voxelRect(view, row, column);
  if (rect[0] > view.width || rect[1] > view.height || rect[0] + rect[2] < 0 || rect[1] + rect[3] < 0) return;
  context.globalAlpha = padding ? 0.9 : 0.5;
  context.fillStyle = context.strokeStyle = colour;
  context.lineWidth = 1;
  if (padding) context.strokeRect(rect[0] + 0.5, rect[1] + 0.5, Math.max(rect[2] - 1, 0.5), Math.max(rect[3] - 1, 0.5));
  else context.fillRect(...rect);
  context.globalAlpha = 1;
}

/** A voxel that is read: in its depth colour; hollow in the padding. */
function markVoxel(context, view, {row, column, padding}, colour) {
  const small = Math.min(view.wide, view.tall) < 5;
  const rect = voxelRect(view, row, column, small ? 0 : 1.5);
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = small ? 1 : 2;
  if (!padding) {
    context.globalAlpha = small ? 0.8 : 0.55;
    context.fillRect(...rect);
    context.globalAlpha = 1;
  }
  if (padding) {
    // A light line under a dark dash: it must be seen on either theme.
    context.strokeStyle = "rgba(255, 255, 255, 0.7)";
    context.strokeRect(...rect);
    context.strokeStyle = colour;
    context.setLineDash([3, 3]);
    context.strokeRect(...rect);
    context.setLineDash([]);
  } else if (!small) {
    context.strokeRect(...rect);
  }
}

/** The voxel itself, where the plane goes through it. */
function ringVoxel(context, view, voxel, across, index) {
  if (voxel[across] !== index) return;
  const [row, column] = others(across);
  let rect = voxelRect(view, voxel[row], voxel[column]);
  const short = 7 - Math.min(rect[2], rect[3]);
  if (short > 0) rect = [rect[0] - short / 2, rect[1] - short / 2, rect[2] + short, rect[3] + short];
  context.lineWidth = 4;
  context.strokeStyle = "rgba(255, 255, 255, 0.85)";
  context.strokeRect(...rect);
  context.lineWidth = 2;
  context.strokeStyle = ACCENT;
  context.strokeRect(...rect);
}

function drawCrosshair(context, {across, view}, voxel) {
  const [row, column] = others(across);
  const [x, y] = [columnX(view, voxel[column]), rowY(view, voxel[row])];
  const gap = 12 + Math.max(view.wide, view.tall) / 2;
  context.setLineDash([2, 3]);
  context.lineWidth = 1;
  context.strokeStyle = ACCENT;
  context.beginPath();
  for (const [x0, y0, x1, y1] of [[0, y, x - gap, y], [x + gap, y, view.width, y], [x, 0, x, y - gap], [x, y + gap, x, view.height]]) {
    if (x1 > x0 || y1 > y0) {
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
    }
  }
  context.stroke();
  context.setLineDash([]);
}

function drawNumbers(viewer, context, kind, {view, across}, plane) {
  const [low, high] = viewer.range(kind);
  const table = viewer.tables[kind];
  context.font = `${Math.min(12, view.wide / 4.4)}px ui-monospace, Menlo, Consolas, monospace`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (let r = 0; r < plane.rows; r++) {
    const y = rowY(view, r + plane.firstRow);
    if (y < -view.tall || y > view.height + view.tall) continue;
    for (let c = 0; c < plane.columns; c++) {
      const x = columnX(view, c + plane.firstColumn);
      if (x < -view.wide || x > view.width + view.wide) continue;
      const value = plane.values[r * plane.columns + c];
      const level = clamp(Math.round((value - low) * 255 / (high - low || 1)), 0, 255) || 0;
      const colour = table[level];
      const light = 0.299 * (colour & 255) + 0.587 * (colour >> 8 & 255) + 0.114 * (colour >> 16 & 255);
      // On its own halo: taps colour the voxel, too.
      context.lineWidth = 2.5;
      context.strokeStyle = light > 140 ? "rgba(255, 255, 255, 0.8)" : "rgba(0, 0, 0, 0.8)";
      context.fillStyle = light > 140 ? "#000" : "#fff";
      context.strokeText(number(value), x, y);
      context.fillText(number(value), x, y);
    }
  }
}

function flip(pixels, rows, columns) {
  for (let top = 0, bottom = rows - 1; top < bottom; top++, bottom--) {
    const above = pixels.slice(top * columns, (top + 1) * columns);
    pixels.copyWithin(top * columns, bottom * columns, (bottom + 1) * columns);
    pixels.set(above, bottom * columns);
  }
}
