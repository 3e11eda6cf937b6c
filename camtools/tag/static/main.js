// The page of camtools tag: opens volumes, sends actions, and notices what others do.

import { client, get, post } from "./api.js";
import { DatasetDialog } from "./dataset.js";
import { buttons, helpSheet, listen } from "./keys.js";
import { VolumeList } from "./list.js";
import { Patches } from "./patches.js";
import { loadThumbs } from "./pixels.js";
import { Strip } from "./strip.js";
import * as tags from "./tags.js";
import { Viewer } from "./viewer.js";
import { listenToWindow, showWindow } from "./window.js";

const POLL = 1500; // ms
const element = (id) => document.getElementById(id);

class App {
  constructor(overview) {
    this.mode = overview.mode;
    this.revision = overview.revision;
    this.suggested = 0;
    this.queue = Promise.resolve();
    this.openedAt = 0;
    this.acted = JSON.parse(sessionStorage.getItem("acted") || "[]");
    this.list = new VolumeList(
      { list: element("volumes"), search: element("search"), filter: element("filter"), order: element("order") },
      (id) => this.later(() => this.open(id)),
    );
    this.viewer = new Viewer({ main: element("main"), others: [element("other1"), element("other2")] }, {
      moved: () => this.render(),
      changed: () => showWindow(this.viewer),
      drawn: (context, place) => this.patches?.draw(context, place),
      pressed: (event) => Boolean(this.patches?.pressed(event)),
      dragged: (event) => Boolean(this.patches?.dragged(event)),
      released: (event) => Boolean(this.patches?.released(event)),
    });
    this.help = element("help");
    this.dataset = new DatasetDialog(element("dataset"), () => this.say("dataset.json is drawn and saved."));
    this.setUpMode(overview);
    this.setUpControls();
    if (overview.suggesting) element("order").value = "unsure";
    this.list.set(overview.volumes);
    this.renderProblem(overview.problem);
    element("folder").textContent = overview.folder;
    document.title = `${overview.folder} · camtools tag`;
  }

  setUpMode(overview) {
    if (this.mode === "patches") {
      const box = document.createElement("div");
      box.className = "row";
      element("actions").append(box);
      this.patches = new Patches(this, overview.labels, box);
      element("strip").hidden = true;
      this.togglePlanes(false);
      element("planes-button").hidden = true;
    } else {
      this.strip = new Strip(element("strip"), {
        show: (k) => this.viewer.move(0, k),
        toggle: (k) => this.later(() => this.apply(tags.toggle(this.volume, k))),
        range: (from, to) => this.later(() => this.apply(tags.addRange(this.volume, from, to))),
        erase: (from, to) => this.later(() => this.apply(tags.eraseRange(this.volume, from, to))),
      });
    }
    buttons(this, this.mode, element("actions"));
    helpSheet(this.mode, element("help-text"));
    listen(this, this.mode);
  }

  setUpControls() {
    const click = (id, action) => element(id).addEventListener("click", () => { action(); });
    click("list-button", () => this.showList());
    click("dataset-button", () => this.dataset.show());
    click("help-button", () => this.help.showModal());
    click("zoom-in", () => this.viewer.zoom(1.25));
    click("zoom-out", () => this.viewer.zoom(0.8));
    click("reset", () => this.viewer.reset());
    click("planes-button", () => this.togglePlanes());
    listenToWindow(this.viewer);
    for (const button of document.querySelectorAll("[data-key]")) {
      const key = document.createElement("kbd");
      key.textContent = button.dataset.key;
      if (button.closest("nav")) button.append(key);
    }
  }

  get volume() {
    return this.viewer.volume;
  }

  // One after the other; a key that was pressed before the volume was on the screen does nothing.
  later(action, pressed = Infinity) {
    this.queue = this.queue.then(async () => {
      if (pressed < this.openedAt) return;
      try {
        await action();
      } catch (error) {
        this.say(error.message, true);
      }
    });
    return this.queue;
  }

  async open(id) {
    this.list.select(id);
    const known = this.list.volumes.get(id);
    element("case").textContent = known.case;
    const slow = setTimeout(() => this.fail("Reading the volume …", true), 150);
    let volume = null;
    try {
      volume = await get(`/api/volumes/${id}`);
    } catch (error) {
      if (error.status === 422) this.list.update({ id, problem: error.message });
      this.fail(error.message);
    }
    clearTimeout(slow);
    if (!volume) return;
    this.fail("");
    this.strip?.open(volume);
    this.patches?.open(volume);
    const first = tags.current(volume)[0];
    this.viewer.open(volume, first ? first[0] : Math.floor(volume.slices / 2));
    history.replaceState(null, "", `#${id}`);
    this.list.update(this.summaryOf(volume));
    this.openedAt = performance.now();
    this.render();
    if (this.strip) loadThumbs(volume).then((thumbs) => this.volume === volume && this.strip.setThumbs(thumbs));
    const ahead = [this.list.neighbour(1, true), this.list.neighbour(1, false)].filter(Boolean);
    post("/api/ahead", { volumes: [...new Set(ahead)] }).catch(() => {});
  }

  summaryOf(volume) {
    const { id, ranges, first, status, revision, by, at, problem, can_undo } = volume;
    return { id, ranges, first, status, revision, by, at, problem, can_undo };
  }

  step(count) {
    this.viewer.move(0, this.viewer.at[0] + count);
  }

  tenth() {
    return Math.max(1, Math.round(this.volume.slices / 10));
  }

  tag(name) {
    return this.apply(tags[name](this.volume, this.viewer.at[0]));
  }

  async apply({ change, message }) {
    if (message) this.say(message, true);
    return change ? this.send(change) : !message;
  }

  // Send a change; whether the server took it.
  async send(change) {
    const { volume } = this;
    try {
      const answer = await post(`/api/volumes/${volume.id}/act`, { revision: volume.revision, change, client });
      this.acted.push(volume.id);
      this.acted = this.acted.slice(-500);
      sessionStorage.setItem("acted", JSON.stringify(this.acted));
      this.take(answer);
      this.say("");
      return true;
    } catch (error) {
      this.say(error.message, true);
      if (error.status === 409 || this.patches) await this.refresh();
      return false;
    }
  }

  async refresh() {
    const fresh = await get(`/api/volumes/${this.volume.id}`);
    this.take(fresh);
  }

  take(answer) {
    this.list.update(this.summaryOf(answer));
    if (this.volume?.id === answer.id) {
      Object.assign(this.volume, this.summaryOf(answer));
      if (answer.patches) this.volume.patches = answer.patches;
      if (answer.suggestion !== undefined) this.volume.suggestion = answer.suggestion;
    }
    this.viewer.draw();
    this.render();
  }

  async undo() {
    const id = this.acted.pop() || this.volume.id;
    sessionStorage.setItem("acted", JSON.stringify(this.acted));
    if (id !== this.volume.id) await this.open(id);
    if (!this.volume.can_undo) return this.say("Nothing to undo in this volume.", true);
    this.take(await post(`/api/volumes/${id}/undo`, { revision: this.volume.revision, client }));
    return this.say("Taken back.");
  }

  async confirm() {
    const found = this.patches ? { change: this.volume.status === "done" ? null : { status: "done" } } : tags.confirm(this.volume);
    if (!(await this.apply(found)) && found.change !== null) return;
    const next = this.list.neighbour(1, true);
    if (next) await this.open(next);
    else this.say("All volumes are confirmed. The results are in tags.csv and dataset.json. Ctrl-C in the terminal names the next command.");
  }

  async neighbour(step) {
    const next = this.list.neighbour(step, false);
    if (next) await this.open(next);
    else this.say(step > 0 ? "This is the last volume of the list." : "This is the first volume of the list.");
  }

  togglePlanes(on = element("pictures").classList.contains("single")) {
    element("pictures").classList.toggle("single", !on);
    element("planes-button").setAttribute("aria-pressed", String(on));
  }

  showList() {
    document.querySelector("main").classList.toggle("show-list");
    element("search").focus();
  }

  focusPicture() {
    element("main").focus({ preventScroll: true });
  }

  say(text, warn = false) {
    element("message").textContent = text;
    element("message").classList.toggle("warn", warn);
  }

  fail(text, busy = false) {
    element("failure").textContent = text;
    element("failure").hidden = !text;
    element("failure").classList.toggle("busy", busy);
  }

  render() {
    const { volume } = this;
    if (!volume) return;
    const k = this.viewer.at[0];
    const words = { "": "to do", open: "not confirmed", done: "confirmed", unsure: "unsure, left out" };
    const suggested = tags.isSuggested(volume);
    element("badge").textContent = suggested ? "suggested" : words[volume.status];
    element("badge").className = suggested ? "suggested" : volume.status;
    const plane = volume.planes[0].name;
    const done = this.patches ? `${Object.keys(volume.patches).length} of ${volume.slices * volume.grid.corners.length} patches` : tags.describe(volume);
    element("where").textContent = `${plane} ${k + 1} of ${volume.slices} · ${done}`;
    element("main").setAttribute("aria-label", `${volume.case}, ${plane} ${k + 1} of ${volume.slices}, ${done}`);
    this.strip?.draw(k);
    const counts = this.list.counts();
    element("progress").max = Math.max(1, counts.all - counts.broken);
    element("progress").value = counts.done + counts.unsure;
    element("progress-text").textContent = `${counts.done} of ${counts.all} confirmed` +
      (counts.unsure ? `, ${counts.unsure} unsure` : "") + (counts.broken ? `, ${counts.broken} broken` : "");
  }

  renderProblem(text) {
    element("problem").textContent = text;
    element("problem").hidden = !text;
  }

  async poll() {
    try {
      const news = await get(`/api/changes?since=${this.revision}&suggested=${this.suggested}`);
      Object.assign(this, { revision: news.revision, suggested: news.suggested });
      this.renderProblem(news.problem);
      for (const volume of news.volumes) {
        const known = this.list.volumes.get(volume.id);
        const open = this.volume?.id === volume.id ? this.volume : null;
        if (open && (open.revision < volume.revision || (volume.unsure !== null && !open.suggestion))) {
          await this.refresh();
          if (volume.client !== client && volume.revision) this.say(`Tags changed by ${volume.by} in another tab or program; the new ones are shown.`, true);
        } else if (known && known.revision <= volume.revision) this.list.update(volume);
      }
      if (news.volumes.length) this.render();
    } catch (error) {
      this.renderProblem(error.message);
    }
  }
}

async function start() {
  const overview = await get("/api/overview");
  const app = new App(overview);
  const wanted = location.hash.slice(1);
  const id = app.list.volumes.has(wanted) ? wanted : app.list.neighbour(1, true) || app.list.shown[0]?.id;
  if (id) await app.later(() => app.open(id));
  app.focusPicture();
  document.body.dataset.ready = "yes";
  setInterval(() => app.later(() => app.poll()), POLL);
  window.addEventListener("focus", () => app.later(() => app.poll()));
}

start().catch((error) => { element("failure").hidden = false; element("failure").textContent = error.message; });
