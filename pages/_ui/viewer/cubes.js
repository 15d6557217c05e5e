// Cubes of voxels: which of their faces can be seen, and which one a ray meets. A face is 2 * axis + (0 low, 1 high).

import {others} from "./geometry.js";

/** The faces that no other voxel of the set hides: [position in the list, face]. */
export function visibleFaces(voxels) {
  if (!voxels.length) return [];
  const spans = [0, 1, 2].map(axis => {
    const along = voxels.map(voxel => voxel[axis]);
    const low = along.reduce((a, b) => Math.min(a, b)) - 1;
    return {low, size: along.reduce((a, b) => Math.max(a, b)) - low + 2};
  });
  const steps = [spans[1].size * spans[2].size, spans[2].size, 1];
  const places = voxels.map(voxel => steps.reduce((place, step, axis) => place + (voxel[axis] - spans[axis].low) * step, 0));
  const filled = new Set(places);
  const faces = [];
  places.forEach((place, number) => steps.forEach((step, axis) => {
    if (!filled.has(place - step)) faces.push([number, 2 * axis]);
    if (!filled.has(place + step)) faces.push([number, 2 * axis + 1]);
  }));
  return faces;
}

/** The twelve edges of a box: pairs of points. */
export function boxEdges(low, high) {
  return [0, 1, 2].flatMap(axis => {
    const [first, second] = others(axis);
    return [0, 1, 2, 3].map(bits => {
      const begin = [0, 0, 0];
      begin[axis] = low[axis];
      begin[first] = bits & 1 ? high[first] : low[first];
      begin[second] = bits & 2 ? high[second] : low[second];
      const end = [...begin];
      end[axis] = high[axis];
      return [begin, end];
    });
  });
}

/** How far along a ray a box begins; Infinity where the ray misses it. */
export function hitBox({origin, direction}, low, high) {
  let [enter, leave] = [0, Infinity];
  for (let axis = 0; axis < 3; axis++) {
    if (direction[axis] === 0) {
      if (origin[axis] < low[axis] || origin[axis] > high[axis]) return Infinity;
      continue;
    }
    const [a, b] = [(low[axis] - origin[axis]) / direction[axis], (high[axis] - origin[axis]) / direction[axis]];
    enter = Math.max(enter, Math.min(a, b));
    leave = Math.min(leave, Math.max(a, b));
  }
  return enter <= leave ? enter : Infinity;
}

/** How far along a ray the plane across an axis at a place is met, if inside the box low to high; else Infinity. */
export function hitPlane({origin, direction}, across, place, low, high) {
  const far = (place - origin[across]) / direction[across];
  if (!(far >= 0 && far < Infinity)) return Infinity;
  const inside = [0, 1, 2].every(axis => {
    const at = origin[axis] + far * direction[axis];
    return at >= low[axis] && at <= high[axis];
  });
  return inside ? far : Infinity;
}
