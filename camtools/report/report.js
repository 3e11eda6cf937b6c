// The page's own script: scrolling through slices, and tables that sort. It fetches nothing.
"use strict";

const WHEEL_STEP = 30; // pixels of scrolling per slice: one notch of a mouse, a short stroke on a touchpad

const element = (id) => document.getElementById(id);

class Viewer {
  constructor() {
    this.canvas = element("picture");
    this.boxes = [...document.querySelectorAll("input[name=layer]")];
    this.decoded = new Map(); // picture of the case shown -> promise of it, decoded
    this.turn = 0;
    this.wheel = 0;
    element("case").addEventListener("change", (event) => this.choose(Number(event.target.value)));
    element("previous").addEventListener("click", () => this.choose(this.number - 1));
    element("next").addEventListener("click", () => this.choose(this.number + 1));
    element("slice").addEventListener("input", (event) => this.scroll(Number(event.target.value) - 1));
    element("opacity").addEventListener("input", () => this.draw());
    this.boxes.forEach((box) => box.addEventListener("change", () => this.draw()));
    this.canvas.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    this.canvas.addEventListener("keydown", (event) => this.onArrow(event));
    element("slices").addEventListener("keydown", (event) => this.onDigit(event));
    element("slices").hidden = false;
  }

  /** Show a case that the reader chose here, and let the address of the page say so. */
  choose(number) {
    const count = element("case").length;
    this.open((number + count) % count);
    history.replaceState(null, "", `#view-${this.number}`);
  }

  open(number) {
    this.number = number;
    this.view = JSON.parse(element(`view-${number}`).textContent);
    this.decoded.clear();
    const { view } = this;
    const single = view.indices.length === 1;
    [this.canvas.width, this.canvas.height] = view.size;
    this.canvas.classList.toggle("single", single);
    element("case").value = number;
    element("slice").max = view.indices.length;
    element("slice-row").hidden = single;
    element("slice-help").hidden = single;
    this.boxes.forEach((box) => { box.disabled = !(box.value in view.layers); });
    element("scores-of-case").textContent = [view.split, view.scores].filter(Boolean).join(": ");
    element("case-notes").textContent = this.notes().join(" ");
    element("case-notes").hidden = this.notes().length === 0;
    this.drawMarks();
    this.scroll(view.start);
  }

  /** Under the slider: the slices on which there is truth or prediction. */
  drawMarks() {
    const { indices, layers } = this.view;
    const marks = ["truth", "prediction"].flatMap((key) => (layers[key] || []).flatMap((source, position) => {
      if (!source) return [];
      const mark = document.createElement("i");
      mark.className = `layer-${key}`;
      mark.style.setProperty("--share", position / (indices.length - 1));
      return [mark];
    }));
    element("marks").replaceChildren(...marks);
  }

  notes() {
    const { indices, total, notes } = this.view;
    const missing = total - indices.length;
    return missing ? [`${missing} of ${total} slices are left out to keep the page small.`, ...notes] : notes;
  }

  scroll(position) {
    this.position = Math.min(Math.max(position, 0), this.view.indices.length - 1);
    element("slice").value = this.position + 1;
    element("slice").setAttribute("aria-valuetext", this.sliceText());
    element("slice-value").textContent = `${this.position + 1} / ${this.view.indices.length}`;
    element("state").textContent = this.sliceText();
    this.draw();
  }

  sliceText() {
    const { indices, total } = this.view;
    if (total === 1) return "One image";
    const shown = indices.length === total ? "" : " shown";
    return `Slice ${this.position + 1} of ${indices.length}${shown} (index ${indices[this.position]})`;
  }

  decode(source) {
    if (!this.decoded.has(source)) {
      const image = new Image();
      image.src = source;
      this.decoded.set(source, image.decode().then(() => image));
    }
    return this.decoded.get(source);
  }

  /** Draw the slice once its pictures are decoded, unless the reader has moved on by then. */
  async draw() {
    const turn = ++this.turn;
    const { view, position } = this;
    const layers = this.boxes.filter((box) => box.checked && !box.disabled);
    // truth below prediction: its outline is the wider one
    const order = ["map", "pseudo_label", "truth", "prediction"].filter((key) => layers.some((box) => box.value === key));
    const sources = order.map((key) => view.layers[key][position]).filter(Boolean);
    const opacity = Number(element("opacity").value);
    element("opacity-value").textContent = `${opacity} %`;
    const [image, ...overlays] = await Promise.all([view.images[position], ...sources].map((source) => this.decode(source)));
    if (turn !== this.turn) return;
    const context = this.canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    for (const picture of [image, ...overlays]) {
      context.globalAlpha = picture === image ? 1 : opacity / 100;
      context.drawImage(picture, 0, 0, this.canvas.width, this.canvas.height);
    }
    const names = layers.map((box) => box.parentElement.textContent.trim().toLowerCase());
    const overlaid = names.length ? `, overlays: ${names.join(", ")} at ${opacity} %` : ", no overlays";
    this.canvas.setAttribute("aria-label", `${view.case}, ${this.sliceText()}${overlaid}`);
  }

  onWheel(event) {
    if (this.view.indices.length === 1 || event.ctrlKey) return;
    event.preventDefault();
    this.wheel += event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? WHEEL_STEP : 1);
    if (Math.abs(this.wheel) < WHEEL_STEP) return;
    this.scroll(this.position + Math.sign(this.wheel));
    this.wheel = 0;
  }

  onArrow(event) {
    const { position } = this;
    const last = this.view.indices.length - 1;
    const steps = { ArrowUp: position + 1, ArrowRight: position + 1, ArrowDown: position - 1, ArrowLeft: position - 1 };
    const target = { ...steps, Home: 0, End: last }[event.key];
    if (target === undefined || last === 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.scroll(target);
  }

  onDigit(event) {
    const box = this.boxes[Number(event.key) - 1];
    if (event.target.matches("select") || event.altKey || event.ctrlKey || event.metaKey || !box || box.disabled) return;
    box.checked = !box.checked;
    this.draw();
  }

  /** Go to the case that the page's address names; the picture then takes arrow keys. */
  follow() {
    const number = Number((/^#view-(\d+)$/.exec(location.hash) || [])[1] ?? NaN);
    if (!(number < element("case").length)) return false;
    this.open(number);
    element("viewer").scrollIntoView();
    this.canvas.focus({ preventScroll: true });
    return true;
  }
}

function sortRows(table, column, descending) {
  const isNumber = table.tHead.rows[0].cells[column].classList.contains("number");
  const words = (row) => row.cells[column].textContent.trim();
  const compare = (a, b) => {
    if (!isNumber) return words(a).localeCompare(words(b), undefined, { numeric: true }) * (descending ? -1 : 1);
    const [first, second] = [a, b].map((row) => Number.parseFloat(words(row)));
    // what is not known comes last either way
    if (Number.isNaN(first) || Number.isNaN(second)) return Number.isNaN(first) - Number.isNaN(second);
    return (first - second) * (descending ? -1 : 1);
  };
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
}

function makeSortable(table) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sortRows(table, column, descending);
    });
  });
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
if (element("slices")) {
  const viewer = new Viewer();
  addEventListener("hashchange", () => viewer.follow());
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#view-"]');
    if (link && link.hash === location.hash) viewer.follow(); // the address does not change: nothing else would happen
  });
  if (!viewer.follow()) viewer.open(0);
}
