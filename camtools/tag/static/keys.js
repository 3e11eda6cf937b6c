// Keys and buttons: one table for each mode, from which the help sheet is made, too.

const MOVING = [
  ["ArrowRight ArrowDown", "Next slice", (app) => app.step(1)],
  ["ArrowLeft ArrowUp", "Slice before", (app) => app.step(-1)],
  ["PageDown", "Ten per cent further", (app) => app.step(app.tenth())],
  ["PageUp", "Ten per cent back", (app) => app.step(-app.tenth())],
  ["Home", "First slice of the volume", (app) => app.viewer.move(0, 0)],
  ["End", "Last slice of the volume", (app) => app.viewer.move(0, Infinity)],
];
const PATCH_MOVING = [
  ["ArrowRight", "Patch to the right", (app) => app.patches.step(1, 0)],
  ["ArrowLeft", "Patch to the left", (app) => app.patches.step(-1, 0)],
  ["ArrowDown", "Patch below", (app) => app.patches.step(0, 1)],
  ["ArrowUp", "Patch above", (app) => app.patches.step(0, -1)],
  ["PageDown", "Next slice", (app) => app.step(1)],
  ["PageUp", "Slice before", (app) => app.step(-1)],
];
const TAGGING = [
  ["f", "First slice of the object", (app) => app.tag("markFirst"), "First"],
  ["l", "Last slice of the object", (app) => app.tag("markLast"), "Last"],
  ["x Space", "This slice alone, on or off", (app) => app.tag("toggle"), "This slice"],
  ["Backspace Delete", "Remove the range on this slice", (app) => app.tag("removeHere"), "Remove"],
  ["0", "Nowhere: no slice shows the object", (app) => app.tag("nowhere"), "Nowhere"],
  ["1", "Everywhere: all slices show it", (app) => app.tag("everywhere"), "Everywhere"],
];
const PATCH_TAGGING = [
  ["0 1 2 3 4 5 6 7 8 9", "This class for the patch, and move to the next", (app, key) => app.patches.set([Number(key)])],
  ["m", "All classes for the patch, and move to the next", (app) => app.patches.set(app.patches.all())],
  ["Space", "The classes last used for the patch, and move to the next", (app) => app.patches.set(app.patches.brush)],
  ["f", "The classes last used for all patches of the slice without one", (app) => app.patches.fill(), "Fill the rest"],
  ["Backspace Delete", "Take the classes of the patch away", (app) => app.patches.clear(), "Remove"],
];
const DECIDING = [
  ["u", "Unsure: leave this volume out", (app) => app.tag("unsure"), "Unsure"],
  ["z", "Undo the last action", (app) => app.undo(), "Undo"],
  ["Enter", "Confirm, and the next volume to do", (app) => app.confirm(), "Confirm, next"],
  ["n", "Next volume, without confirming", (app) => app.neighbour(1)],
  ["p", "Volume before", (app) => app.neighbour(-1)],
];
const LOOKING = [
  ["b", "Brighter", (app) => app.viewer.shiftWindow(-0.05, 0)],
  ["d", "Darker", (app) => app.viewer.shiftWindow(0.05, 0)],
  ["c", "More contrast", (app) => app.viewer.shiftWindow(0, -0.1)],
  ["k", "Less contrast", (app) => app.viewer.shiftWindow(0, 0.1)],
  ["+ =", "Zoom in", (app) => app.viewer.zoom(1.25)],
  ["-", "Zoom out", (app) => app.viewer.zoom(0.8)],
  ["r", "Window and zoom as at first", (app) => app.viewer.reset()],
  ["v", "Other planes on or off", (app) => app.togglePlanes()],
  ["i j", "Through the second plane", (app, key) => app.viewer.move(1, app.viewer.at[1] + (key === "i" ? 1 : -1))],
  ["s a", "Through the third plane", (app, key) => app.viewer.move(2, app.viewer.at[2] + (key === "s" ? 1 : -1))],
];
const PAGE = [
  ["g", "List of volumes", (app) => app.showList()],
  ["e", "Splits of dataset.json", (app) => app.dataset.show()],
  ["? h", "This sheet", (app) => app.help.showModal()],
];
const MOUSE = [
  ["Wheel, drag up or down", "Through the slices"],
  ["Drag with the right button", "Window and level"],
  ["Ctrl + wheel, pinch", "Zoom; drag moves the picture then"],
  ["Click into a picture", "The other planes go there"],
];
const STRIP = [
  ["Click a thumbnail", "Show the slice"],
  ["Drag over the strip", "Tag a range; with Shift, erase it"],
  ["Click the bar below", "This slice alone, on or off"],
];
const GRID = [["Click or drag over patches", "The classes of the brush below the picture"]];
const NAMES = { ArrowRight: "→", ArrowLeft: "←", ArrowUp: "↑", ArrowDown: "↓", PageDown: "PgDn", PageUp: "PgUp", Backspace: "⌫" };
const LATER = new Set(["Enter", "z", "f", "l", "x", "Space", "Backspace", "Delete", "0", "1", "u", "m"]);

export function groups(mode) {
  if (mode === "patches") {
    return [["Patches", PATCH_TAGGING], ["Move", PATCH_MOVING], ["Decide", DECIDING], ["Look", LOOKING.slice(0, 7)],
      ["Page", PAGE], ["Mouse and touch", [...GRID, ...MOUSE.slice(0, 3)]]];
  }
  return [["Tag", TAGGING], ["Decide", DECIDING], ["Move", MOVING], ["Look", LOOKING], ["Page", PAGE],
    ["Mouse and touch: strip", STRIP], ["Mouse and touch: picture", MOUSE]];
}

function typesText(target) {
  return target.matches("input:not([type=range]), select, textarea");
}

export function listen(app, mode) {
  const actions = new Map();
  for (const [, rows] of groups(mode)) {
    for (const [keys, , action] of rows) if (action) keys.split(" ").forEach((key) => actions.set(key, action));
  }
  document.addEventListener("keydown", (event) => {
    const name = event.key === " " ? "Space" : event.key;
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "Escape" && typesText(event.target)) app.focusPicture();
    if (typesText(event.target)) return;
    if (event.target.matches("button") && ["Enter", "Space"].includes(name)) return;
    if (event.target.matches("input[type=range]") && name.startsWith("Arrow")) return;
    const undoes = (event.ctrlKey || event.metaKey) && name === "z";
    if (!undoes && (event.ctrlKey || event.metaKey || event.altKey)) return;
    if (event.shiftKey && mode === "patches" && /^Digit\d$/.test(event.code)) {
      event.preventDefault();
      app.later(() => app.patches.toggle(Number(event.code.slice(5))), event.timeStamp);
      return;
    }
    const key = actions.has(name) ? name : name.toLowerCase();
    const action = actions.get(key);
    if (!action) return;
    event.preventDefault();
    if (event.repeat && LATER.has(key)) return;
    app.later(() => action(app, key), event.timeStamp);
  });
}

export function buttons(app, mode, box) {
  const rows = groups(mode).flatMap(([, group]) => group).filter((row) => row[3]);
  for (const [keys, title, action, text] of rows) {
    const button = document.createElement("button");
    const first = keys.split(" ")[0];
    button.textContent = text;
    button.title = title;
    if (text.startsWith("Confirm")) button.className = "main";
    const key = document.createElement("kbd");
    key.textContent = NAMES[first] || first;
    button.append(key);
    button.addEventListener("click", (event) => {
      app.later(() => action(app, first), event.timeStamp);
      app.focusPicture();
    });
    box.append(button);
  }
}

export function helpSheet(mode, box) {
  for (const [title, rows] of groups(mode)) {
    const section = document.createElement("section");
    const heading = document.createElement("h3");
    const list = document.createElement("dl");
    heading.textContent = title;
    for (const [keys, text, action] of rows) {
      const term = document.createElement("dt");
      const words = document.createElement("dd");
      if (action) {
        const names = keys.startsWith("0 1 2") ? ["0", "…", "9"] : keys.split(" ");
        for (const name of names) {
          const key = document.createElement("kbd");
          key.textContent = NAMES[name] || name;
          term.append(key);
        }
      } else term.textContent = keys;
      words.textContent = text;
      list.append(term, words);
    }
    section.append(heading, list);
    box.append(section);
  }
}
