// How often the model in the loop was right with a part of the labels, and what more are likely to buy.
import { number, sayNow } from "/static/web.js";
import { svg, words } from "/static/timeline.js";

const [WIDTH, HEIGHT, LEFT, RIGHT] = [360, 150, 48, 30];

// points: labels, share right, its standard error; expected: share, low, high after `more` labels.
export function drawCurve({ curve, labels, more, expected }) {
  const points = curve.map(([count, share, error]) => ({ count, share, low: share - 1.96 * error, high: share + 1.96 * error, hoped: false }));
  if (expected) points.push({ count: Math.max(labels, points.at(-1).count) + more, share: expected[0], low: expected[1], high: expected[2], hoped: true });
  const bottom = Math.max(0, Math.floor(10 * Math.min(...points.map(({ low }) => low))) / 10);
  const [first, last] = [points[0].count, points.at(-1).count].map(Math.log);
  const x = (count) => (LEFT + ((Math.log(count) - first) / Math.max(1e-9, last - first)) * (WIDTH - LEFT - RIGHT) + 8).toFixed(1);
  const y = (share) => (10 + ((1 - Math.min(1, Math.max(bottom, share))) / (1 - bottom)) * (HEIGHT - 20)).toFixed(1);
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + 24}`, role: "img", "aria-label": sayNow("Share right by number of labels"), class: "curve" });
  picture.append(svg("path", { class: "plot-line", d: `M${LEFT} 10H${WIDTH}M${LEFT} ${HEIGHT - 10}H${WIDTH}` }));
  picture.append(words(LEFT - 6, 15, "100 %", "end"), words(LEFT - 6, HEIGHT - 5, `${number(100 * bottom)} %`, "end"));
  picture.append(svg("path", { class: "learnt", d: `M${points.filter(({ hoped }) => !hoped).map(({ count, share }) => `${x(count)} ${y(share)}`).join("L")}` }));
  for (const { count, share, low, high, hoped } of points) {
    const kind = hoped ? "hoped" : "learnt";
    picture.append(
      svg("path", { class: kind, d: `M${x(count)} ${y(low)}V${y(high)}` }),
      svg("circle", { class: `${kind} dot`, cx: x(count), cy: y(share), r: 4 }, svg("title", {}, `${number(count)}: ${number(100 * share, 1)} % (${number(100 * low, 1)}–${number(100 * Math.min(1, high), 1)} %)`)),
      words(x(count), HEIGHT + 12, number(count), "middle"),
    );
  }
  return picture;
}
