// One plane on a canvas: window and level, spacing, zoom, letters, crosshair.

export const COLOURS = { tag: "#35c26b", suggest: "#f0b429", open: "#6db3f8", soft: "#9aa5b1", cross: "#f0b42999" };

// Grey values by level of the 16 bits.
export function lookUp(volume, window) {
  const table = new Uint8ClampedArray(65536);
  const low = (window[0] - volume.offset) / volume.slope;
  const high = (window[1] - volume.offset) / volume.slope;
  const step = 255 / Math.max(high - low, 1e-6);
  for (let level = 0; level < 65536; level += 1) table[level] = (level - low) * step;
  return table;
}

export function colourTable(window) {
  const table = new Uint8ClampedArray(256);
  for (let level = 0; level < 256; level += 1) table[level] = ((level - window[0]) * 255) / Math.max(window[1] - window[0], 1);
  return table;
}

// Voxels as a small canvas of the plane's own size.
export function paint(voxels, size, table, colour) {
  const [height, width] = size;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let index = 0; index < pixels.length; index += 1) {
    if (colour) {
      const at = 3 * index;
      pixels[index] = 0xff000000 | (table[voxels[at + 2]] << 16) | (table[voxels[at + 1]] << 8) | table[voxels[at]];
    } else {
      const grey = table[voxels[index]];
      pixels[index] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

// Where a plane lies on a canvas: first pixel, and screen pixels per voxel.
export function layout(canvas, plane, view) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * ratio);
  const height = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const [rows, columns] = plane.size;
  const [high, wide] = plane.spacing;
  const scale = Math.min(width / (columns * wide), height / (rows * high)) * view.zoom;
  const place = { x: scale * wide, y: scale * high, ratio };
  place.left = width / 2 - (columns * place.x) / 2 + view.pan[0] * ratio;
  place.top = height / 2 - (rows * place.y) / 2 + view.pan[1] * ratio;
  return place;
}

export function drawPlane(canvas, plane, picture, view) {
  const place = layout(canvas, plane, view);
  const context = canvas.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = place.x < 6 * place.ratio;
  context.imageSmoothingQuality = "high";
  const [rows, columns] = plane.size;
  if (picture) context.drawImage(picture, place.left, place.top, columns * place.x, rows * place.y);
  return { context, place };
}

export function drawLetters(context, canvas, plane, ratio) {
  const [top, right, bottom, left] = plane.letters;
  const gap = 6 * ratio;
  context.font = `600 ${14 * ratio}px system-ui, sans-serif`;
  context.fillStyle = "#dfe6ee";
  context.shadowColor = "#000";
  context.shadowBlur = 4 * ratio;
  const write = (text, x, y, align, line) => {
    Object.assign(context, { textAlign: align, textBaseline: line });
    context.fillText(text, x, y);
  };
  write(top, canvas.width / 2, gap, "center", "top");
  write(bottom, canvas.width / 2, canvas.height - gap, "center", "bottom");
  write(left, gap, canvas.height / 2, "left", "middle");
  write(right, canvas.width - gap, canvas.height / 2, "right", "middle");
  context.shadowBlur = 0;
}

// Voxel indices along the plane's axes (vertical, horizontal) under a point of the canvas.
export function voxelAt(canvas, plane, view, event) {
  const place = layout(canvas, plane, view);
  const box = canvas.getBoundingClientRect();
  let column = Math.floor(((event.clientX - box.left) * place.ratio - place.left) / place.x);
  let row = Math.floor(((event.clientY - box.top) * place.ratio - place.top) / place.y);
  const [rows, columns] = plane.size;
  if (row < 0 || column < 0 || row >= rows || column >= columns) return null;
  if (plane.flips[0]) row = rows - 1 - row;
  if (plane.flips[1]) column = columns - 1 - column;
  return [row, column];
}

// Screen coordinates of the middle of a voxel index along the vertical (0) or horizontal (1) axis of a plane.
export function screenAt(plane, place, side, index) {
  const length = plane.size[side];
  const along = (plane.flips[side] ? length - 1 - index : index) + 0.5;
  return side === 0 ? place.top + along * place.y : place.left + along * place.x;
}

// Bands of the tagged slices on a plane across which they run.
export function drawBands(context, plane, place, ranges, colour) {
  const side = plane.axes[1] === 0 ? 0 : 1;
  const other = plane.size[1 - side] * (side === 0 ? place.x : place.y);
  const half = (side === 0 ? place.y : place.x) / 2;
  context.fillStyle = colour;
  for (const [first, last] of ranges) {
    const ends = [screenAt(plane, place, side, first), screenAt(plane, place, side, last)].sort((a, b) => a - b);
    const from = ends[0] - half;
    const length = ends[1] - ends[0] + 2 * half;
    if (side === 0) context.fillRect(place.left, from, other, length);
    else context.fillRect(from, place.top, length, other);
  }
}

export function drawCross(context, plane, place, at) {
  context.strokeStyle = COLOURS.cross;
  context.lineWidth = place.ratio;
  context.beginPath();
  const y = screenAt(plane, place, 0, at[plane.axes[1]]);
  const x = screenAt(plane, place, 1, at[plane.axes[2]]);
  context.moveTo(place.left, y);
  context.lineTo(place.left + plane.size[1] * place.x, y);
  context.moveTo(x, place.top);
  context.lineTo(x, place.top + plane.size[0] * place.y);
  context.stroke();
}
