// What the other elements call: they only carry data.

import {Store, Volume, unpack} from "./volume.js";
import {Viewer} from "./viewer.js";

const MOST_VOLUMES = 6;

const store = new Store(MOST_VOLUMES);
const viewers = new WeakMap();

function show({parentElement, data, setTriggerValue}) {
  if (!data?.byteLength) return;
  let viewer = viewers.get(parentElement);
  if (!viewer) viewers.set(parentElement, viewer = new Viewer(parentElement, store));
  const {header, arrays} = unpack(data);
  viewer.update(header, arrays, output => setTriggerValue("pin", output));
}

function hide(parentElement) {
  viewers.get(parentElement)?.remove();
  viewers.delete(parentElement);
}

function keep(data) {
  const {header, arrays} = unpack(data);
  const {shape, data: values} = arrays.volume;
  store.put(header.key, new Volume(values, shape, header.origin, header.full));
}

(globalThis.conv3d ??= Promise.withResolvers()).resolve({show, hide, keep});

export default function () {}
