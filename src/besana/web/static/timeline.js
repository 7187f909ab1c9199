// Counts over time as stacked bars: one series a class, and the same as a table.
import { make, number, say } from "/static/web.js";

const HEIGHT = 150;
const LEFT = 56;
export const svg = (name, attributes = {}, ...children) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
};

export const shadeOf = (name, place) => (name === "" ? "plot-empty" : `d${Math.min(5, place)}`);
const day = (iso) => new Date(`${iso}T00:00:00Z`).toLocaleDateString(document.documentElement.lang, { dateStyle: "medium", timeZone: "UTC" });

// Where a bar ends: the day before the next one of its unit.
export function lastDay(first, unit) {
  const at = new Date(`${first}T00:00:00Z`);
  if (unit === "week") at.setUTCDate(at.getUTCDate() + 6);
  if (unit === "month") at.setUTCMonth(at.getUTCMonth() + 1, 0);
  if (unit === "year") at.setUTCFullYear(at.getUTCFullYear() + 1, 0, 0);
  return at.toISOString().slice(0, 10);
}

export function draw({ timeline, series }, room, label, choose) {
  const WIDTH = Math.min(960, Math.max(300, room));
  const { bars, unit } = timeline;
  const most = Math.max(1, ...bars.map(([, counts]) => counts.reduce((sum, count) => sum + count, 0)));
  const width = Math.min(80, (WIDTH - LEFT) / Math.max(1, bars.length));
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + 26}`, role: "img", "aria-label": label });
  picture.append(svg("path", { class: "plot-line", d: `M${LEFT} 8H${WIDTH}M${LEFT} ${HEIGHT}H${WIDTH}` }));
  picture.append(words(LEFT - 6, 13, number(most), "end"), words(LEFT - 6, HEIGHT, "0", "end"));
  bars.forEach(([first, counts], place) => {
    const x = LEFT + place * width;
    const total = counts.reduce((sum, count) => sum + count, 0);
    const bar = svg("g", { class: "bar-of-days" }, svg("title", {}, `${day(first)}: ${number(total)}`));
    let y = HEIGHT;
    counts.forEach((count, number) => {
      if (!count) return;
      const height = ((HEIGHT - 8) * count) / most;
      y -= height;
      bar.append(svg("rect", { class: shadeOf(series[number], number), x: x.toFixed(1), y: y.toFixed(1), width: Math.max(0.8, width - (width > 4 ? 1 : 0)).toFixed(1), height: height.toFixed(1) }));
    });
    bar.append(svg("rect", { class: "whole-bar", x: x.toFixed(1), y: 0, width: width.toFixed(1), height: HEIGHT }));
    bar.addEventListener("click", () => choose(first, lastDay(first, unit)));
    picture.append(bar);
  });
  if (bars.length) picture.append(words(LEFT, HEIGHT + 18, day(bars[0][0]), "start"));
  if (bars.length > 1 || unit !== "day") picture.append(words(Math.max(LEFT + 220, LEFT + width * bars.length), HEIGHT + 18, day(lastDay(bars.at(-1)[0], unit)), "end"));
  return picture;
}

export const words = (x, y, text, anchor) => svg("text", { x, y, class: "plot-quiet", "text-anchor": anchor, "font-size": 14 }, text);

export function table({ timeline, series }, nameOf) {
  const heads = series.map((name) => make("th", { scope: "col", class: "number" }, nameOf(name)));
  const rows = timeline.bars.map(([first, counts]) => make("tr", {}, make("th", { scope: "row", class: "short" }, day(first)), ...counts.map((count) => make("td", { class: "number" }, number(count)))));
  return [make("thead", {}, make("tr", {}, make("th", { scope: "col" }, say("From")), ...heads)), make("tbody", {}, ...rows)];
}
