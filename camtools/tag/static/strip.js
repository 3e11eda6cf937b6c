// All slices of the volume as thumbnails, above a bar with their tags.

import { COLOURS } from "./draw.js";
import { current, isSuggested } from "./tags.js";

const BAR = 22; // height in CSS pixels
const NARROWEST = 26;

export class Strip {
  constructor(canvas, on) {
    this.canvas = canvas;
    this.on = on; // show(k), toggle(k), range(from, to), erase(from, to)
    this.volume = null;
    this.drag = null;
    new ResizeObserver(() => this.draw()).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.moved(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", () => { this.drag = null; this.draw(); });
  }

  open(volume) {
    this.volume = volume;
    this.thumbs = null;
    this.pictures = null;
    this.together = null;
  }

  setThumbs(thumbs) {
    this.thumbs = thumbs;
    this.together = null;
    const [count, rows, columns] = this.volume.thumb;
    this.pictures = Array.from({ length: count }, (_, index) => {
      const canvas = new OffscreenCanvas(columns, rows);
      const context = canvas.getContext("2d");
      const image = context.createImageData(columns, rows);
      const pixels = new Uint32Array(image.data.buffer);
      const from = index * rows * columns;
      for (let place = 0; place < pixels.length; place += 1) {
        const grey = thumbs[from + place];
        pixels[place] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
      }
      context.putImageData(image, 0, 0);
      return canvas;
    });
    this.draw();
  }

  sliceAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    return Math.min(this.volume.slices - 1, Math.max(0, Math.floor(share * this.volume.slices)));
  }

  down(event) {
    if (!this.volume || event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    const k = this.sliceAt(event);
    const isBar = event.clientY > this.canvas.getBoundingClientRect().bottom - BAR;
    this.drag = { from: k, to: k, isBar, erase: event.shiftKey };
    if (!isBar) this.on.show(k);
  }

  moved(event) {
    if (!this.drag) return;
    const k = this.sliceAt(event);
    if (k === this.drag.to) return;
    this.drag.to = k;
    this.drag.moved = true;
    this.on.show(k);
    this.draw();
  }

  up() {
    const drag = this.drag;
    this.drag = null;
    if (!drag) return;
    if (drag.moved) (drag.erase ? this.on.erase : this.on.range)(drag.from, drag.to);
    else if (drag.isBar) this.on.toggle(drag.from);
    this.draw();
  }

  draw(k = this.k) {
    this.k = k;
    const { canvas, volume } = this;
    if (!volume || !canvas.clientWidth) return;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.fillStyle = "#171b21";
    context.fillRect(0, 0, width, height);
    const bar = height - BAR * ratio;
    if (this.pictures) context.drawImage(this.allThumbs(width, bar, ratio), 0, 0);
    this.drawBar(context, width, bar, height, ratio);
    const step = width / volume.slices;
    context.strokeStyle = "#fff";
    context.lineWidth = 2 * ratio;
    context.strokeRect(k * step, ratio, Math.max(step, 3 * ratio), height - 2 * ratio);
  }

  // All of them in one picture, made once for a width of the page.
  allThumbs(width, height, ratio) {
    if (this.together?.width === width && this.together.height === height) return this.together;
    this.together = new OffscreenCanvas(width, height);
    this.drawThumbs(this.together.getContext("2d"), width, height, ratio);
    return this.together;
  }

  drawThumbs(context, width, height, ratio) {
    const count = this.volume.slices;
    const [, rows, columns] = this.volume.thumb;
    const shown = Math.max(1, Math.min(count, Math.floor(width / (NARROWEST * ratio))));
    const cell = width / shown;
    const scale = Math.min(cell / columns, (height - 4 * ratio) / rows);
    context.imageSmoothingEnabled = true;
    for (let place = 0; place < shown; place += 1) {
      const index = Math.min(count - 1, Math.floor(((place + 0.5) * count) / shown));
      const left = place * cell + (cell - columns * scale) / 2;
      context.drawImage(this.pictures[index], left, (height - rows * scale) / 2, columns * scale, rows * scale);
    }
  }

  drawBar(context, width, top, bottom, ratio) {
    const volume = this.volume;
    const step = width / volume.slices;
    const gap = step > 6 * ratio ? ratio : 0;
    const fill = (from, to, colour) => {
      context.fillStyle = colour;
      for (let index = Math.min(from, to); index <= Math.max(from, to); index += 1) {
        context.fillRect(index * step + gap, top + 3 * ratio, Math.max(step - 2 * gap, 1), bottom - top - 6 * ratio);
      }
    };
    fill(0, volume.slices - 1, "#2e3640");
    for (const [first, last] of current(volume)) fill(first, last, isSuggested(volume) ? COLOURS.suggest : COLOURS.tag);
    if (volume.first !== null) fill(volume.first, this.k, COLOURS.open);
    if (this.drag && this.drag.moved) fill(this.drag.from, this.drag.to, this.drag.erase ? "#ff8b7b" : COLOURS.open);
    if (volume.suggestion) this.drawProbabilities(context, step, top, bottom, ratio);
  }

  drawProbabilities(context, step, top, bottom, ratio) {
    context.strokeStyle = "#fff";
    context.lineWidth = 1.5 * ratio;
    context.beginPath();
    this.volume.suggestion.probabilities.forEach((probability, index) => {
      const y = bottom - 4 * ratio - probability * (bottom - top - 8 * ratio);
      context.lineTo((index + 0.5) * step, y);
    });
    context.stroke();
  }
}
