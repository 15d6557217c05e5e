// Keeps a volume in the page, where the viewer finds it by its key.
export default function (component) {
  const viewer = (globalThis.conv3d ??= Promise.withResolvers());
  const {data} = component;
  if (data?.byteLength) viewer.promise.then(code => code.keep(data));
}
