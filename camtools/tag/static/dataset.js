// The dialog of the splits: a pattern for the patient, shares, a seed, and a preview of what they give.

import { post } from "./api.js";

const SPLITS = ["training", "validation", "test"];

export class DatasetDialog {
  constructor(dialog, saved) {
    this.dialog = dialog;
    this.saved = saved;
    this.part = (id) => dialog.querySelector(`#${id}`);
    for (const id of ["patient", "validation", "test", "seed"]) {
      this.part(id).addEventListener("input", () => {
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.preview(this.settings()), 250);
      });
    }
    this.part("save-splits").addEventListener("click", (event) => {
      event.preventDefault();
      this.save();
    });
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.target.matches("input")) {
        event.preventDefault();
        this.save();
      }
    });
  }

  settings() {
    const number = (id) => Number(this.part(id).value);
    return { patient: this.part("patient").value, validation: number("validation"), test: number("test"), seed: number("seed") };
  }

  async show() {
    const found = await this.preview({});
    if (found) for (const [id, value] of Object.entries(found.settings)) this.part(id).value = value;
    if (!this.dialog.open) this.dialog.showModal();
  }

  async preview(settings) {
    try {
      const found = await post("/api/preview", settings);
      this.render(found);
      return found;
    } catch (error) {
      this.fail(error.message);
      return null;
    }
  }

  fail(text) {
    this.part("split-problem").textContent = text;
    this.part("save-splits").disabled = true;
  }

  render({ patients, own }) {
    this.fail(own ? "" : "This folder has a dataset.json of its own: its splits stay, only its tags are updated.");
    this.part("save-splits").disabled = !own;
    const order = (row) => SPLITS.indexOf(row.split);
    patients.sort((one, two) => order(one) - order(two) || one.patient.localeCompare(two.patient));
    this.part("split-counts").replaceChildren(...SPLITS.map((split) => {
      const rows = patients.filter((row) => row.split === split);
      const sum = (key) => rows.reduce((total, row) => total + row[key], 0);
      const text = document.createElement("span");
      text.textContent = `${split}: ${rows.length} patients, ${sum("volumes")} volumes, ${sum("tagged")} confirmed`;
      return text;
    }));
    this.part("split-rows").replaceChildren(...patients.map((row) => {
      const line = document.createElement("tr");
      for (const key of ["patient", "split", "volumes", "tagged", "example"]) {
        line.insertCell().textContent = row[key];
      }
      return line;
    }));
  }

  async save() {
    try {
      this.render(await post("/api/splits", this.settings()));
      this.dialog.close();
      this.saved();
    } catch (error) {
      this.fail(error.message);
    }
  }
}
