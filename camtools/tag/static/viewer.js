// The three planes of the open volume, and how a mouse, a finger or a pen moves through them.

import { COLOURS, colourTable, drawBands, drawCross, drawLetters, drawPlane, lookUp, paint, voxelAt } from "./draw.js";
import { Planes } from "./pixels.js";
import { current, isSuggested, rangeAt } from "./tags.js";

const STILL = { zoom: 1, pan: [0, 0] };

export class Viewer {
  constructor(elements, on) {
    this.elements = elements; // main, others: [canvas, canvas]
    this.on = on; // moved(at), changed(), drawn(context, place)
    this.volume = null;
    this.at = [0, 0, 0];
    this.view = { zoom: 1, pan: [0, 0] };
    this.fingers = new Map();
    this.pictures = [{}, {}, {}];
    new ResizeObserver(() => this.draw()).observe(elements.main);
    this.listen(elements.main);
    elements.others.forEach((canvas, index) => this.listenOther(canvas, index + 1));
  }

  open(volume, index) {
    this.volume = volume;
    this.planes = new Planes(volume);
    this.at = volume.planes.map((plane, axis) => (axis === 0 ? index : Math.floor(plane.count / 2)));
    this.reset();
  }

  reset() {
    this.view = { zoom: 1, pan: [0, 0] };
    this.setWindow(this.volume.window);
  }

  setWindow(limits) {
    this.limits = limits;
    this.table = this.volume.colour ? colourTable(limits) : lookUp(this.volume, limits);
    this.pictures = [{}, {}, {}];
    this.on.changed();
    this.draw();
  }

  // Brightness and contrast: middle and length of the window, as shares of the volume's own window.
  shiftWindow(level, width) {
    const own = this.volume.window[1] - this.volume.window[0];
    const middle = (this.limits[0] + this.limits[1]) / 2 + level * own;
    const half = Math.max(((this.limits[1] - this.limits[0]) / 2) * (1 + width), own / 200);
    this.setWindow([middle - half, middle + half]);
  }

  zoom(factor) {
    this.view.zoom = Math.min(20, Math.max(1, this.view.zoom * factor));
    if (this.view.zoom === 1) this.view.pan = [0, 0];
    this.draw();
  }

  move(axis, index) {
    const plane = this.volume.planes[axis];
    if (!plane) return;
    const next = Math.min(plane.count - 1, Math.max(0, index));
    if (next === this.at[axis]) return;
    if (axis === 0) this.planes.direction = Math.sign(next - this.at[0]);
    this.at[axis] = next;
    this.draw();
    this.on.moved(this.at);
  }

  draw() {
    if (!this.volume) return;
    this.volume.planes.forEach((plane, axis) => this.drawOne(plane, axis));
    if (this.pictures[0].index === this.at[0]) this.planes.ahead(0, this.at[0]); // never before the plane asked for
  }

  drawOne(plane, axis) {
    const canvas = axis === 0 ? this.elements.main : this.elements.others[axis - 1];
    if (!canvas.clientWidth) return;
    const index = this.at[axis];
    const kept = this.pictures[axis];
    if (kept.index !== index) {
      const volume = this.volume;
      const voxels = this.planes.get(axis, index, () => {
        if (this.volume !== volume || this.at[axis] !== index) return;
        this.drawOne(plane, axis);
        if (axis === 0) this.planes.ahead(0, index);
      });
      if (voxels) this.pictures[axis] = { index, picture: paint(voxels, plane.size, this.table, volume.colour) };
      else if (kept.picture) return; // the plane before stays until this one is here
    }
    const { context, place } = drawPlane(canvas, plane, this.pictures[axis].picture, axis === 0 ? this.view : STILL);
    if (axis === 0) this.drawFrame(context, canvas, place);
    else {
      const colour = isSuggested(this.volume) ? "#f0b42938" : "#35c26b38";
      drawBands(context, plane, place, current(this.volume), colour);
      if (this.volume.first !== null) drawBands(context, plane, place, [[this.volume.first, this.at[0]]], "#6db3f838");
      drawCross(context, plane, place, this.at);
    }
    drawLetters(context, canvas, plane, place.ratio);
    if (axis === 0) {
      canvas.dataset.slice = index;
      this.on.drawn(context, place);
    }
  }

  drawFrame(context, canvas, place) {
    const k = this.at[0];
    const volume = this.volume;
    const isTagged = Boolean(rangeAt(current(volume), k));
    const isOpen = volume.first !== null && Math.min(volume.first, k) <= k && k <= Math.max(volume.first, k);
    if (!isTagged && !isOpen) return;
    let colour = isSuggested(volume) ? COLOURS.suggest : COLOURS.tag;
    if (isOpen && !isTagged) colour = COLOURS.open;
    context.strokeStyle = colour;
    context.lineWidth = 4 * place.ratio;
    context.setLineDash(isSuggested(volume) ? [10 * place.ratio, 7 * place.ratio] : []);
    context.strokeRect(2 * place.ratio, 2 * place.ratio, canvas.width - 4 * place.ratio, canvas.height - 4 * place.ratio);
    context.setLineDash([]);
  }

  listen(canvas) {
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.down(canvas, event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (event) => this.up(canvas, event));
  }

  wheel(event) {
    event.preventDefault();
    if (!this.volume) return;
    if (event.ctrlKey) this.zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15);
    else this.move(0, this.at[0] + Math.sign(event.deltaY));
  }

  down(canvas, event) {
    if (!this.volume || this.on.pressed(event)) return;
    canvas.focus();
    canvas.setPointerCapture(event.pointerId);
    this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
    this.travel = 0;
  }

  drag(event) {
    if (this.on.dragged(event)) return;
    const before = this.fingers.get(event.pointerId);
    if (!before) return;
    const [x, y] = [event.clientX - before[0], event.clientY - before[1]];
    if (this.fingers.size === 2) return this.pinch(event, before);
    this.travel += Math.abs(x) + Math.abs(y);
    if (event.buttons & 2) this.shiftWindow(-y / 300, x / 200);
    else if (this.view.zoom > 1) {
      this.view.pan = [this.view.pan[0] + x, this.view.pan[1] + y];
      this.draw();
    } else if (Math.abs(y) >= 9) this.move(0, this.at[0] + Math.round(y / 9));
    else return undefined; // small steps add up
    this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
    return undefined;
  }

  pinch(event, before) {
    const other = [...this.fingers].find(([id]) => id !== event.pointerId)[1];
    const length = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]);
    const now = [event.clientX, event.clientY];
    this.view.pan = this.view.pan.map((value, side) => value + (now[side] - before[side]) / 2);
    this.fingers.set(event.pointerId, now);
    this.zoom(length(now) / Math.max(length(before), 1));
  }

  up(canvas, event) {
    if (this.on.released(event)) return;
    if (this.fingers.size === 1 && this.travel < 5 && event.button === 0) {
      const found = voxelAt(canvas, this.volume.planes[0], this.view, event);
      if (found && this.volume.planes.length > 1) this.jump(this.volume.planes[0], found);
    }
    this.fingers.delete(event.pointerId);
  }

  listenOther(canvas, axis) {
    const go = (event) => {
      if (!this.volume || !this.volume.planes[axis] || !event.buttons) return;
      const found = voxelAt(canvas, this.volume.planes[axis], STILL, event);
      if (found) this.jump(this.volume.planes[axis], found);
    };
    canvas.addEventListener("pointerdown", go);
    canvas.addEventListener("pointermove", go);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (this.volume) this.move(axis, this.at[axis] + Math.sign(event.deltaY));
    }, { passive: false });
  }

  jump(plane, [vertical, horizontal]) {
    this.move(plane.axes[1], vertical);
    this.move(plane.axes[2], horizontal);
  }
}
