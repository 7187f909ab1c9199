// Two versions of a dataset beside each other: how many changed in which way, and which.
import { ask, make, notice, number, Refused, say, told } from "/static/web.js";
import { tile, worded } from "/static/tiles.js";

const CHANGES = {
  added: "Added",
  removed: "Removed",
  relabelled: "Labelled otherwise",
  moved: "Moved to another part",
};
const VERSIONS = {
  one: "Version before",
  other: "Version after",
};
const FROM = {
  added: "Part",
  removed: "Part",
  relabelled: "Class before",
  moved: "Part before",
};
const TO = {
  added: "Class",
  removed: "Class",
  relabelled: "Class after",
  moved: "Part after",
};

export class Compared {
  constructor(page) {
    Object.assign(this, page);
    this.$("compare").addEventListener("change", () => this.ask());
    this.$("compare").addEventListener("submit", (event) => event.preventDefault());
  }

  ask(more = {}) {
    return this.go({ one: this.$("one").value, other: this.$("other").value, kind: this.kind, ...more }, "versions");
  }

  async load(shown) {
    const { versions } = await ask("GET", "/api/versions");
    const names = versions.map((each) => each.dataset);
    const other = shown.get("other") || names[0] || "";
    const one = shown.get("one") || names.find((name) => name !== other && name.split("/")[0] === other.split("/")[0]) || other;
    this.kind = shown.get("kind") || "";
    const choice = (id, value) =>
      make("p", { class: "field" }, make("label", { for: id }, say(VERSIONS[id])), make("select", { id }, ...names.map((name) => make("option", { value: name, selected: name === value }, name))));
    this.$("compare").replaceChildren(choice("one", one), choice("other", other));
    this.$("tiles").replaceChildren();
    this.$("pager").hidden = true;
    this.$("empty").hidden = names.length > 1;
    this.$("empty").replaceChildren(say("Two versions are needed; each besana split makes one when something changed."));
    this.$("changes").hidden = names.length < 2;
    if (names.length < 2) return;
    try {
      await this.count(one, other);
      if (this.kind) await this.list(one, other, Number(shown.get("position") ?? 0));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      notice(told(error));
    }
  }

  async count(one, other) {
    const found = await ask("GET", `/api/versions/changes?${new URLSearchParams({ one, other })}`);
    const line = (kind) => make("li", {}, make("button", { type: "button", "aria-pressed": String(kind === this.kind), onclick: () => this.ask({ kind }) }, say(CHANGES[kind]), ` ${number(found[kind].count)}`));
    this.$("change-list").replaceChildren(...Object.keys(CHANGES).map(line), make("li", {}, say("{} stayed as they were", number(found.kept))));
    const ways = this.kind ? found[this.kind].ways : [];
    if (!ways.length) return this.$("ways").replaceChildren();
    const name = (value, phrase) => (phrase.startsWith("Part") ? worded(value) : value || say("no label"));
    const heads = [FROM[this.kind], TO[this.kind]];
    return this.$("ways").replaceChildren(
      make("caption", { class: "unseen" }, say(CHANGES[this.kind])),
      make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, say(head))), make("th", { scope: "col", class: "number" }, say("Samples")))),
      make("tbody", {}, ...ways.map(([before, after, count]) => make("tr", {}, make("td", {}, name(before, heads[0])), make("td", {}, name(after, heads[1])), make("td", { class: "number" }, number(count))))),
    );
  }

  async list(one, other, position) {
    const page = await ask("GET", `/api/versions/changed?${new URLSearchParams({ one, other, kind: this.kind, position })}`);
    this.$("tiles").replaceChildren(...page.items.map(tile));
    this.$("pager").hidden = !page.next && !position;
    this.$("next").disabled = !page.next;
    this.$("next").onclick = () => this.ask({ position: page.next });
    this.$("previous").disabled = !position;
    this.$("previous").onclick = () => history.back();
  }
}
