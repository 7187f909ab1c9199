// The team: agreement with intervals, pace, what each confuses, and what labelling still buys.
import { ask, askUntil, make, notice, number, onLanguage, say, sayNow, when } from "/static/web.js";
import { drawCurve } from "/static/curve.js";

const $ = (id) => document.getElementById(id);
const ORDERS = {
  random: "at random",
  time: "in the order of time",
  uncertainty: "what the model is unsure of",
  diversity: "what looks different",
  mix: "a mix of these",
};
const COEFFICIENTS = {
  alpha: "Krippendorff's alpha",
  fleiss: "Fleiss' kappa",
  observed: "Share of the same words",
};
const rounded = (value) => (value == null ? "–" : number(value, 2));
const ends = ({ low, high }) => (low == null || high == null ? "–" : `${rounded(low)} – ${rounded(high)}`);
const percent = (value) => number(100 * value, 1);

async function load() {
  const [team, learning] = await Promise.all([askUntil("GET", "/api/team"), askUntil("GET", "/api/learning")]);
  showLearning(learning);
  $("units").replaceChildren(say("{} pictures were labelled by several people.", number(team.units)));
  $("agreement").replaceChildren(
    ...team.coefficients.map((each) => make("tr", {}, make("th", { scope: "row" }, say(COEFFICIENTS[each.name])), make("td", { class: "number" }, rounded(each.value)), make("td", { class: "number" }, ends(each)), make("td", { class: "number" }, number(team.units)))),
    ...team.pairs.map((pair) => make("tr", {}, make("th", { scope: "row" }, say("Cohen's kappa of {} and {}", pair.first, pair.second)), make("td", { class: "number" }, rounded(pair.kappa)), make("td", { class: "number" }, ends(pair)), make("td", { class: "number" }, number(pair.samples)))),
  );
  $("paces").replaceChildren(
    ...team.paces.map((each) => make("tr", {}, make("th", { scope: "row" }, each.name), make("td", { class: "number" }, number(each.labels)), make("td", { class: "number" }, each.an_hour ? number(each.an_hour) : "–"), make("td", { class: "short" }, when(each.last)))),
  );
  $("confusion").replaceChildren(...Object.entries(team.confusion).map(([name, rows]) => matrix(name, rows)));
}

function matrix(name, rows) {
  const said = [...new Set([...Object.keys(rows), ...Object.values(rows).flatMap(Object.keys)])].sort();
  return make(
    "div",
    { class: "scroll", role: "group", tabindex: "0", "aria-label": name },
    make(
      "table",
      {},
      make("caption", {}, name),
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, say("the others")), ...said.map((each) => make("th", { scope: "col", class: "number" }, each)))),
      make("tbody", {}, ...said.filter((each) => rows[each]).map((each) => make("tr", {}, make("th", { scope: "row" }, each), ...said.map((other) => make("td", { class: "number" }, number(rows[each][other] ?? 0)))))),
    ),
  );
}

function showLearning(found) {
  const { labels, order, orders, has_embeddings, curve, first, more, expected } = found;
  const lines = [];
  if (!has_embeddings) lines.push(say("There are no embeddings, so nothing is proposed. Run: besana embed"));
  else if (!curve.length) lines.push(say("It learns from {} labels on; there are {}.", number(first), number(labels)));
  else {
    const [count, share, error] = curve.at(-1);
    lines.push(say("With {} labels it is right on {} % (± {}) of what it has not seen.", number(count), percent(share), percent(1.96 * error)));
    if (expected) lines.push(" ", say("The next half hour of labelling, about {} labels, is likely to make that {} % ({} to {} %).", number(more), percent(expected[0]), percent(expected[1]), percent(expected[2])));
  }
  $("learning").replaceChildren(...lines);
  $("curve").replaceChildren(...(curve.length ? [drawCurve(found)] : []));
  $("order").replaceChildren(...orders.map((name) => make("option", { value: name, selected: name === order }, sayNow(ORDERS[name]))));
}

$("order").addEventListener("change", async () => {
  await ask("POST", "/api/order", { order: $("order").value });
  notice(say("Saved."));
});
onLanguage(load);
load();
