// Volumes in the page: found by the key of their content, sent once; and the planes and colours that are cut from them.

import {others} from "./geometry.js";

/** A volume, or the box of one that was sent: `origin` is where its first voxel lies in the whole, of size `full`. */
export class Volume {
  constructor(data, shape, origin, full) {
    Object.assign(this, {data, shape, origin, full});
  }

  /** The value of a voxel of the whole; undefined where it was not sent. */
  at(d, h, w) {
    const [i, j, k] = [d - this.origin[0], h - this.origin[1], w - this.origin[2]];
    const [D, H, W] = this.shape;
    return i < 0 || j < 0 || k < 0 || i >= D || j >= H || k >= W ? undefined : this.data[(i * H + j) * W + k];
  }

  /** The plane across an axis at an index of the whole; null where it was not sent. */
  plane(across, index) {
    const at = index - this.origin[across];
    if (at < 0 || at >= this.shape[across]) return null;
    const [, H, W] = this.shape;
    const strides = [H * W, W, 1];
    const [row, column] = others(across);
    const [rows, columns] = [this.shape[row], this.shape[column]];
    const values = new Float32Array(rows * columns);
    const [down, right] = [strides[row], strides[column]];
    let to = 0;
    for (let r = 0; r < rows; r++) {
      let from = at * strides[across] + r * down;
      for (let c = 0; c < columns; c++, from += right) values[to++] = this.data[from];
    }
    return {values, rows, columns, firstRow: this.origin[row], firstColumn: this.origin[column]};
  }
}

/** The volumes that the page holds; the longest unused go first. */
export class Store {
  constructor(most) {
    this.most = most;
    this.held = new Map();
    this.listeners = new Set();
  }

  put(key, volume) {
    this.held.delete(key);
    this.held.set(key, volume);
    while (this.held.size > this.most) this.held.delete(this.held.keys().next().value);
    this.listeners.forEach(listener => listener(key));
  }

  get(key) {
    return this.held.get(key) ?? null;
  }
}

/** A header and arrays from one message: see pack.py. */
export function unpack(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  let at = 4 + length;
  const arrays = {};
  for (const {name, shape} of header.arrays) {
    const count = shape.reduce((a, b) => a * b, 1);
    // Copied: the message need not begin where a float may.
    arrays[name] = {shape, data: new Float32Array(bytes.slice(at, at + 4 * count).buffer)};
    at += 4 * count;
  }
  return {header: header.header, arrays};
}

/** Paint values through a table of 256 colours into RGBA; what is not finite is magenta, as on every picture. */
export function paint(values, low, high, table, pixels) {
  const scale = 255 / (high - low || 1);
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (Number.isFinite(value)) {
      const level = Math.round((value - low) * scale);
      pixels[i] = table[level < 0 ? 0 : level > 255 ? 255 : level];
    } else {
      pixels[i] = MAGENTA;
    }
  }
}

export const MAGENTA = 0xffff00ff;

/** A table for `paint` from the CSS colours "rrggbb" of a scale, low to high. */
export function colourTable(hex) {
  const table = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    const [r, g, b] = [0, 2, 4].map(at => parseInt(hex.slice(6 * i + at, 6 * i + at + 2), 16));
    table[i] = (0xff000000 | (b << 16) | (g << 8) | r) >>> 0;
  }
  return table;
}

/** A number as the app writes it: four significant digits, no trailing zeros. */
export function number(value) {
  if (value === undefined || value === null) return "not sent";
  if (!Number.isFinite(value)) return String(value).replace("Infinity", "infinity");
  const text = Number(value.toPrecision(4));
  return Math.abs(text) >= 1e6 || (text !== 0 && Math.abs(text) < 1e-4) ? text.toExponential() : String(text);
}
