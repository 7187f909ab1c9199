// Class buttons and their keys, shared by the grid and the strip.
import { askUntil, make, notice, say } from "/static/web.js";

export async function loadClasses(list, pick) {
  const { classes } = await askUntil("GET", "/api/classes");
  list.replaceChildren(
    ...classes.map((each) =>
      make(
        "li",
        {},
        make("button", { type: "button", "aria-keyshortcuts": `${each.digit} ${each.letter}`.trim(), onclick: () => pick(each.name) }, ...[each.digit, each.letter.toUpperCase()].filter(Boolean).map((key) => make("kbd", {}, key)), make("span", {}, each.name)),
      ),
    ),
  );
  return classes;
}

export const classOf = (classes, key) => classes.find(({ digit, letter }) => digit === key || (letter && letter === key.toLowerCase()))?.name;

// Many labels at once are not asked about one by one: what was said before stands, and is told.
export const tellStale = (_act, current) => notice(say("Said otherwise in another tab"), current ? ` (${current.class})` : "");

// The same line everywhere about what is not saved yet.
export function savingLine(line, say, number) {
  return ({ waiting, offline, signedOut }) => {
    line.replaceChildren(
      signedOut
        ? say("Sign in again in another tab; {} are kept here.", number(waiting))
        : offline
          ? say("No connection; {} are kept here.", number(waiting))
          : waiting
            ? say("Saving {}…", number(waiting))
            : say("All saved"),
    );
    line.dataset.state = signedOut || offline ? "cut" : waiting ? "busy" : "saved";
  };
}
