// What the other elements call: they only carry data.

import {Store, Volume, unpack} from "./volume.js";
import {Viewer} from "./viewer.js";
import {Scene} from "./scene.js";

const MOST_VOLUMES = 6;

const store = new Store(MOST_VOLUMES);
const viewers = new Map();
const scenes = new Map();
const camera = {}; // of the scene, which may be made anew

function show({parentElement, data, setTriggerValue}) {
  if (!data?.byteLength) return;
  let viewer = viewers.get(parentElement);
  if (!viewer) {
    viewers.set(parentElement, viewer = new Viewer(parentElement, store));
    followNewest();
  }
  const {header, arrays} = unpack(data);
  viewer.update(header, arrays, output => setTriggerValue("pin", output));
}

function showScene({parentElement}) {
  if (scenes.has(parentElement)) return;
  scenes.set(parentElement, new Scene(parentElement, camera));
  followNewest();
}

/** A page that is drawn anew may say so after it has shown the element again: only what has left the page goes. */
function hide() {
  setTimeout(() => {
    for (const elements of [viewers, scenes]) for (const [parentElement, element] of elements) {
      if ((parentElement.host ?? parentElement).isConnected) continue;
      element.remove();
      elements.delete(parentElement);
    }
    followNewest();
  });
}

/** A page has one viewer; while it is made anew there may be two. */
function followNewest() {
  const newest = [...viewers.values()].at(-1) ?? null;
  for (const scene of scenes.values()) if (scene.viewer !== newest) scene.follow(newest);
}

function keep(data) {
  const {header, arrays} = unpack(data);
  const {shape, data: values} = arrays.volume;
  store.put(header.key, new Volume(values, shape, header.origin, header.full));
}

(globalThis.conv3d ??= Promise.withResolvers()).resolve({show, showScene, hide, keep});

export default function () {}
