// Dropping a picture on the page of `besana serve`: it is sent, the answer becomes a table.
import { make, number, onLanguage, say, sayNow } from "/static/web.js";

const form = document.getElementById("drop");
const file = document.getElementById("file");
const field = document.getElementById("token");
const problem = document.getElementById("problem");
const answer = document.getElementById("answer");

// Behind the "#" a token never leaves the browser but in the header below.
if (location.hash.length > 1) {
  sessionStorage.setItem("besana-token", location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
}
field.value = sessionStorage.getItem("besana-token") ?? "";
document.getElementById("token-field").hidden = field.value !== "";

// An option holds one text only, so it is written anew in the language shown.
const whole = document.querySelector('#camera option[value=""]');
function nameWhole() {
  if (whole) whole.textContent = sayNow("none: the picture is one sample");
}
onLanguage(nameWhole);
nameWhole();

const reasons = {
  signed_out: "The token is missing or wrong.",
  overloaded: "The server is busy; try again in a moment.",
};

function show(said) {
  const rows = said.predictions.flatMap((one) => one.regions ?? []).map((region) =>
    make("tr", {}, make("td", {}, region.region), make("td", {}, region.class_name),
      make("td", { class: "number" }, `${number(100 * region.probability, 1)} %`)));
  const heads = [say("Region"), say("Class"), say("Probability")].map((words) => make("th", { scope: "col" }, words));
  const scroll = make("div", { class: "scroll", tabindex: "0" }, make("table", {},
    make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows)));
  answer.replaceChildren(make("p", {}, say("Model {}, version {}", said.model, said.version)), scroll);
}

async function judge() {
  problem.hidden = true;
  const token = field.value.trim();
  const data = new FormData();
  data.append("camera", document.getElementById("camera")?.value ?? "");
  data.append("image", file.files[0]);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  try {
    const reply = await fetch("/predict", { method: "POST", headers, body: data, redirect: "error" });
    const said = await reply.json();
    if (!reply.ok) {
      problem.replaceChildren(reasons[said.error] ? say(reasons[said.error]) : said.problem);
      problem.hidden = false;
      if (reply.status === 401) document.getElementById("token-field").hidden = false;
      return;
    }
    if (token) sessionStorage.setItem("besana-token", token);
    show(said);
  } catch {
    problem.replaceChildren(say("The server does not answer."));
    problem.hidden = false;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  judge();
});
for (const name of ["dragover", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    if (name === "drop" && event.dataTransfer.files.length) {
      file.files = event.dataTransfer.files;
      judge();
    }
  });
}
