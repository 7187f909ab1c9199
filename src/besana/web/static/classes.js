// The classes: what they are called, by which key they are said, how to tell them apart.
import { ask, askUntil, make, notice, number, onLanguage, person, pictureOf, Refused, say, sayNow, told } from "/static/web.js";

const $ = (id) => document.getElementById(id);
const isAdmin = person.role === "admin";
const mayWrite = isAdmin || person.role === "reviewer";
let classes = [];
let changing = null;

async function load() {
  ({ classes } = await askUntil("GET", "/api/classes"));
  $("list").replaceChildren(...classes.map(card));
}

function card(each) {
  const text = make("textarea", { rows: 3, maxlength: 4000, id: `criteria-${each.name}`, disabled: !mayWrite });
  text.value = each.criteria;
  text.addEventListener("change", () => done("/api/criteria", { name: each.name, criteria: text.value }));
  return make(
    "li",
    { class: "card" },
    make("h2", {}, ...[each.digit, each.letter.toUpperCase()].filter(Boolean).map((key) => make("kbd", {}, key)), ` ${each.name}`),
    make("p", { class: "note" }, say("{} labels", number(each.labels))),
    make("p", { class: "field" }, make("label", { for: text.id }, say("How to tell")), text),
    make("p", { class: "examples" }, ...each.examples.flatMap((example) => shownExample(each, example))),
    isAdmin ? make("button", { type: "button", onclick: () => change(each) }, say("Change…")) : null,
  );
}

function shownExample(each, example) {
  const image = make("img", { src: pictureOf({ ...example, mark: "" }, 160), alt: each.name, loading: "lazy" });
  if (!mayWrite) return [image];
  const leave = async () => (await done("/api/examples", { name: each.name, ...example, shown: false })) && load();
  return [image, make("button", { type: "button", "data-example": example.frame, onclick: leave }, say("No example any more"))];
}

function change(each) {
  changing = each;
  $("change-about").replaceChildren(say("{}: {} labels", each.name, number(each.labels)));
  $("to").value = "";
  $("others").replaceChildren(...classes.filter((other) => other !== each).map((other) => make("option", { value: other.name })));
  $("change").showModal();
}

async function done(path, body) {
  try {
    const answer = await ask("POST", path, body);
    notice(answer.moved ? say("Saved; {} labels moved along.", number(answer.moved)) : say("Saved."));
    return true;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    notice(told(error));
    return false;
  }
}

$("add").hidden = !isAdmin;
$("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await done("/api/classes", { what: "add", name: $("name").value })) $("name").value = "";
  load();
});
$("change").addEventListener("close", async () => {
  const what = $("change").returnValue;
  const to = $("to").value.trim();
  if (!what || (what === "rename" && !to)) return;
  await done("/api/classes", { what, name: changing.name, to });
  load();
});
onLanguage(load);
load();
