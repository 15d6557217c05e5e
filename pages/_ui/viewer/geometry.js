// Which input voxels an output reads, and which outputs an input voxel feeds: integers only, the same arithmetic as
// conv3d_core.receptive_field. A layer is its three axes D, H, W, each {size, outputs, kernel, stride, padding, dilation}.

/** Input indices of the taps of one output along an axis; below 0 or beyond the size they are in the padding. */
export function axisTaps(axis, output) {
  const first = output * axis.stride - axis.padding;
  return Array.from({length: axis.kernel}, (_, tap) => first + tap * axis.dilation);
}

/** Outputs that read one input index along an axis, in ascending order. */
export function axisReaders(axis, input) {
  const found = [];
  for (let tap = axis.kernel - 1; tap >= 0; tap--) {
    const at = input + axis.padding - tap * axis.dilation;
    const output = at / axis.stride;
    if (Number.isInteger(output) && output >= 0 && output < axis.outputs) found.push(output);
  }
  return found;
}

/** Input indices that one tap multiplies along an axis, one for each output. */
export function axisLattice(axis, tap) {
  const first = tap * axis.dilation - axis.padding;
  return Array.from({length: axis.outputs}, (_, output) => first + output * axis.stride);
}

/** First and last input index that an output's taps span along an axis, both included. */
export function axisWindow(axis, output) {
  const first = output * axis.stride - axis.padding;
  return [first, first + (axis.kernel - 1) * axis.dilation];
}

/** First and last index of an input's axis, its padding included as far as any output reads it. */
export function axisReach(axis) {
  return [Math.min(0, -axis.padding), Math.max(axis.size - 1, axisWindow(axis, axis.outputs - 1)[1])];
}

/** The input voxel under the middle tap of an output; the nearest one where that is in the padding. */
export function central(axes, output) {
  return axes.map((axis, i) => clamp(axisTaps(axis, output[i])[(axis.kernel - 1) >> 1], 0, axis.size - 1));
}

/** The output whose middle tap is nearest to an input voxel. */
export function nearestOutput(axes, input) {
  return axes.map((axis, i) => {
    const middle = ((axis.kernel - 1) >> 1) * axis.dilation;
    return clamp(Math.round((input[i] + axis.padding - middle) / axis.stride), 0, axis.outputs - 1);
  });
}

/** What an output reads on the plane of the input across `across` at `index`: rows and columns with their kernel depth. */
export function tapsOnPlane(axes, output, across, index) {
  const along = axes.map((axis, i) => axisTaps(axis, output[i]));
  const fixed = along[across].indexOf(index);
  if (fixed < 0) return [];
  const [row, column] = others(across);
  const found = [];
  along[row].forEach((r, rowTap) => along[column].forEach((c, columnTap) => {
    const tap = [0, 0, 0];
    tap[across] = fixed;
    tap[row] = rowTap;
    tap[column] = columnTap;
    const inside = within(axes[row], r) && within(axes[column], c) && within(axes[across], index);
    found.push({row: r, column: c, tap, padding: !inside});
  }));
  return found;
}

/** Outputs that read an input voxel, on the plane of the output across `across` at `index`. */
export function readersOnPlane(axes, input, across, index) {
  const along = axes.map((axis, i) => axisReaders(axis, input[i]));
  if (!along[across].includes(index)) return [];
  const [row, column] = others(across);
  return along[row].flatMap(r => along[column].map(c => ({row: r, column: c})));
}

/** What a tap multiplies on the plane of the input across `across` at `index`, over all outputs. */
export function latticeOnPlane(axes, tap, across, index) {
  const along = axes.map((axis, i) => axisLattice(axis, tap[i]));
  if (!along[across].includes(index)) return [];
  const [row, column] = others(across);
  return along[row].flatMap(r => along[column].map(c => (
    {row: r, column: c, padding: !within(axes[row], r) || !within(axes[column], c)})));
}

/** The two axes that are seen on a plane across one of them: row, column. */
export function others(across) {
  return [0, 1, 2].filter(axis => axis !== across);
}

export function within(axis, index) {
  return index >= 0 && index < axis.size;
}

export function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}
