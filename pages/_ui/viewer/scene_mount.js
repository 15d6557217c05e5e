// Makes room for the 3D scene, once the code is there. It is sent nothing: it draws what the viewer looks at.
export default function (component) {
  const viewer = (globalThis.conv3d ??= Promise.withResolvers());
  viewer.promise.then(code => code.showScene(component));
  return () => viewer.promise.then(code => code.hide());
}
