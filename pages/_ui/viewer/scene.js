// The 3D scene: what the linked viewer looks at, in space. It has no data of its own and asks nobody: the viewer tells
// when it has drawn, and its planes are the textures here.

import {START, boxCorners, clipMatrix, lookAt, rayAt, toScreen} from "./camera.js";
import {boxEdges, hitBox, hitPlane, visibleFaces} from "./cubes.js";
import {clamp, others} from "./geometry.js";
import {ACCENT, KINDS, LETTERS, LINE} from "./marks.js";
import {setStage} from "./stage.js";

const ACCENT_COLOUR = rgba(ACCENT);
const LINE_COLOUR = rgba(LINE);
const MARGINS = [58, 40, 16, 24]; // CSS pixels around the scene, for its labels
const LEAST_PX = 7; // no lit voxel is smaller
const LEGEND_ENTRIES = 8;
const TURN = 0.09; // radians a key
const SHORT_OF_IT = "This browser has no WebGL 2, which the 3D scene needs. The planes above show the same.";
const LOST = "The graphics system has dropped the 3D scene; it comes back by itself when it can.";
const HELP = "Drag or arrow keys turn, Ctrl + wheel or + and - zoom, 0 resets, a click pins.";

const FACE_VERTEX = `#version 300 es
  in vec2 corner; in vec3 centre; in vec3 reach; in float face; in vec4 colour; in float hollow;
  uniform mat4 camera; uniform vec3 eye;
  out vec2 at; out vec4 tint; flat out float open;
  void main() {
    int axis = int(face) / 2;
    float side = mod(face, 2.0) * 2.0 - 1.0;
    vec2 c = corner * 2.0 - 1.0;
    vec3 p = axis == 0 ? vec3(side, c) : axis == 1 ? vec3(c.x, side, c.y) : vec3(c, side);
    gl_Position = camera * vec4(centre + p * reach, 1.0);
    // The far side of what is solid is not seen: out of the picture with it.
    if (hollow == 0.0 && eye[axis] * side <= 0.0) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
    float shade = axis == 0 ? 1.0 : axis == 1 ? 0.88 : 0.76;
    tint = vec4(colour.rgb * (hollow == 0.0 ? shade : 1.0), colour.a);
    at = corner;
    open = hollow;
  }`;
const FACE_FRAGMENT = `#version 300 es
  precision highp float;
  in vec2 at; in vec4 tint; flat in float open;
  uniform float opacity; uniform float ratio;
  out vec4 pixel;
  void main() {
    vec2 step = fwidth(at);
    vec2 far = min(at, 1.0 - at) / step / ratio;
    float border = 1.0 - smoothstep(0.6, 1.6, min(far.x, far.y));
    if (open > 0.0) {
      if (border < 0.05) discard;
      pixel = vec4(tint.rgb, tint.a * border * opacity);
    } else {
      // Edges of small cubes would be all that is left of them.
      float large = clamp((min(1.0 / step.x, 1.0 / step.y) / ratio - 4.0) / 6.0, 0.0, 1.0);
      pixel = vec4(mix(tint.rgb, vec3(0.07, 0.08, 0.1), border * large * 0.75), tint.a * opacity);
    }
  }`;
const LINE_VERTEX = `#version 300 es
  in vec2 corner; in vec3 begin; in vec3 end; in vec4 colour; in float width;
  uniform mat4 camera; uniform vec2 viewport;
  out vec4 tint;
  void main() {
    vec4 a = camera * vec4(begin, 1.0), b = camera * vec4(end, 1.0);
    vec2 along = (b.xy - a.xy) * viewport;
    along = length(along) > 0.0 ? normalize(along) : vec2(1.0, 0.0);
    vec4 place = mix(a, b, corner.x);
    place.xy += vec2(-along.y, along.x) * (corner.y * 2.0 - 1.0) * width / viewport;
    place.z -= 0.003;
    gl_Position = place;
    tint = colour;
  }`;
const LINE_FRAGMENT = `#version 300 es
  precision highp float;
  in vec4 tint; uniform float opacity; out vec4 pixel;
  void main() { pixel = vec4(tint.rgb, tint.a * opacity); }`;
const PLANE_VERTEX = `#version 300 es
  in vec2 corner; uniform mat4 camera; uniform vec3 origin; uniform vec3 down; uniform vec3 right; uniform vec4 part;
  out vec2 at;
  void main() {
    gl_Position = camera * vec4(origin + down * corner.y + right * corner.x, 1.0);
    at = part.xy + part.zw * corner;
  }`;
const PLANE_FRAGMENT = `#version 300 es
  precision highp float;
  in vec2 at; uniform sampler2D picture; out vec4 pixel;
  void main() {
    pixel = texture(picture, at);
    if (pixel.a < 0.5) discard;
  }`;
const FACE_FIELDS = [["centre", 3], ["reach", 3], ["face", 1], ["colour", 4], ["hollow", 1]];
const LINE_FIELDS = [["begin", 3], ["end", 3], ["colour", 4], ["width", 1]];

export class Scene {
  /** `kept` outlives the element: its camera, and whether it is a close-up. */
  constructor(root, kept) {
    this.root = root;
    this.kept = kept;
    kept.camera ??= {...START};
    kept.closeUp ??= true;
    this.viewer = null;
    this.took = []; // milliseconds of the last drawings
    this.build();
    this.start();
    this.observer = new ResizeObserver(() => this.later());
    this.observer.observe(this.frameBox);
  }

  remove() {
    this.follow(null);
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
    this.gl?.getExtension("WEBGL_lose_context")?.loseContext();
    this.gl = null;
    this.box.remove();
  }

  /** Draw what a viewer looks at, whenever it has drawn. */
  follow(viewer) {
    this.viewer?.listeners.delete(this.onDrawn);
    this.viewer = viewer;
    viewer?.listeners.add(this.onDrawn ??= () => this.later());
    this.later();
  }

  get camera() {
    return this.kept.camera;
  }

  // What the hand does ----------------------------------------------------------------------------------------------

  turn(azimuth, elevation) {
    const {camera} = this;
    camera.azimuth += azimuth;
    camera.elevation = clamp(camera.elevation + elevation, -Math.PI / 2, Math.PI / 2);
    this.later();
  }

  /** Zoom, keeping what is under the pointer where it is. */
  zoomAt(factor, point = this.view?.middle) {
    const {camera, view} = this;
    if (!view) return;
    const zoom = clamp(camera.zoom * factor, 1, 64);
    const grown = zoom / camera.zoom;
    camera.pan = zoom === 1 ? [0, 0] : camera.pan.map((pan, i) => pan + (point[i] - view.middle[i]) * (1 - grown));
    camera.zoom = zoom;
    this.later();
  }

  pan(x, y) {
    if (this.camera.zoom > 1) this.camera.pan = [this.camera.pan[0] + x, this.camera.pan[1] + y];
    this.later();
  }

  reset() {
    Object.assign(this.camera, START);
    this.later();
  }

  show(closeUp) {
    this.kept.closeUp = closeUp;
    Object.assign(this.camera, {zoom: 1, pan: [0, 0]});
    this.later();
  }

  click(x, y) {
    const hit = this.pick(x, y);
    if (!hit) return;
    if (hit.kind === "output") this.viewer.pin(hit.at);
    else this.viewer.choose({kind: "input", at: hit.at});
  }

  /** What is seen at x, y: {kind: "tap" | "input" | "output", at}, of a tap the input voxel under it; or null. */
  pick(x, y) {
    if (!this.stage || !this.view) return null;
    const ray = rayAt(this.view, x, y);
    let found = null;
    let nearest = Infinity;
    const offer = (far, hit) => {
      if (far < nearest) [nearest, found] = [far, hit];
    };
    const {taps, readers} = this.stage;
    for (const {voxel} of taps) offer(hitBox(ray, ...this.cube("input", voxel)), {kind: "tap", at: voxel});
    for (const voxel of [...readers, this.at.output]) offer(hitBox(ray, ...this.cube("output", voxel)), {kind: "output", at: voxel});
    for (const kind of KINDS) for (const {across, index, spans} of this.planes[kind]) {
      const [low, high] = this.boxOf(kind, spans);
      const place = this.point(kind, spans.map(() => index))[across];
      const far = hitPlane(ray, across, place, low, high);
      if (far === Infinity) continue;
      const at = spans.map(([first, last], axis) => {
        const met = (ray.origin[axis] + far * ray.direction[axis]) / this.step[axis] - this.placeOf(kind, axis);
        return axis === across ? index : clamp(Math.round(met), first, last) + 0;
      });
      offer(far, {kind, at});
    }
    return found;
  }

  // Where it is -----------------------------------------------------------------------------------------------------

  placeOf(kind, axis) {
    return kind === "output" ? this.stage.place[axis] : 0;
  }

  /** The middle of a voxel of the input or the output, in the scene. */
  point(kind, at) {
    return at.map((index, axis) => (index + this.placeOf(kind, axis)) * this.step[axis]);
  }

  /** Where its middle is seen: x, y in the canvas, and how near it is to the eye. */
  where(kind, at) {
    return toScreen(this.view, this.point(kind, at));
  }

  /** Two corners of a box of voxels. */
  boxOf(kind, spans) {
    return [0, 1].map(end => spans.map((span, axis) => (span[end] + this.placeOf(kind, axis) + end - 0.5) * this.step[axis]));
  }

  cube(kind, voxel) {
    return this.boxOf(kind, voxel.map(index => [index, index]));
  }

  // Drawing -----------------------------------------------------------------------------------------------------------

  later() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const {viewer, gl} = this;
    if (!gl || gl.isContextLost() || !this.box.isConnected) return;
    const [width, height] = [this.frameBox.clientWidth, this.frameBox.clientHeight];
    if (!viewer?.layer || !viewer.indices || !width) return;
    const began = performance.now();
    const {axes, input} = viewer.layer;
    this.step = viewer.spaced && input.spacing ? input.spacing : [1, 1, 1];
    this.focus = viewer.focus;
    this.at = viewer.centres(this.focus);
    this.stage = setStage(axes, this.focus, this.at, this.step, this.kept.closeUp);
    this.planes = {input: this.cuts("input"), output: this.cuts("output")};
    this.fit(width, height);
    this.paint();
    this.say();
    this.took.push(performance.now() - began);
    if (this.took.length > 1000) this.took.shift();
  }

  /** The planes that the viewer shows, as far as they lie in what is shown here. */
  cuts(kind) {
    const {viewer, stage} = this;
    return viewer.cells[kind].flatMap(cell => {
      const {across, plane} = cell;
      const index = viewer.indices[kind][across];
      const region = kind === "input" ? stage.region : stage.grid;
      const picture = viewer.bases.get(cell);
      if (!plane || !picture || index < region[across][0] || index > region[across][1]) return [];
      const [row, column] = others(across);
      const spans = region.map(span => [...span]);
      spans[across] = [index, index];
      // Of a large volume only a box is here.
      const here = {[row]: [plane.firstRow, plane.rows], [column]: [plane.firstColumn, plane.columns]};
      for (const [axis, [first, count]] of Object.entries(here)) {
        spans[axis] = [Math.max(spans[axis][0], first), Math.min(spans[axis][1], first + count - 1)];
        if (spans[axis][0] > spans[axis][1]) return [];
      }
      return [{across, index, spans, row, column, plane, picture, upwards: cell.view.up}];
    });
  }

  fit(width, height) {
    const {stage} = this;
    const boxes = [[stage.region, "input"], [stage.window, "input"], [stage.grid, "output"]];
    if (!this.kept.closeUp) boxes.push([stage.all, "input"]);
    const box = ([spans, kind]) => { const [low, high] = this.boxOf(kind, spans); return {low, high}; };
    this.view = lookAt(this.camera, boxes.map(box), [width, height], MARGINS);
    this.ratio = Math.min(window.devicePixelRatio || 1, 2);
    const size = [width, height].map(length => Math.round(length * this.ratio));
    if (this.canvas.width !== size[0] || this.canvas.height !== size[1]) [this.canvas.width, this.canvas.height] = size;
  }

  paint() {
    const {gl, view} = this;
    const camera = clipMatrix(view);
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.depthMask(true);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    this.paintPlanes(camera);
    const faces = this.faces();
    const lines = this.lines();
    this.fill(this.faceProgram, faces);
    this.fill(this.lineProgram, lines);
    // What lies behind a plane shines through it.
    for (const [order, write, opacity] of [[gl.GREATER, false, 0.4], [gl.LEQUAL, true, 1]]) {
      gl.depthFunc(order);
      gl.depthMask(write);
      for (const program of [this.faceProgram, this.lineProgram]) {
        gl.useProgram(program.program);
        gl.uniformMatrix4fv(program.at.camera, false, camera);
        gl.uniform1f(program.at.opacity, opacity);
        if (program === this.faceProgram) {
          gl.uniform3fv(program.at.eye, view.eye);
          gl.uniform1f(program.at.ratio, this.ratio);
        } else {
          gl.uniform2f(program.at.viewport, view.width, view.height);
        }
        gl.bindVertexArray(program.array);
        gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, program.count);
      }
    }
    gl.bindVertexArray(null);
  }

  paintPlanes(camera) {
    const {gl, planeProgram: {program, at, array}} = this;
    gl.useProgram(program);
    gl.bindVertexArray(array);
    gl.depthFunc(gl.LEQUAL);
    gl.uniformMatrix4fv(at.camera, false, camera);
    for (const kind of KINDS) for (const {across, spans, row, column, plane, picture, upwards} of this.planes[kind]) {
      this.bind(`${kind} ${across}`, picture);
      const [low, high] = this.boxOf(kind, spans);
      const length = axis => high[axis] - low[axis];
      low[across] += this.step[across] / 2; // the cut goes through the middle of its voxels
      const [down, right] = [[0, 0, 0], [0, 0, 0]];
      [down[row], right[column]] = [length(row), length(column)];
      gl.uniform3fv(at.origin, low);
      gl.uniform3fv(at.down, down);
      gl.uniform3fv(at.right, right);
      const [left, wide] = [(spans[column][0] - plane.firstColumn) / plane.columns, (spans[column][1] - spans[column][0] + 1) / plane.columns];
      const [top, tall] = [(spans[row][0] - plane.firstRow) / plane.rows, (spans[row][1] - spans[row][0] + 1) / plane.rows];
      // The viewer's pictures of what runs upwards begin with the last row.
      gl.uniform4f(at.part, left, upwards ? 1 - top : top, wide, upwards ? -tall : tall);
      gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    }
  }

  /** The viewer's picture of a plane as the texture; sent again only where it has changed. */
  bind(name, {signature, picture}) {
    const {gl} = this;
    let held = this.textures.get(name);
    if (!held) this.textures.set(name, held = {texture: gl.createTexture(), signature: ""});
    gl.bindTexture(gl.TEXTURE_2D, held.texture);
    if (held.signature === signature) return;
    held.signature = signature;
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, this.atMost(picture));
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, gl.NEAREST);
    for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
  }

  /** A picture that the graphics system takes: of a longer one every nth voxel. */
  atMost(picture) {
    if (picture.width <= this.longest && picture.height <= this.longest) return picture;
    const smaller = document.createElement("canvas");
    [smaller.width, smaller.height] = [picture.width, picture.height].map(length => Math.min(length, this.longest));
    const context = smaller.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, 0, 0, smaller.width, smaller.height);
    return smaller;
  }

  faces() {
    const {stage, step, view} = this;
    const {depthColours} = this.viewer.layer;
    const values = [];
    const reach = step.map(length => length / 2);
    const face = (centre, half, number, colour, hollow) => values.push(...centre, ...half, number, ...colour, hollow);
    const solid = stage.taps.filter(({padding}) => !padding);
    const colours = depthColours.map(rgba);
    for (const [number, side] of visibleFaces(solid.map(({voxel}) => voxel))) {
      const {voxel, tap} = solid[number];
      face(this.point("input", voxel), reach, side, colours[tap[0]], 0);
    }
    // A little smaller, so that neighbours in the padding stay apart.
    const inset = reach.map(half => half * 0.84);
    for (const {voxel, tap, padding} of stage.taps) {
      if (padding) for (let side = 0; side < 6; side++) face(this.point("input", voxel), inset, side, colours[tap[0]], 1);
    }
    const least = reach.map(half => Math.max(half, LEAST_PX / 2 / view.scale));
    const lit = (kind, voxel) => {
      for (let side = 0; side < 6; side++) face(this.point(kind, voxel), least, side, ACCENT_COLOUR, 0);
    };
    if (this.focus.kind === "input") {
      lit("input", this.at.input);
      const {readers} = stage;
      if (readers.length === 1) lit("output", readers[0]);
      else for (const [number, side] of visibleFaces(readers)) face(this.point("output", readers[number]), reach, side, ACCENT_COLOUR, 0);
    } else {
      lit("output", this.at.output);
    }
    return values;
  }

  lines() {
    const {stage, kept} = this;
    const values = [];
    const line = (begin, end, colour, width, opacity = 1) => values.push(...begin, ...end, ...colour.slice(0, 3), opacity, width);
    const box = ([low, high], colour, width, opacity) => {
      for (const [begin, end] of boxEdges(low, high)) line(begin, end, colour, width, opacity);
    };
    if (!kept.closeUp) box(this.boxOf("input", stage.all), LINE_COLOUR, 1, 0.4);
    box(this.boxOf("input", stage.region), LINE_COLOUR, 1.5);
    box(this.boxOf("output", stage.grid), LINE_COLOUR, 1.5);
    for (const kind of KINDS) for (const {across, spans} of this.planes[kind]) {
      const [low, high] = this.boxOf(kind, spans);
      low[across] = high[across] = (low[across] + high[across]) / 2;
      box([low, high], LINE_COLOUR, 1, 0.7);
    }
    box(this.boxOf("input", stage.window), ACCENT_COLOUR, 2);
    const target = this.litBox();
    if (target) {
      const [from, to] = [this.boxOf("input", stage.window), target];
      const facing = ([low, high], near) => boxCorners(low, high).filter(corner => corner[2] === near);
      const [begins, ends] = [facing(from, from[1][2]), facing(to, to[0][2])];
      begins.forEach((begin, i) => line(begin, ends[i], ACCENT_COLOUR, 1.25, 0.75));
      if (this.focus.kind === "input") box(target, ACCENT_COLOUR, 2);
    }
    return values;
  }

  /** The box of the outputs that are lit; null where none is. */
  litBox() {
    if (this.focus.kind !== "input") return this.cube("output", this.at.output);
    const {readers} = this.stage;
    if (!readers.length) return null;
    return this.boxOf("output", [0, 1, 2].map(axis => [readers[0][axis], readers[readers.length - 1][axis]]));
  }

  // Words -------------------------------------------------------------------------------------------------------------

  say() {
    const {viewer, stage, kept} = this;
    const sentence = viewer.sentence(this.focus);
    set(this.canvas, "aria-label", `Receptive field in 3D. ${sentence} ${HELP}`);
    this.note.textContent = stage.note;
    this.note.hidden = !stage.note;
    for (const [button, on] of [[this.closeButton, kept.closeUp], [this.wholeButton, !kept.closeUp]]) set(button, "aria-pressed", on);
    this.label();
    this.explain();
  }

  /** Names at the boxes and letters at the axes, where there is room. */
  label() {
    const {stage, kept} = this;
    const {axes} = this.viewer.layer;
    const sizes = axes.map(axis => axis.outputs).join(" × ");
    const titles = [["Input", stage.region, "input"], [kept.closeUp ? "Output" : `Output\n${sizes}`, stage.grid, "output"]];
    const placed = titles.map(([text, spans, kind]) => {
      const corners = boxCorners(...this.boxOf(kind, spans)).map(corner => toScreen(this.view, corner));
      const [xs, ys] = [corners.map(([x]) => x), corners.map(([, y]) => y)];
      const lines = text.split("\n").length;
      return {text, x: (Math.min(...xs) + Math.max(...xs)) / 2, y: Math.min(...ys) - 3 - 9 * lines, bold: true};
    });
    const middle = this.where("input", stage.region.map(([first, last]) => (first + last) / 2));
    stage.region.forEach(([first, last], axis) => {
      const text = `${LETTERS[axis]} ${kept.closeUp ? `${first}–${last}` : axes[axis].size}`;
      const edges = boxEdges(...this.boxOf("input", stage.region)).filter(([begin, end]) => begin[axis] !== end[axis]);
      const middles = edges.map(([begin, end]) => toScreen(this.view, begin.map((value, i) => (value + end[i]) / 2)));
      // D at the left; H and W below. An axis that points at the eye has no length to be written at.
      const best = middles.reduce((a, b) => (axis === 0 ? b[0] < a[0] : b[1] > a[1]) ? b : a);
      const from = [best[0] - middle[0], best[1] - middle[1]];
      const away = Math.hypot(...from) || 1;
      placed.push({text, x: best[0] + from[0] / away * (axis === 0 ? 26 : 20), y: best[1] + from[1] / away * 13, bold: false});
    });
    placed.forEach(({text, x, y, bold}, i) => {
      const label = this.labels[i];
      label.textContent = text;
      label.style.fontWeight = bold ? 600 : 400;
      const half = Math.max(...text.split("\n").map(line => line.length)) * (bold ? 3.9 : 3.6) + 3;
      const left = clamp(x, half, this.view.width - half);
      label.style.transform = `translate(${left}px, ${clamp(y, 9, this.view.height - 9)}px) translate(-50%, -50%)`;
    });
  }

  /** What the colours mean; anew only with another kernel. */
  explain() {
    const {depthColours} = this.viewer.layer;
    const signature = depthColours.join();
    if (this.explained === signature) return;
    this.explained = signature;
    const last = depthColours.length - 1;
    const shown = last < LEGEND_ENTRIES ? depthColours.map((_, depth) => depth) : [0, last >> 1, last];
    this.legend.replaceChildren("Tap of kernel plane D", ...shown.map(depth => {
      const entry = document.createElement("span");
      const swatch = document.createElement("i");
      swatch.style.background = depthColours[depth];
      entry.append(swatch, String(depth));
      return entry;
    }), "hollow: in the padding");
  }

  /** What is on screen, for whoever looks from outside. */
  state() {
    const {taps, readers, window, region, grid, note} = this.stage;
    return {
      focus: this.focus, taps, readers, window, region, grid, note, camera: this.camera, closeUp: this.kept.closeUp,
      took: this.took, label: this.canvas.getAttribute("aria-label"), size: [this.view.width, this.view.height],
      planes: KINDS.map(kind => this.planes[kind].map(({index}) => index)), faces: this.faceProgram.count,
    };
  }

  // The page ----------------------------------------------------------------------------------------------------------

  build() {
    this.box = document.createElement("div");
    this.box.className = "scene";
    this.box.innerHTML = `
      <div class="head">
        <b>Receptive field</b>
        <span role="group" aria-label="How much of the input is shown">
          <button type="button" class="close">Close-up</button><button type="button" class="whole">Whole volume</button>
        </span>
      </div>
      <div class="picture">
        <canvas tabindex="0" role="application" aria-roledescription="3D scene"></canvas>
        <div class="labels" aria-hidden="true">${"<span></span>".repeat(5)}</div>
      </div>
      <p class="failure" hidden></p>
      <p class="note" hidden></p>
      <p class="legend"></p>
      <p class="help">${HELP}</p>`;
    const find = name => this.box.querySelector(name);
    [this.canvas, this.frameBox, this.labelBox] = [find("canvas"), find(".picture"), find(".labels")];
    [this.failure, this.note, this.legend] = [find(".failure"), find(".note"), find(".legend")];
    [this.closeButton, this.wholeButton] = [find(".close"), find(".whole")];
    this.labels = [...this.labelBox.children];
    this.closeButton.onclick = () => this.show(true);
    this.wholeButton.onclick = () => this.show(false);
    this.bindHand();
    this.root.append(this.box);
    if (this.root.host) this.root.host.scene = this;
  }

  bindHand() {
    const {canvas} = this;
    let pressed = null;
    canvas.onpointerdown = event => {
      canvas.focus({preventScroll: true});
      pressed = {x: event.clientX, y: event.clientY, dragged: false};
      canvas.setPointerCapture(event.pointerId);
    };
    canvas.onpointermove = event => {
      if (!pressed || !(event.buttons & 1)) return;
      pressed.dragged ||= Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > 4;
      if (!pressed.dragged) return;
      if (event.shiftKey) this.pan(event.movementX, event.movementY);
      else this.turn(-event.movementX / 140, event.movementY / 140);
    };
    canvas.onpointerup = event => {
      if (pressed && !pressed.dragged && this.viewer?.layer) this.click(event.offsetX, event.offsetY);
      pressed = null;
    };
    canvas.onpointercancel = () => { pressed = null; };
    canvas.addEventListener("wheel", event => {
      // Only once it has been clicked: a page must scroll past a picture.
      if (!event.ctrlKey && !event.metaKey && this.root.activeElement !== canvas) return;
      event.preventDefault();
      this.zoomAt(Math.exp(-event.deltaY / 300), [event.offsetX, event.offsetY]);
    }, {passive: false});
    canvas.onkeydown = event => {
      const turns = {ArrowLeft: [TURN, 0], ArrowRight: [-TURN, 0], ArrowUp: [0, TURN], ArrowDown: [0, -TURN]};
      const turn = turns[event.key];
      if (turn && event.shiftKey) this.pan(turn[0] * 300, turn[1] * 300);
      else if (turn) this.turn(...turn);
      else if (event.key === "+" || event.key === "=") this.zoomAt(1.25);
      else if (event.key === "-") this.zoomAt(0.8);
      else if (event.key === "0") this.reset();
      else if (event.key === "Escape") this.viewer?.release();
      else return;
      event.preventDefault();
    };
    canvas.addEventListener("webglcontextlost", event => {
      if (!this.gl) return; // gone for good
      event.preventDefault(); // else it would not come back
      this.fail(LOST);
    });
    canvas.addEventListener("webglcontextrestored", () => this.start());
  }

  fail(words) {
    this.failure.textContent = words;
    this.failure.hidden = !words;
    this.labelBox.hidden = Boolean(words);
  }

  /** Everything that the graphics system holds; again after it has lost it. */
  start() {
    const gl = this.gl ??= this.canvas.getContext("webgl2", {antialias: true});
    this.fail(gl ? "" : SHORT_OF_IT);
    this.box.classList.toggle("none", !gl);
    if (!gl) return;
    this.textures = new Map();
    this.longest = gl.getParameter(gl.MAX_TEXTURE_SIZE);
    this.planeProgram = this.program(PLANE_VERTEX, PLANE_FRAGMENT, [], ["camera", "origin", "down", "right", "part"]);
    this.faceProgram = this.program(FACE_VERTEX, FACE_FRAGMENT, FACE_FIELDS, ["camera", "eye", "opacity", "ratio"]);
    this.lineProgram = this.program(LINE_VERTEX, LINE_FRAGMENT, LINE_FIELDS, ["camera", "viewport", "opacity"]);
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.blendFuncSeparate(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA, gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    this.later();
  }

  /** A program that draws a square for each instance, whose numbers lie one after the other in `fields`. */
  program(vertex, fragment, fields, uniforms) {
    const {gl} = this;
    const program = gl.createProgram();
    for (const [type, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
      throw new Error(`3D scene: ${gl.getProgramInfoLog(program)}`);
    }
    const [array, corners, buffer] = [gl.createVertexArray(), gl.createBuffer(), gl.createBuffer()];
    gl.bindVertexArray(array);
    gl.bindBuffer(gl.ARRAY_BUFFER, corners);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([0, 0, 1, 0, 0, 1, 1, 1]), gl.STATIC_DRAW);
    attribute(gl, program, "corner", 2, 0, 0, 0);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    const length = fields.reduce((all, [, count]) => all + count, 0);
    fields.reduce((offset, [name, count]) => {
      attribute(gl, program, name, count, length, offset, 1);
      return offset + count;
    }, 0);
    gl.bindVertexArray(null);
    return {program, array, buffer, length, count: 0, at: Object.fromEntries(uniforms.map(name => [name, gl.getUniformLocation(program, name)]))};
  }

  fill(program, values) {
    const {gl} = this;
    program.count = values.length / program.length;
    gl.bindBuffer(gl.ARRAY_BUFFER, program.buffer);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(values), gl.DYNAMIC_DRAW);
  }
}

function attribute(gl, program, name, count, length, offset, divisor) {
  const place = gl.getAttribLocation(program, name);
  gl.enableVertexAttribArray(place);
  gl.vertexAttribPointer(place, count, gl.FLOAT, false, 4 * length, 4 * offset);
  gl.vertexAttribDivisor(place, divisor);
}

/** A colour "#rrggbb" as the graphics system has it. */
function rgba(hex) {
  return [...[1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16) / 255), 1];
}

function set(element, name, value) {
  if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}
