// Tags of patches: a grid over the picture, painted by mouse, finger or keys.

import { screenAt, voxelAt } from "./draw.js";

export const CLASSES = ["#4aa3ff", "#ff5d5d", "#ffd23f", "#7be07b", "#c58cff", "#ff9f43", "#4dd0c8", "#f48fb1", "#b0bec5", "#a1887f"];

export class Patches {
  constructor(app, labels, box) {
    this.app = app;
    this.labels = labels;
    this.brush = [0];
    this.cursor = 0;
    this.painted = null;
    this.box = box;
    this.showBrush();
  }

  all() {
    return this.labels.map((_, number) => number);
  }

  open(volume) {
    this.volume = volume;
    this.corners = volume.grid.corners;
    this.size = volume.grid.size;
    const sides = [0, 1].map((side) => [...new Set(this.corners.map((corner) => corner[side]))].sort((a, b) => a - b));
    [this.lefts, this.tops] = sides;
    this.cursor = 0;
  }

  // Where the cell of a patch begins and ends along a side: half-way to the centres of its neighbours.
  cell(starts, index, length) {
    const middle = (place) => starts[place] + Math.min(this.size, length) / 2;
    const from = index === 0 ? 0 : (middle(index - 1) + middle(index)) / 2;
    const to = index === starts.length - 1 ? length : (middle(index) + middle(index + 1)) / 2;
    return [from, to];
  }

  numberOf(column, row) {
    return column * this.tops.length + row; // corners run along x, then y
  }

  plane() {
    return this.volume.planes[0];
  }

  classes(number) {
    return this.volume.patches[`${this.app.viewer.at[0]}:${number}`];
  }

  draw(context, place) {
    if (!this.volume) return;
    const plane = this.plane();
    const [rows, columns] = plane.size;
    const x = (value) => screenAt(plane, place, 1, value - 0.5);
    const y = (value) => screenAt(plane, place, 0, value - 0.5);
    this.lefts.forEach((_, column) => {
      this.tops.forEach((__, row) => {
        const [left, right] = this.cell(this.lefts, column, columns).map(x);
        const [top, bottom] = this.cell(this.tops, row, rows).map(y);
        const box = [Math.min(left, right), Math.min(top, bottom), Math.abs(right - left), Math.abs(bottom - top)];
        this.drawCell(context, box, this.classes(this.numberOf(column, row)), place.ratio);
      });
    });
    const [left, top] = this.corners[this.cursor];
    const ends = [x(left), y(top), x(Math.min(left + this.size, columns)), y(Math.min(top + this.size, rows))];
    context.strokeStyle = "#fff";
    context.lineWidth = 2.5 * place.ratio;
    context.strokeRect(ends[0], ends[1], ends[2] - ends[0], ends[3] - ends[1]);
  }

  drawCell(context, [left, top, width, height], classes, ratio) {
    context.strokeStyle = "#ffffff55";
    context.lineWidth = ratio;
    context.strokeRect(left, top, width, height);
    if (!classes) return;
    context.globalAlpha = 0.32;
    const part = width / classes.length;
    classes.forEach((number, index) => {
      context.fillStyle = CLASSES[number];
      context.fillRect(left + index * part, top, part, height);
    });
    context.globalAlpha = 1;
  }

  step(right, down) {
    const flips = this.plane().flips;
    const count = this.tops.length;
    const column = Math.floor(this.cursor / count) + (flips[1] ? -right : right);
    const row = (this.cursor % count) + (flips[0] ? -down : down);
    if (column < 0 || row < 0 || column >= this.lefts.length || row >= count) return;
    this.cursor = this.numberOf(column, row);
    this.app.viewer.draw();
  }

  // The next patch without a class, in reading order; the next one where all have one.
  advance() {
    const flips = this.plane().flips;
    const [wide, high] = [this.lefts.length, this.tops.length];
    const inOrder = [];
    for (let row = 0; row < high; row += 1) {
      for (let column = 0; column < wide; column += 1) {
        inOrder.push(this.numberOf(flips[1] ? wide - 1 - column : column, flips[0] ? high - 1 - row : row));
      }
    }
    const from = inOrder.indexOf(this.cursor);
    const order = [...inOrder.slice(from + 1), ...inOrder.slice(0, from)];
    this.cursor = order.find((number) => !this.classes(number)) ?? order[0] ?? this.cursor;
    this.app.viewer.draw();
  }

  send(numbers, classes) {
    const index = this.app.viewer.at[0];
    const change = Object.fromEntries(numbers.map((number) => [`${index}:${number}`, classes]));
    return this.app.send({ patches: change, status: "open" });
  }

  async set(classes) {
    if (classes.some((number) => number >= this.labels.length)) return;
    this.setBrush(classes);
    if (await this.send([this.cursor], classes)) this.advance();
  }

  toggle(number) {
    if (number >= this.labels.length) return undefined;
    const before = this.classes(this.cursor) || [];
    const after = before.includes(number) ? before.filter((other) => other !== number) : [...before, number].sort();
    return this.send([this.cursor], after.length ? after : null);
  }

  fill() {
    const missing = this.corners.map((_, number) => number).filter((number) => !this.classes(number));
    return missing.length ? this.send(missing, this.brush) : undefined;
  }

  clear() {
    return this.send([this.cursor], null);
  }

  setBrush(classes) {
    this.brush = classes;
    this.showBrush();
  }

  showBrush() {
    const choices = [...this.labels.map((_, number) => [number]), this.all()];
    this.box.replaceChildren(...choices.map((classes) => {
      const button = document.createElement("button");
      const names = classes.length === 1 ? this.labels[classes[0]] : classes.length === 2 ? "both" : "all";
      for (const number of classes) {
        const swatch = document.createElement("i");
        swatch.className = "swatch";
        swatch.style.background = CLASSES[number];
        button.append(swatch);
      }
      const key = document.createElement("kbd");
      key.textContent = classes.length === 1 ? classes[0] : "m";
      button.append(names, key);
      button.setAttribute("aria-pressed", String(String(classes) === String(this.brush)));
      button.addEventListener("click", () => { this.setBrush(classes); this.app.focusPicture(); });
      return button;
    }));
  }

  patchUnder(event) {
    const found = voxelAt(event.currentTarget, this.plane(), this.app.viewer.view, event);
    if (!found) return null;
    const [rows, columns] = this.plane().size;
    const index = (starts, value, length) => starts.findIndex((_, place) => value < this.cell(starts, place, length)[1]);
    return this.numberOf(index(this.lefts, found[1], columns), index(this.tops, found[0], rows));
  }

  pressed(event) {
    if (event.button !== 0 || this.app.viewer.fingers.size) return false;
    const number = this.patchUnder(event);
    if (number === null) return false;
    event.currentTarget.setPointerCapture(event.pointerId);
    this.painted = new Set();
    this.touch(number);
    return true;
  }

  dragged(event) {
    if (!this.painted) return false;
    const number = this.patchUnder(event);
    if (number !== null) this.touch(number);
    return true;
  }

  released() {
    if (!this.painted) return false;
    const numbers = [...this.painted];
    this.painted = null;
    this.app.later(() => this.send(numbers, this.brush));
    return true;
  }

  touch(number) {
    this.painted.add(number);
    this.cursor = number;
    this.volume.patches[`${this.app.viewer.at[0]}:${number}`] = this.brush;
    this.app.viewer.draw();
  }
}
