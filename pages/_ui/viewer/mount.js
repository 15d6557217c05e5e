// Gives the viewer what the server sent, once its code is there: that comes in a message of its own, and only once.
export default function (component) {
  const viewer = (globalThis.conv3d ??= Promise.withResolvers());
  viewer.promise.then(code => code.show(component));
  return () => viewer.promise.then(code => code.hide());
}
