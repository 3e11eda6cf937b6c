// The list of volumes: filter, order, and which one comes next.

export class VolumeList {
  constructor(elements, open) {
    this.elements = elements; // list, search, filter, order
    this.open = open;
    this.volumes = new Map();
    this.shown = [];
    for (const name of ["search", "filter", "order"]) elements[name].addEventListener("input", () => this.render());
  }

  set(volumes) {
    this.volumes = new Map(volumes.map((volume) => [volume.id, volume]));
    this.render();
  }

  update(volume) {
    const known = this.volumes.get(volume.id);
    if (!known) return;
    Object.assign(known, volume);
    const row = this.elements.list.querySelector(`[data-id="${volume.id}"]`);
    if (row) row.replaceWith(this.row(known));
  }

  kind(volume) {
    return volume.problem ? "broken" : volume.status;
  }

  render() {
    const { search, filter, order, list } = this.elements;
    const words = search.value.trim().toLowerCase();
    const fits = (volume) => {
      const kind = this.kind(volume);
      const is = { all: true, todo: kind === "" || kind === "open" }[filter.value] ?? kind === filter.value;
      return is && volume.case.toLowerCase().includes(words);
    };
    this.shown = [...this.volumes.values()].filter(fits);
    if (order.value === "unsure") this.shown.sort((one, two) => (two.unsure ?? -1) - (one.unsure ?? -1));
    list.replaceChildren(...this.shown.map((volume) => this.row(volume)));
  }

  row(volume) {
    const row = document.createElement("li");
    const button = document.createElement("button");
    const mark = document.createElement("i");
    const name = document.createElement("span");
    const kind = this.kind(volume);
    row.dataset.id = volume.id;
    mark.className = `mark ${kind}`;
    name.textContent = volume.case;
    button.title = volume.case;
    const words = { "": "to do", open: "not confirmed", done: "confirmed", unsure: "unsure", broken: "broken" };
    button.setAttribute("aria-label", `${volume.case}, ${words[kind]}`);
    button.setAttribute("aria-current", String(volume.id === this.current));
    button.append(mark, name);
    button.addEventListener("click", () => this.open(volume.id));
    row.append(button);
    if (volume.problem) {
      const why = document.createElement("span");
      why.className = "why";
      why.textContent = volume.problem;
      row.append(why);
    }
    return row;
  }

  select(id) {
    for (const key of [this.current, id]) {
      const button = key && this.elements.list.querySelector(`[data-id="${key}"] button`);
      if (button) {
        button.setAttribute("aria-current", String(key === id));
        if (key === id) button.scrollIntoView({ block: "nearest" });
      }
    }
    this.current = id;
  }

  // The volume a number of steps away; with `todo`, only those without a decision count, and the end leads to the start.
  neighbour(step, todo) {
    const listed = this.shown.length ? this.shown : [...this.volumes.values()];
    const from = listed.findIndex((volume) => volume.id === this.current);
    for (let count = 1; count <= listed.length; count += 1) {
      let place = (from < 0 && step < 0 ? 0 : from) + step * count;
      if (!todo && (place < 0 || place >= listed.length)) return null;
      place = ((place % listed.length) + listed.length) % listed.length;
      const volume = listed[place];
      const kind = this.kind(volume);
      if (kind !== "broken" && volume.id !== this.current && (!todo || kind === "" || kind === "open")) return volume.id;
    }
    return null;
  }

  counts() {
    const counts = { all: 0, done: 0, unsure: 0, broken: 0 };
    for (const volume of this.volumes.values()) {
      counts.all += 1;
      const kind = this.kind(volume);
      if (kind in counts) counts[kind] += 1;
    }
    return counts;
  }
}
