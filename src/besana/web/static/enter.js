// Signing in: by name and password, by the link that the server printed, or by an invitation.
import { ask, Refused, say, told } from "/static/web.js";

const form = document.getElementById("enter");
const problem = document.getElementById("problem");
const way = form.dataset.way;
// Behind the "#" a token never leaves the browser but in the body below.
const token = location.hash.slice(1);
if (token) history.replaceState(null, "", location.pathname);

const reasons = {
  wrong_password: "Name or password is wrong.",
  used_token: "This link was used already, or is too old.",
  taken_name: "Somebody has that name already.",
  wrong_name: "A name has 1 to 60 letters.",
  wrong_password_length: "A password has 10 to 200 characters.",
  slow_down: "Too many wrong tries; wait a little.",
};

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  problem.hidden = true;
  const data = new FormData(form);
  const body = { name: data.get("name") ?? "", password: data.get("password") };
  if (way !== "sign-in") body.token = token;
  try {
    await ask("POST", `/api/${way}`, body);
    location.assign("/");
  } catch (error) {
    const known = error instanceof Refused ? reasons[error.answer.error] : "The server does not answer.";
    problem.replaceChildren(known ? say(known) : told(error));
    problem.hidden = false;
  }
});
