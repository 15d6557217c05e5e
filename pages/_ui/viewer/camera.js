// The camera of the 3D scene: parallel rays, turned around what is shown. Points and directions are (D, H, W), as
// everywhere; D points up, and from where the camera starts W runs to the right and H away from the eye.

export const START = Object.freeze({azimuth: 0.4, elevation: 0.42, zoom: 1, pan: [0, 0]});

/** Unit vectors to the right, upwards and towards the eye. */
export function cameraBasis({azimuth, elevation}) {
  const [sa, ca, se, ce] = [Math.sin(azimuth), Math.cos(azimuth), Math.sin(elevation), Math.cos(elevation)];
  return {right: [0, sa, ca], up: [ce, se * ca, -se * sa], eye: [se, -ce * ca, ce * sa]};
}

/**
 * How a camera sees the scene on a canvas of a size in CSS pixels: at zoom 1 all boxes {low, high} fit into it, less its
 * margins [left, top, right, bottom]. `middle` is where `centre` is seen.
 */
export function lookAt(camera, boxes, [width, height], [left, top, right, bottom]) {
  const basis = cameraBasis(camera);
  const corners = boxes.flatMap(({low, high}) => boxCorners(low, high));
  const [across, along, deep] = [basis.right, basis.up, basis.eye].map(axis => {
    const values = corners.map(corner => dot(axis, corner));
    return {low: Math.min(...values), high: Math.max(...values)};
  });
  const span = ({low, high}) => high - low || 1;
  const middle = ({low, high}) => (low + high) / 2;
  const fit = Math.min(
    Math.max(width - left - right, 40) / span(across), Math.max(height - top - bottom, 40) / span(along));
  return {
    ...basis, width, height, scale: fit * camera.zoom, depth: span(deep),
    middle: [(width + left - right) / 2 + camera.pan[0], (height + top - bottom) / 2 + camera.pan[1]],
    centre: [0, 1, 2].map(i => basis.right[i] * middle(across) + basis.up[i] * middle(along) + basis.eye[i] * middle(deep)),
  };
}

/** Where a point is seen: x, y, and how near it is to the eye. */
export function toScreen(view, point) {
  const from = point.map((value, i) => value - view.centre[i]);
  return [
    view.middle[0] + dot(view.right, from) * view.scale,
    view.middle[1] - dot(view.up, from) * view.scale,
    dot(view.eye, from),
  ];
}

/** The ray that ends in the eye at x, y: where it begins, before all that is shown, and its direction. */
export function rayAt(view, x, y) {
  const right = (x - view.middle[0]) / view.scale;
  const up = (view.middle[1] - y) / view.scale;
  return {
    origin: view.centre.map((value, i) => value + view.right[i] * right + view.up[i] * up + view.eye[i] * view.depth),
    direction: view.eye.map(value => 0 - value),
  };
}

/** The same as a matrix to clip space, by columns. */
export function clipMatrix(view) {
  const rows = [
    [view.right, 2 * view.scale / view.width, 2 * view.middle[0] / view.width - 1],
    [view.up, 2 * view.scale / view.height, 1 - 2 * view.middle[1] / view.height],
    [view.eye, -1.8 / view.depth, 0],
  ].map(([axis, scale, shift]) => [...axis.map(value => value * scale), shift - dot(axis, view.centre) * scale]);
  rows.push([0, 0, 0, 1]);
  return Float32Array.from([0, 1, 2, 3].flatMap(column => rows.map(row => row[column])));
}

export function boxCorners(low, high) {
  return [0, 1, 2, 3, 4, 5, 6, 7].map(bits => [0, 1, 2].map(axis => bits >> (2 - axis) & 1 ? high[axis] : low[axis]));
}

export function dot(a, b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}
