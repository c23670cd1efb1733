"use strict";
/* The table of series: search, sort, filter, pages of pictures or rows, and one series in full. The data are in the
   element #series-data; flows/reporting/pages/series_json.py says what they mean. Nothing is loaded from outside. */
(() => {
const data = JSON.parse(document.getElementById("series-data").textContent);
const { steps, levels, spans, names, facts, markNames } = data;
const CARDS = 24, ROWS = 50, PRINTED = 500, SVG = "http://www.w3.org/2000/svg";
const WEEKDAYS = "Sun Mon Tue Wed Thu Fri Sat".split(" "), MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
const lower = names.map(name => name.toLocaleLowerCase());
const dayLists = data.dayLists.map(cumulated);
const middle = levels.indexOf(0.5);
const promises = spans.map(([low, high]) => `${Math.round(100 * (levels[high] - levels[low]))} %`);
const state = { text: "", mark: -1, sort: "rank", down: false, view: "cards", page: 0, step: steps.length - 1, all: false };
let found = [];

/* Numbers and days */
function cumulated(list) { let sum = 0; return list.map(step => sum += step); }
function price(i, whole) { return whole / 10 ** data.digits[i]; }
function shown(i, whole) {
  if (whole === null || whole === undefined) return "–";
  return fixed(price(i, whole), Math.max(0, data.digits[i] - 1));
}
function fixed(value, digits) {
  const options = { minimumFractionDigits: Math.min(digits, 100), maximumFractionDigits: Math.min(digits, 100) };
  return value.toLocaleString("en-US", options).replace("-", "−");
}
function signed(value, digits) {
  if (value === null) return "–";
  const rounded = Number(value.toFixed(digits)) || 0;
  return rounded > 0 ? `+${fixed(rounded, digits)}` : fixed(rounded, digits);
}
function percent(value, digits) { return `${signed(value, digits)}\u00a0%`; }
function day(number, long) {
  const when = new Date(number * 864e5);
  const text = `${WEEKDAYS[when.getUTCDay()]} ${when.getUTCDate()} ${MONTHS[when.getUTCMonth()]}`;
  return long ? `${text} ${when.getUTCFullYear()}` : text;
}
function past(i) { return cumulated(data.past[i]); }
function ahead(i, level) {
  const list = data.forecast[i];
  return list && steps.map((_, at) => data.last[i] + list[at * levels.length + level]);
}

/* Elements: text is always text, never markup */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element && name !== "list") element[name] = value; else element.setAttribute(name, value);
  }
  element.append(...children.filter(child => child !== null));
  return element;
}
function draw(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
function nameOf(i) { return make("button", { type: "button", className: "name open", dir: "auto", onclick: () => open(i) }, names[i]); }

/* A fan: prices, then median and intervals */
function fan(i, width, height, left = 3, bottom = 3, right = 3, top = 3) {
  const before = past(i), list = data.forecast[i], values = [...before];
  if (list) for (const delta of list) values.push(data.last[i] + delta);
  let low = Math.min(...values), high = Math.max(...values);
  const flat = !(high > low), total = Math.max(1, before.length - 1 + (list ? steps[steps.length - 1] : 0));
  const x = at => left + (width - left - right) * at / total;
  const y = value => height - bottom - (height - top - bottom) * (flat ? 0.5 : (value - low) / (high - low));
  const path = points => points.map(([at, value]) => `${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("L");
  const svg = draw("svg", { class: "fan", viewBox: `0 0 ${width} ${height}` });
  const here = before.length - 1;
  if (list) {
    const along = level => [[here, data.last[i]], ...ahead(i, level).map((value, at) => [here + steps[at], value])];
    for (const [from, to] of spans) {
      svg.append(draw("path", { class: "band", d: `M${path(along(to))}L${path(along(from).reverse())}Z` }));
    }
    svg.append(draw("path", { class: "past", d: `M${path(before.map((value, at) => [at, value]))}` }));
    svg.append(draw("path", { class: "median", d: `M${path(along(middle))}` }));
  } else if (before.length) {
    svg.append(draw("path", { class: "past", d: `M${path(before.map((value, at) => [at, value]))}` }));
  }
  return { svg, x, y, low, high, flat, here };
}
function small(i) {
  const { svg } = fan(i, 160, 56);
  svg.setAttribute("aria-hidden", "true");
  return svg;
}

/* What is chosen */
const KEYS = {
  rank: i => data.rank[i], name: i => lower[i], last: i => data.last[i] === null ? null : price(i, data.last[i]),
  moved: i => facts.moved[i], width: i => facts.width[i], ratio: i => facts.ratio[i], skill: i => facts.skill[i],
  coverage: i => facts.coverage[i],
};
const LABELS = {
  rank: "Worth a look", name: "Name", moved: "Last move", width: "Width", ratio: "Width against usual",
  skill: "Live skill", coverage: "Live coverage",
};
function choose() {
  const words = state.text.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  found = [];
  for (let i = 0; i < names.length; i++) {
    if (state.mark >= 0 && !data.marks[i].includes(state.mark)) continue;
    if (words.every(word => lower[i].includes(word))) found.push(i);
  }
  const key = KEYS[state.sort], sign = state.down ? -1 : 1;
  const keys = new Map(found.map(i => [i, key(i)]));
  found.sort((a, b) => {
    const one = keys.get(a), two = keys.get(b);
    if (one === two) return a - b;
    if (one === null || two === null) return one === null ? 1 : -1; /* the unknown last, in both directions */
    return (one < two ? -1 : 1) * sign;
  });
}

/* The tools above the list */
const status = make("p", { className: "quiet", role: "status" });
const search = make("input", { type: "search", id: "search", autocomplete: "off", spellcheck: false,
  oninput: () => { state.text = search.value; refresh(); } });
const sorts = make("select", { id: "sort", onchange: () => sortBy(sorts.value, !["rank", "name"].includes(sorts.value)) },
  ...Object.entries(LABELS).map(([value, label]) => make("option", { value }, label)));
const stepped = make("select", { id: "step", onchange: () => { state.step = Number(stepped.value); refresh(true); } },
  ...steps.map((step, at) => make("option", { value: at, selected: at === state.step }, `${step} ahead`)));
const marks = make("div", { className: "chips", role: "group", "aria-label": "Filter" });
const views = make("div", { className: "chips", role: "group", "aria-label": "View" });
const pager = make("nav", { className: "pager", "aria-label": "Pages of series" });
function chip(label, pressed, onclick) {
  return make("button", { type: "button", className: "chip", onclick, "aria-pressed": String(pressed) }, label);
}
function drawChips() {
  const counts = markNames.map((_, mark) => data.marks.reduce((sum, own) => sum + own.includes(mark), 0));
  const set = mark => () => { state.mark = mark; refresh(); };
  const everything = chip(`all ${names.length.toLocaleString("en-US")}`, state.mark < 0, set(-1));
  marks.replaceChildren(everything, ...markNames.map((label, mark) =>
    chip(`${label} ${counts[mark].toLocaleString("en-US")}`, state.mark === mark, set(mark))));
  const show = view => () => { state.view = view; refresh(); };
  views.replaceChildren(chip("Pictures", state.view === "cards", show("cards")), chip("Table", state.view === "rows", show("rows")));
}
function sortBy(key, down) { state.sort = key; state.down = down; refresh(); }

/* The list, as pictures and as a table */
const cards = document.getElementById("cards"), rows = document.getElementById("rows");
function card(i) {
  const list = data.forecast[i];
  const at = steps.length - 1, end = level => list && data.last[i] + list[at * levels.length + level];
  const interval = spans.length && list ? make("small", {}, `${shown(i, end(spans[0][0]))} – ${shown(i, end(spans[0][1]))}`) : null;
  const about = data.marks[i].map(mark => markNames[mark]).filter(mark => !mark.endsWith("than usual"));
  if (facts.ratio[i] !== null) about.unshift(`width ${percent(facts.ratio[i], 0)}`);
  return make("li", {}, make("h3", {}, nameOf(i)), small(i),
    make("p", {}, shown(i, data.last[i]), interval), make("p", { className: "quiet" }, about.join(", ")));
}
const COLUMNS = [
  ["name", "Series"], [null, "Forecast"], ["last", "Last price"], ["moved", "Move, %"], [null, "Median"],
  [null, spans.length ? `${promises[0]} interval` : null], ["width", "Width, %"], ["ratio", "To usual, %"],
  ["skill", "Live skill, %"], ["coverage", "Coverage, %"], [null, "Marks"],
].filter(([, label]) => label);
const ROWS_LEGEND = `Median${spans.length ? " and interval" : ""}: of the session chosen above. Move: the last price against the one before. `
  + "Width: the outermost interval of the last session, in % of the last price. To usual: the width against its median of 60 days. "
  + "Live skill and coverage: of all forecasts issued in time.";
function headCell([key, label]) {
  const className = label === "Marks" ? "text" : "";
  if (key === null || state.all) return make("th", { scope: "col", className }, label); /* printers repeat text only */
  const is = state.sort === key;
  const head = make("th", { scope: "col", "aria-sort": is ? (state.down ? "descending" : "ascending") : "none" });
  head.append(make("button", { type: "button", className: "sorter",
    onclick: () => { sortBy(key, is ? !state.down : !["rank", "name"].includes(key)); rows.querySelector(`[data-key=${key}]`)?.focus(); },
    "data-key": key }, label, make("span", { "aria-hidden": "true" }, is ? (state.down ? " ↓" : " ↑") : "")));
  return head;
}
function row(i) {
  const list = data.forecast[i], at = state.step;
  const value = level => list ? data.last[i] + list[at * levels.length + level] : null;
  const cell = text => make("td", {}, text);
  const marked = make("td", { className: "text" }, data.marks[i].map(mark => markNames[mark]).join(", "));
  if (data.reason[i] >= 0) marked.append(make("small", {}, data.reasons[data.reason[i]]));
  return make("tr", {}, make("th", { scope: "row" }, nameOf(i)), make("td", { className: "spark" }, small(i)),
    cell(shown(i, data.last[i])), cell(signed(facts.moved[i], 2)), cell(shown(i, value(middle))),
    spans.length ? cell(list ? `${shown(i, value(spans[0][0]))} – ${shown(i, value(spans[0][1]))}` : "–") : null,
    cell(facts.width[i] === null ? "–" : fixed(facts.width[i], 2)), cell(signed(facts.ratio[i], 0)),
    cell(signed(facts.skill[i], 1)), cell(facts.coverage[i] === null ? "–" : fixed(facts.coverage[i], 1)), marked);
}
function refresh(stay = false) {
  if (!stay) state.page = 0;
  choose();
  const isCards = state.view === "cards", most = state.all ? PRINTED : isCards ? CARDS : ROWS;
  const last = Math.max(0, Math.ceil(found.length / most) - 1);
  state.page = Math.min(state.page, last);
  const first = state.page * most, here = found.slice(first, first + most);
  drawChips();
  sorts.value = state.sort in LABELS ? state.sort : "";
  cards.hidden = !isCards && !state.all;
  rows.hidden = isCards && !state.all;
  stepped.parentElement.hidden = isCards;
  document.getElementById("cards-legend").hidden = cards.hidden;
  cards.replaceChildren(...(cards.hidden ? [] : here.slice(0, CARDS).map(card)));
  rows.replaceChildren(...(rows.hidden ? [] : [make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Series" },
    make("table", { className: "series-table" }, make("thead", {}, make("tr", {}, ...COLUMNS.map(headCell))),
      make("tbody", {}, ...here.map(row)))), make("p", { className: "quiet" }, ROWS_LEGEND)]));
  const count = found.length.toLocaleString("en-US");
  status.textContent = found.length === 0 ? "No series matches. Change the search or the filter."
    : `${(first + 1).toLocaleString("en-US")} – ${(first + here.length).toLocaleString("en-US")} of ${count} series`;
  const turn = by => () => { state.page += by; refresh(true); document.getElementById("series").scrollIntoView(); };
  pager.hidden = last === 0;
  pager.replaceChildren(
    make("button", { type: "button", className: "chip", disabled: state.page === 0, onclick: turn(-1) }, "← Previous"),
    make("span", {}, `Page ${state.page + 1} of ${(last + 1).toLocaleString("en-US")}`),
    make("button", { type: "button", className: "chip", disabled: state.page === last, onclick: turn(1) }, "Next →"));
}

/* One series in full */
const dialog = make("dialog", { id: "series-dialog", "aria-labelledby": "dialog-name", onclose: () => {
  if (location.hash.startsWith("#series=")) history.replaceState(null, "", location.pathname + location.search);
} });
function ticks(low, high, most) {
  const rough = (high - low) / most, ten = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 5, 10].map(by => by * ten).find(by => by >= rough), marks = [];
  for (let at = Math.ceil(low / size); at * size <= high; at++) marks.push(at * size);
  return marks;
}
function large(i) {
  const width = 640, height = 300, left = 76, bottom = 30;
  const { svg, x, y, low, high, flat, here } = fan(i, width, height, left, bottom, 12, 10);
  const grid = draw("g", { class: "grid" });
  const marks = flat ? [low] : ticks(price(i, low), price(i, high), 5).map(value => value * 10 ** data.digits[i]);
  const size = marks.length > 1 ? price(i, marks[1] - marks[0]) : 0;
  const digits = size > 0 ? Math.max(0, -Math.floor(Math.log10(size) + 1e-9)) : Math.max(0, data.digits[i] - 1);
  for (const value of marks) {
    grid.append(draw("path", { d: `M${left} ${y(value).toFixed(1)}H${width - 12}` }),
      draw("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, fixed(price(i, value), digits)));
  }
  const before = dayLists[data.pastDays[i]] || [], after = data.ahead[i] < 0 ? [] : dayLists[data.ahead[i]];
  const points = [[0, before[0], "start"], [here, before[here], after.length ? "end" : "end"]];
  if (after.length) points.push([here + steps[steps.length - 1], after[after.length - 1], "end"]);
  points.forEach(([at, when, anchor], place) => {
    const near = place === 1 && after.length && x(points[2][0]) - x(here) < 110;
    if (when !== undefined && !near) grid.append(draw("text", { x: x(at), y: height - 8, "text-anchor": anchor }, day(when, place === 0)));
  });
  if (after.length) grid.append(draw("path", { class: "now", d: `M${x(here).toFixed(1)} 10V${height - bottom}` }));
  svg.prepend(grid);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `Prices and forecast of ${names[i]}; the table below has the numbers.`);
  return svg;
}
function numbers(i) {
  if (!data.forecast[i]) return make("p", {}, `Not forecast: ${data.reasons[data.reason[i]] || "no reason is stored"}.`);
  const wanted = [...new Set([...spans.map(([low]) => low), middle, ...spans.map(([, high]) => high)])].sort((a, b) => a - b);
  const days = dayLists[data.ahead[i]];
  const label = level => level === middle ? "Median" : `${Number((100 * levels[level]).toFixed(2))} %`;
  const lines = steps.map((step, at) => make("tr", {}, make("th", { scope: "row" }, day(days[at]), make("small", {}, `${step} ahead`)),
    ...wanted.map(level => make("td", {}, shown(i, data.last[i] + data.forecast[i][at * levels.length + level])))));
  return make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Quantiles" }, make("table", {},
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Session"), ...wanted.map(level => make("th", { scope: "col" }, label(level))))),
    make("tbody", {}, ...lines)));
}
function sentences(i) {
  const all = [`Last price ${shown(i, data.last[i])}` + (dayLists[data.pastDays[i]] ? ` of ${day(dayLists[data.pastDays[i]].at(-1))}` : "")
    + (facts.moved[i] === null ? "." : `, ${percent(facts.moved[i], 2)} since the price before.`)];
  if (facts.ratio[i] !== null) {
    const part = (name, at) => `${name} ${percent(facts.parts[i][at], 0)}`;
    const parts = facts.parts[i] ? `: ${part("volatility", 0)}, ${part("network", 1)}, ${part("calibration", 2)}` : "";
    all.push(`Width ${percent(facts.ratio[i], 0)} against usual${parts}.`);
  }
  if (facts.skill[i] !== null) all.push(`Live skill ${percent(facts.skill[i], 1)}, coverage ${facts.coverage[i] === null ? "–" : fixed(facts.coverage[i], 1)}\u00a0%.`);
  if (data.marks[i].length) all.push(`Marks: ${data.marks[i].map(mark => markNames[mark]).join(", ")}.`);
  return all.join(" ");
}
function open(i) {
  const place = found.indexOf(i);
  const go = by => make("button", { type: "button", className: "chip", disabled: !(place + by in found) || place < 0,
    onclick: () => { open(found[place + by]); } }, by < 0 ? "← Previous" : "Next →");
  const close = make("button", { type: "button", className: "chip", onclick: () => dialog.close() }, "Close");
  const legend = spans.length ? `Shaded: ${[...promises].reverse().join(" and ")} interval. ` : "";
  dialog.replaceChildren(make("h2", { id: "dialog-name", className: "name", dir: "auto" }, names[i]),
    make("p", { className: "chips" }, go(-1), go(1), close), large(i),
    make("p", { className: "quiet" }, `Price, session by session. Thin line: the newest prices. Blue: the median. ${legend}`),
    make("p", {}, sentences(i)), numbers(i));
  if (!dialog.open) dialog.showModal();
  close.focus();
  history.replaceState(null, "", `#series=${encodeURIComponent(names[i])}`);
}
function openFromAddress() {
  if (!location.hash.startsWith("#series=")) return;
  let wanted = "";
  try { wanted = decodeURIComponent(location.hash.slice(8)); } catch { return; }
  const i = names.indexOf(wanted);
  if (i >= 0) open(i);
}

/* Begin; print what is chosen, and not one page of it */
const field = (label, control) => make("label", { className: "field" }, make("span", {}, label), control);
const tools = document.getElementById("series-tools");
tools.append(make("div", { className: "fields" }, field("Search", search), field("Sort by", sorts), field("Session", stepped),
  make("div", { className: "field" }, make("span", {}, "Show"), views)), marks, status);
tools.hidden = false;
rows.after(pager);
document.body.append(dialog);
document.getElementById("series-about").textContent =
  "Worth a look first: in a finding of the watch, outside the interval of the session before, or with an unusual width. A name opens its series.";
let opened = [], pageBefore = 0;
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")].filter(part => part.querySelectorAll("tr").length <= ROWS);
  for (const part of opened) part.open = true;
  pageBefore = state.page;
  state.all = true;
  refresh();
});
addEventListener("afterprint", () => {
  for (const part of opened) part.open = false;
  state.all = false;
  state.page = pageBefore;
  refresh(true);
});
addEventListener("hashchange", openFromAddress);
refresh();
openFromAddress();
})();
