// What is looked at, in words; for an output the same sentence as conv3d_core.receptive_field.describe.

import {axisLattice, axisReaders, axisTaps, within} from "./geometry.js";
import {number} from "./volume.js";

const AXIS_NAMES = ["depth", "height", "width"];

/** What an output voxel reads. */
export function outputWords(axes, output, channel, inChannels) {
  const hits = axes.map((axis, i) => axisTaps(axis, output[i]).filter(index => within(axis, index)));
  const inside = product(hits.map(hit => hit.length));
  const outside = product(axes.map(axis => axis.kernel)) - inside;
  const each = inChannels > 1 ? ` in each of ${inChannels} channels` : "";
  const where = inside ? `: ${places(hits)}` : "";
  const padding = outside ? `${count(outside)} ${outside === 1 ? "tap falls" : "taps fall"} in the padding` : "none in the padding";
  return `Output ${position(output)} of channel ${channel} reads ${count(inside)} ${inside === 1 ? "voxel" : "voxels"}${each}${where}; ${padding}.`;
}

/** Which outputs read an input voxel. */
export function inputWords(axes, input) {
  const found = axes.map((axis, i) => axisReaders(axis, input[i]));
  const all = product(found.map(each => each.length));
  if (!all) return `Input ${position(input)} is read by no output.`;
  return `Input ${position(input)} is read by ${count(all)} ${all === 1 ? "output" : "outputs"}: ${places(found)}.`;
}

/** What a tap multiplies, over all outputs. */
export function tapWords(axes, tap) {
  const along = axes.map((axis, i) => axisLattice(axis, tap[i]));
  const inside = product(along.map((each, i) => each.filter(index => within(axes[i], index)).length));
  const outside = product(axes.map(axis => axis.outputs)) - inside;
  const padding = outside ? `for ${count(outside)} outputs it falls in the padding` : "it never falls in the padding";
  return `Tap ${position(tap)} multiplies ${count(inside)} ${inside === 1 ? "voxel" : "voxels"}, each for another output; ${padding}.`;
}

/**
 * One step of the sum behind an output: tap number `count` of the kernel was just added.
 *
 * `voxel` is null in the padding; `mlx` is MLX's value, null where this input channel is not all of it.
 */
export function sumWords(tap, output, count, kernel, {voxel, product, sum}, bias, mlx) {
  const all = kernel.data.length;
  const weight = number(kernel.data[count - 1]);
  const term = `${voxel === null ? "padding, 0" : number(voxel)} × ${weight} = ${number(product)}`;
  const begin = `Tap ${position(tap)} of output ${position(output)}: ${term}; ${count} of ${all} added: ${number(sum)}`;
  if (count < all) return `${begin}.`;
  if (mlx === null) return `${begin}, of this input channel alone.`;
  return `${begin}, with the bias ${number(bias)} ${number(sum + bias)}; MLX says ${number(mlx)}.`;
}

function places(along) {
  return along.map((indices, i) => `${AXIS_NAMES[i]} ${span(indices)}`).join(", ");
}

function span(indices) {
  if (!indices.length) return "none";
  if (indices.length === 1) return String(indices[0]);
  const text = `${indices[0]}-${indices[indices.length - 1]}`;
  const step = indices[1] - indices[0];
  return step === 1 ? text : `${text} in steps of ${step}`;
}

function position(at) {
  return `(${at.join(", ")})`;
}

function count(number) {
  return number.toLocaleString("en");
}

function product(numbers) {
  return numbers.reduce((all, each) => all * each, 1);
}
