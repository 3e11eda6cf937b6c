// Planes of the open volume: fetched once, kept within a limit of bytes, the next ones ahead of time.

import { bytes } from "./api.js";

const LIMIT = 96e6;
const AHEAD = 6;

export class Planes {
  constructor(volume) {
    this.volume = volume;
    this.kept = new Map(); // in the order of use
    this.size = 0;
    this.direction = 1;
  }

  // The voxels of a plane if they are here, else null; `arrived` is called once they are.
  get(axis, index, arrived) {
    const key = `${axis}/${index}`;
    const found = this.kept.get(key);
    if (found && !(found instanceof Promise)) {
      this.kept.delete(key);
      this.kept.set(key, found);
      return found;
    }
    this.load(axis, index).then(arrived, () => {});
    return null;
  }

  load(axis, index) {
    const key = `${axis}/${index}`;
    const found = this.kept.get(key);
    if (found) return Promise.resolve(found);
    const promise = bytes(`/api/volumes/${this.volume.id}/planes/${axis}/${index}`).then(
      (buffer) => {
        const voxels = this.volume.colour ? new Uint8Array(buffer) : new Uint16Array(buffer);
        this.kept.delete(key);
        this.kept.set(key, voxels);
        this.size += buffer.byteLength;
        this.forget();
        return voxels;
      },
      (error) => {
        this.kept.delete(key);
        throw error;
      },
    );
    this.kept.set(key, promise);
    return promise;
  }

  // One at a time, so that a plane that is asked for never waits for many.
  async ahead(axis, index) {
    this.turn = (this.turn || 0) + 1;
    const { turn } = this;
    const count = this.volume.planes[axis].count;
    for (let step = 1; step <= AHEAD; step += 1) {
      const next = index + this.direction * step;
      if (next < 0 || next >= count || turn !== this.turn) return;
      await this.load(axis, next).catch(() => {});
    }
  }

  forget() {
    for (const [key, voxels] of this.kept) {
      if (this.size <= LIMIT) return;
      if (voxels instanceof Promise) continue;
      this.kept.delete(key);
      this.size -= voxels.byteLength;
    }
  }
}

export async function loadThumbs(volume) {
  return new Uint8Array(await bytes(`/api/volumes/${volume.id}/thumbs`));
}
