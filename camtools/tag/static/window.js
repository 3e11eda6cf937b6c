// Sliders of brightness and contrast, beside the keys and the right mouse button.

const element = (id) => document.getElementById(id);

export function showWindow({ volume, limits }) {
  const own = volume.window[1] - volume.window[0];
  const middle = (limits[0] + limits[1]) / 2;
  element("level").value = 500 - ((middle - (volume.window[0] + volume.window[1]) / 2) / own) * 500;
  element("width").value = 500 - Math.log2((limits[1] - limits[0]) / own) * 150;
  const digits = own < 20 ? 2 : 0;
  element("window-text").textContent = `window ${limits[0].toFixed(digits)} to ${limits[1].toFixed(digits)}`;
}

function set(viewer) {
  const { volume } = viewer;
  if (!volume) return;
  const own = volume.window[1] - volume.window[0];
  const middle = (volume.window[0] + volume.window[1]) / 2 + ((500 - element("level").value) / 500) * own;
  const half = (own / 2) * 2 ** ((500 - element("width").value) / 150);
  viewer.setWindow([middle - half, middle + half]);
}

export function listenToWindow(viewer) {
  for (const id of ["level", "width"]) element(id).addEventListener("input", () => set(viewer));
}
