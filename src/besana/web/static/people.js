// Who may what: invitations, roles, and what happened.
import { ask, askUntil, make, notice, onLanguage, person, Refused, say, sayNow, told, when } from "/static/web.js";

const $ = (id) => document.getElementById(id);
const ROLES = {
  labeller: "Labeller",
  viewer: "Viewer",
  reviewer: "Reviewer",
  admin: "Admin",
};
const DONE = {
  start: "Began with the printed link",
  invite: "Made an invitation",
  join: "Joined by invitation",
  "sign in": "Signed in",
  change: "Changed what somebody may",
  choose: "Chose for everybody",
  class: "Changed a class",
  regions: "Wrote lens and regions",
};
const roles = (chosen) => Object.entries(ROLES).map(([name, words]) => make("option", { value: name, selected: name === chosen }, sayNow(words)));
const at = (seconds) => when(new Date(seconds * 1000).toISOString());

async function load() {
  const { people, audit } = await askUntil("GET", "/api/people");
  $("role").replaceChildren(...roles($("role").value || "labeller"));
  $("people").replaceChildren(...people.map(row));
  $("audit").replaceChildren(
    ...audit.map((line) => make("tr", {}, make("td", { class: "short" }, at(line.at)), make("td", {}, line.who), make("td", {}, DONE[line.what] ? say(DONE[line.what]) : line.what), make("td", {}, line.about))),
  );
}

function row(each) {
  const own = each.name === person.name;
  const role = make("select", { "aria-label": `${each.name}`, disabled: own }, ...roles(each.role));
  role.addEventListener("change", () => change({ name: each.name, role: role.value, active: Boolean(each.active) }));
  const renew = make("button", { type: "button", onclick: () => invite(each.role, each.name) }, say("New password"));
  const shut = make("button", { type: "button", disabled: own, onclick: () => change({ name: each.name, active: !each.active }) }, say(each.active ? "Shut out" : "Let in"));
  return make("tr", {}, make("th", { scope: "row" }, each.name), make("td", {}, role), make("td", { class: "short" }, at(each.joined_at)), make("td", {}, each.active ? renew : null, " ", shut));
}

async function change(body) {
  try {
    await ask("POST", "/api/people", body);
    notice(say("Saved."));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    notice(told(error));
  }
  load();
}

async function invite(role, name = "") {
  const { path } = await ask("POST", "/api/invitations", { role, name });
  $("link").hidden = false;
  $("link-text").value = location.origin + path;
  $("link-text").select();
  notice(say("Give this link to one person; it works once."));
  load();
}

$("invite").addEventListener("submit", (event) => {
  event.preventDefault();
  invite($("role").value);
});
onLanguage(load);
load();
