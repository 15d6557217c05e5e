// What stands where in the 3D scene, in voxels: a voxel is the box from its index - 0.5 to its index + 0.5. The output
// grid stands beside the input along W, its middle level with the input's, its voxels as large as the input's.

import {axisReach, axisReaders, axisTaps, axisWindow, clamp, within} from "./geometry.js";

export const MOST_CUBES = 4096; // what software WebGL still turns smoothly
const MARGIN = 0.75; // how much a close-up shows around the window, in its lengths on each side
const AROUND = 2; // outputs that a close-up shows around the ones that are lit
const GAP = 0.3; // between input and output, in lengths of the input

/**
 * The scene for a focus {kind, at} and the voxels {input, output} in the middle of it, of voxels of the size `step`.
 *
 * Spans are [first, last] for each axis, both included: `window` is what is read, `region` and `grid` what is shown of
 * input and output, `all` the input with the padding that is ever read. `taps` and `readers` are cubes.
 */
export function setStage(axes, focus, at, step, closeUp) {
  const read = axes.map((axis, i) => axisWindow(axis, at.output[i]));
  const reading = focus.kind === "input" ? axes.map((axis, i) => axisReaders(axis, at.input[i])) : axes.map(() => []);
  const readers = focus.kind === "input" ? combinations(reading) : [];
  const window = focus.kind === "input" ? at.input.map(index => [index, index]) : read;
  const lit = focus.kind === "input" ? reading : at.output.map(index => [index]);
  const taps = focus.kind === "input" ? [] : tapCubes(axes, at.output, focus.kind === "tap" ? focus.at : null);
  const whole = axes.map(axis => [0, axis.size - 1]);
  const all = axes.map(axisReach);
  const region = closeUp ? axes.map((axis, i) => around(join(read[i], window[i]), axis.size)) : whole;
  const grid = axes.map((axis, i) => {
    if (!closeUp) return [0, axis.outputs - 1];
    const shown = lit[i].length ? lit[i] : [at.output[i]];
    return [Math.max(0, shown[0] - AROUND), Math.min(axis.outputs - 1, shown[shown.length - 1] + AROUND)];
  });
  const longest = Math.max(...region.map(([first, last], i) => (last - first + 1) * step[i]));
  const place = region.map(([first, last], i) => {
    if (i === 2) return (closeUp ? Math.max(last, window[2][1]) : all[2][1]) + 1 + GAP * longest / step[2] - grid[2][0];
    return (first + last) / 2 - (grid[i][0] + grid[i][1]) / 2;
  });
  return {
    window, taps: taps ?? [], readers: readers ?? [], region, grid, all, place, // an output is drawn at its index + place
    note: taps && readers ? "" : tooMany(axes, focus, reading),
  };
}

/** The taps of an output, or one of them: {tap, voxel, padding}; null where they are too many. */
function tapCubes(axes, output, only) {
  const along = axes.map((axis, i) => axisTaps(axis, output[i]));
  const found = only ? [only] : combinations(axes.map(axis => Array.from({length: axis.kernel}, (_, tap) => tap)));
  return found && found.map(tap => {
    const voxel = tap.map((number, i) => along[i][number]);
    return {tap, voxel, padding: !voxel.every((index, i) => within(axes[i], index))};
  });
}

function combinations([first, second, third]) {
  if (first.length * second.length * third.length > MOST_CUBES) return null;
  return first.flatMap(d => second.flatMap(h => third.map(w => [d, h, w])));
}

function tooMany(axes, focus, reading) {
  const count = (focus.kind === "input" ? reading.map(each => each.length) : axes.map(axis => axis.kernel)).reduce((a, b) => a * b);
  const what = focus.kind === "input" ? "outputs" : "taps";
  return `${count.toLocaleString("en")} ${what} are too many to draw: only the box around them is shown.`;
}

/** A window and its surroundings; into the padding only where the window reaches there. */
function around([first, last], size) {
  const margin = Math.max(2, Math.round((last - first + 1) * MARGIN));
  return [clamp(first - margin, 0, size - 1), clamp(last + margin, 0, size - 1)];
}

function join(a, b) {
  return [Math.min(a[0], b[0]), Math.max(a[1], b[1])];
}
