"use strict";
// Sorting, filters, permalinks and drill-down. The page is complete without this; every text goes
// into the page as text, never as markup.

const root = document.documentElement;
const $ = (id) => document.getElementById(id);
const empty = (text) => text === null || text === undefined || text === "";

function el(name, options, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(options || {})) {
    if (key === "class") node.className = value;
    else if (key === "text") node.textContent = value;
    else node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

// The state of the page is its address after #, so that a copied address shows the same.
const state = {
  read() {
    const hash = location.hash.slice(1);
    return new URLSearchParams(hash.includes("=") ? hash : "");
  },
  get(key) { return this.read().get(key) || ""; },
  set(key, value) {
    const all = this.read();
    if (empty(value)) all.delete(key);
    else all.set(key, value);
    all.sort();
    history.replaceState(null, "", "#" + all.toString());
  },
};

const appliers = [];
const apply = () => appliers.forEach((one) => one());

// ---- dark and light
function theme() {
  const asked = state.get("theme");
  if (asked === "dark" || asked === "light") root.dataset.theme = asked;
  else delete root.dataset.theme;
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  $("theme").textContent = dark ? "Light" : "Dark";
}
$("theme").addEventListener("click", () => {
  state.set("theme", $("theme").textContent.toLowerCase());
  theme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", theme);
appliers.push(theme);

// ---- sorting: stable, in both directions, what is missing last
function order(values, down) {
  const at = values.map((_, i) => i);
  const gone = values.map(empty);
  const number = values.every((v, i) => gone[i] || typeof v === "number");
  const compare = number
    ? (a, b) => values[a] - values[b]
    : (a, b) => String(values[a]).localeCompare(String(values[b]), "en", { numeric: true });
  return at.sort((a, b) => {
    if (gone[a] || gone[b]) return gone[a] - gone[b] || a - b;
    return (down ? compare(b, a) : compare(a, b)) || a - b;
  });
}

function heads(table, onSort) {
  table.querySelectorAll("th[data-sort]").forEach((th) => {
    const button = el("button", { type: "button", text: th.textContent });
    th.replaceChildren(button);
    button.addEventListener("click", () => {
      const now = th.getAttribute("aria-sort");
      const other = { ascending: "descending", descending: "ascending" };
      onSort(th, now ? other[now] : th.dataset.first);
    });
  });
}

function mark(table, th, direction) {
  table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
  if (th) th.setAttribute("aria-sort", direction);
}

document.querySelectorAll("table.sortable").forEach((table) => {
  const bodies = [...table.tBodies].map((body) => [body, [...body.rows]]);
  const value = (row, at, kind) => {
    const cell = row.cells[at];
    const text = cell.dataset.v ?? cell.textContent.trim();
    return kind === "number" ? (text === "" || isNaN(text) ? "" : Number(text)) : text;
  };
  const show = (th, direction) => {
    mark(table, th, direction);
    for (const [body, rows] of bodies) {
      const moving = rows.filter((row) => !row.classList.contains("sep"));
      const values = th ? moving.map((row) => value(row, th.cellIndex, th.dataset.sort)) : [];
      const sorted = th ? order(values, direction === "descending").map((i) => moving[i]) : moving;
      body.append(...rows.filter((row) => row.classList.contains("sep")), ...sorted);
    }
  };
  const key = "sort." + table.id;
  heads(table, (th, direction) => {
    state.set(key, `${th.cellIndex}.${direction}`);
    show(th, direction);
  });
  appliers.push(() => {
    const [at, direction] = state.get(key).split(".");
    const th = table.tHead.rows[0].cells[at];
    const good = th && th.dataset.sort && ["ascending", "descending"].includes(direction);
    show(good ? th : null, direction);
  });
});

// ---- copying and files
document.querySelectorAll("[data-copy]").forEach((button) => {
  button.addEventListener("click", async () => {
    const source = $(button.dataset.copy);
    const range = document.createRange();
    range.selectNodeContents(source);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    const said = button.textContent;
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Selected: copy it with your keyboard"; // no clipboard here
    }
    setTimeout(() => { button.textContent = said; }, 2500);
  });
});

function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// A text that a spreadsheet would run as a formula gets an apostrophe, as in `sightline export`.
function csv(rows) {
  const cell = (value) => {
    let text = empty(value) ? "" : String(value);
    if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = "'" + text;
    return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  };
  const names = [...new Set(rows.flatMap(Object.keys))];
  return [names, ...rows.map((row) => names.map((name) => row[name]))]
    .map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}

// ---- single answers (reports)
function answers(data) {
  const HEIGHT = 32;
  const EXTRA = 12;
  const paired = data.rows.some((row) => row.b);
  const body = $("rows").tBodies[0];
  const box = $("window");
  const asked = (row) => (row.q[row.q.length - 1] || "").split("\n").find((line) => line.trim())
    || row.im.join(", ");
  const said = (one) => one.j ? one.x : one.p ?? one.x; // what a judge decided is no answer
  const columns = [
    ["kind", "k", (row) => row.k],
    ["id", "id", (row) => row.id],
    ["question", "q", asked],
    ["right answer", "t", (row) => row.t],
    ...(paired ? [["baseline", "t", (row) => row.b && said(row.b)]] : []),
    [paired ? "this run" : "answer", "t", (row) => said(row.a)],
    ...(data.rows.some((row) => !empty(row.jg)) ? [["judge gap", "s", (row) => row.jg]] : []),
    ["score", "s", (row) => row.b && !empty(row.b.s) && !empty(row.a.s) ? row.a.s - row.b.s : row.a.s],
  ];
  const digits = (value) => empty(value) ? "\u2013" : String(+value.toFixed(3));
  const score = (row) => (row.b ? digits(row.b.s) + " \u2192 " : "") + digits(row.a.s);
  let shown = data.rows;
  let chosen = "";
  let sorting = null;

  const line = el("tr");
  columns.forEach(([name, kind], at) => {
    const first = name === "score" || name === "judge gap" ? "descending" : "ascending";
    const th = el("th", { scope: "col", class: kind, text: name, "data-sort": "", "data-first": first });
    th.dataset.at = at;
    line.append(th);
  });
  $("rows").tHead.append(line);

  const selects = {};
  const select = (name, values) => {
    const node = el("select", { "data-facet": name }, el("option", { value: "", text: "all" }));
    values.forEach((value) => node.append(el("option", { value, text: value })));
    $("facets").append(el("label", { text: name + " " }, node));
    return node;
  };
  const collator = new Intl.Collator("en", { numeric: true });
  for (const name of data.slices) {
    const values = [...new Set(data.rows.map((row) => row.g[name]).filter((v) => !empty(v)))];
    if (values.length > 1) selects[name] = select(name, values.sort(collator.compare));
  }
  [...new Set(data.rows.map((row) => row.k))].forEach((kind) =>
    $("kind").append(el("option", { value: kind, text: kind })));

  const haystacks = new Map();
  const haystack = (row) => {
    if (!haystacks.has(row.i)) {
      const parts = [row.id, ...row.q, row.t, row.a.x, row.a.p, row.b && row.b.x, row.a.e];
      haystacks.set(row.i, parts.filter((part) => !empty(part)).join("\n").toLowerCase());
    }
    return haystacks.get(row.i);
  };

  function filter() {
    const words = $("find").value.trim().toLowerCase();
    const kind = $("kind").value;
    const facets = Object.entries(selects).filter(([, node]) => node.value);
    shown = data.rows.filter((row) =>
      (!kind || row.k === kind)
      && facets.every(([name, node]) => row.g[name] === node.value)
      && (!words || haystack(row).includes(words)));
    if (sorting) {
      const size = columns[sorting[0]][0] === "judge gap" ? (v) => empty(v) ? v : Math.abs(v) : (v) => v;
      const values = shown.map(columns[sorting[0]][2]).map(size);
      shown = order(values, sorting[1] === "descending").map((i) => shown[i]);
    }
    const all = data.rows.length.toLocaleString("en");
    $("count").textContent = `${shown.length.toLocaleString("en")} of ${all}`;
    $("rows").setAttribute("aria-rowcount", shown.length + 1);
    box.scrollTop = 0;
    draw();
  }

  const pad = (rows) => {
    const cell = el("td", { class: "pad", colspan: columns.length });
    cell.style.height = `${rows * HEIGHT}px`;
    return el("tr", { "aria-hidden": "true" }, cell);
  };

  // Only the rows in sight are in the page: ten thousand are as quick as ten.
  function draw() {
    const first = Math.max(0, Math.floor(box.scrollTop / HEIGHT) - EXTRA);
    const last = Math.min(shown.length, first + Math.ceil(Math.max(box.clientHeight, 640) / HEIGHT) + 2 * EXTRA);
    const focused = document.activeElement && document.activeElement.dataset.open;
    body.replaceChildren(pad(first), ...shown.slice(first, last).map((row, at) => {
      const tr = el("tr", { "aria-rowindex": first + at + 2 });
      if (String(row.i) === chosen) tr.className = "chosen";
      columns.forEach(([name, kind, of]) => {
        const value = of(row);
        const cell = el("td", { class: kind });
        if (name === "kind") cell.append(el("span", { class: "chip " + row.k, text: row.k }));
        else if (name === "id") {
          const open = { type: "button", "data-open": row.i, title: row.id, text: row.id };
          cell.append(el("button", open));
        }
        else if (name === "score") cell.textContent = score(row);
        else if (name === "judge gap") cell.textContent = digits(value);
        else cell.textContent = empty(value) ? "\u2013" : String(value).slice(0, 300);
        tr.append(cell);
      });
      return tr;
    }), pad(shown.length - last));
    if (focused !== undefined && focused !== null) {
      const again = body.querySelector(`[data-open="${CSS.escape(focused)}"]`);
      if (again) again.focus({ preventScroll: true });
    }
  }

  const byIndex = new Map(data.rows.map((row) => [String(row.i), row]));
  function open(index) {
    chosen = byIndex.has(index) ? index : "";
    $("detail").hidden = !chosen;
    $("list").classList.toggle("open", Boolean(chosen));
    if (chosen) {
      const close = el("button", { type: "button", class: "close", text: "Close" });
      close.addEventListener("click", () => { choose(""); box.focus(); });
      $("detail").replaceChildren(close, card(byIndex.get(chosen), data));
    }
    draw();
  }
  function choose(index) {
    state.set("answer", index);
    open(index);
  }

  function step(by) {
    const at = shown.findIndex((row) => String(row.i) === chosen);
    const next = shown[Math.min(shown.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
    if (!next) return;
    const top = shown.indexOf(next) * HEIGHT;
    if (top < box.scrollTop) box.scrollTop = top;
    if (top + 3 * HEIGHT > box.scrollTop + box.clientHeight) box.scrollTop = top + 3 * HEIGHT - box.clientHeight;
    choose(String(next.i));
  }
  box.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by) { event.preventDefault(); step(by); }
    if (event.key === "Escape") choose("");
  });
  box.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  body.addEventListener("click", (event) => {
    const button = event.target.closest("[data-open]");
    if (button) choose(button.dataset.open);
  });

  const sort = (th, direction) => {
    sorting = th ? [Number(th.dataset.at), direction] : null;
    mark($("rows"), th, direction);
  };
  heads($("rows"), (th, direction) => {
    state.set("sort", `${th.dataset.at}.${direction}`);
    sort(th, direction);
    filter();
  });
  const inputs = { find: $("find"), kind: $("kind") };
  Object.entries(selects).forEach(([name, node]) => { inputs["f." + name] = node; });
  Object.entries(inputs).forEach(([key, node]) =>
    node.addEventListener("input", () => { state.set(key, node.value); filter(); }));

  appliers.push(() => {
    Object.entries(inputs).forEach(([key, node]) => { node.value = state.get(key); });
    const [at, direction] = state.get("sort").split(".");
    const th = at === "" ? null : line.cells[at];
    sort(th && ["ascending", "descending"].includes(direction) ? th : null, direction);
    filter();
    open(state.get("answer"));
  });

  document.querySelectorAll("[data-export]").forEach((button) => {
    button.addEventListener("click", () => {
      if (button.dataset.export === "json") {
        const { schema, run, baseline } = data;
        const text = JSON.stringify({ schema, run, baseline, rows: shown }, null, 1);
        return save("answers.json", "application/json", text);
      }
      const side = (one, mark) => one ? {
        ["answer" + mark]: one.x, ["read" + mark]: one.p, ["score" + mark]: one.s, ["status" + mark]: one.st,
      } : {};
      return save("answers.csv", "text/csv", csv(shown.map((row) => ({
        id: row.id, kind: row.k, ...row.g, question: row.q.join("\n"), target: row.t,
        ...side(row.a, ""), ...side(row.b, "_baseline"),
      }))));
    });
  });
}

// The same as templates/samples.html.j2 makes.
function card(row, data) {
  const fact = (name, ...value) => [el("dt", { text: name }), el("dd", {}, ...value)];
  const soft = (text) => el("span", { class: "soft", text });
  const said = (text) => el("div", { class: "said", text });
  const side = (one, mine) => {
    const words = one.x === null ? "no answer" : row.d && mine
      ? el("div", { class: "said" }, ...row.d.filter(([kind]) => kind === 0 || kind === mine)
        .map(([kind, text]) => kind === 0 ? text : el(mine > 0 ? "ins" : "del", { text })))
      : said(one.x);
    const cut = one.n ? soft(`cut: ${one.n.toLocaleString("en")} characters in all`) : null;
    const status = soft(" " + [one.st === "scored" ? "" : one.st, one.stop].filter(Boolean).join(", "));
    return el("dl", {},
      ...fact("answered", words, cut),
      ...fact("read as", one.p === null ? "not read" : one.p),
      ...fact("score", one.s === null ? "none" : String(+one.s.toFixed(3)), status),
      ...(one.e ? fact("why", one.e) : []),
      ...(one.w ? fact("scorer", one.w) : []),
      ...(one.j || []).flatMap((line) => fact(line.swapped ? "judge, swapped" : "judge",
        (line.label || "unreadable") + (line.score === null ? "" : ` (${line.score})`), said(line.text))));
  };
  const header = el("header", {}, el("span", { class: "chip " + row.k, text: row.k }),
    ...Object.entries(row.g).map(([name, value]) => soft(`${name} ${value}`)),
    el("span", { class: "id", text: row.id }));
  const figures = [...new Set(row.im)].map((name, at) => figure(name, row, at, data));
  const choices = row.c ? fact("choices", row.c.join("; ")) : [];
  const own = row.b
    ? [el("div", { class: "two" },
      el("div", {}, el("h3", { text: "baseline" }), side(row.b, -1)),
      el("div", {}, el("h3", { text: "this run" }), side(row.a, 1)))]
    : [side(row.a, 0)];
  return el("article", { class: "card" }, header, ...figures,
    el("p", { class: "said", text: row.q.join("\n") }),
    el("dl", {}, ...fact("right answer", row.t || "\u2013"), ...choices), ...own);
}

function figure(name, row, at, data) {
  const shown = document.querySelector(`.cards img[data-name="${CSS.escape(name)}"]`);
  const [uri, width, height] = data.pictures[name]
    || (shown ? [shown.src, shown.getAttribute("width"), shown.getAttribute("height")] : []);
  const boxes = boxesOf(row, at);
  const node = el("figure", { class: "picture" });
  if (uri && uri.startsWith("data:image/webp;base64,")) {
    const frame = el("div", { class: "frame" }, el("img", { src: uri, width, height, alt: name }));
    if (boxes.length) frame.append(drawn(boxes, width, height));
    node.append(frame);
  }
  node.append(el("figcaption", { text: name }));
  if (boxes.length) {
    node.append(el("ul", { class: "tags" }, ...boxes.map(([kind, said, { box, label, iou }]) => {
      const [left, top, right, bottom] = box.map((x) => +x.toFixed(1));
      const overlap = iou === undefined ? "" : `, IoU ${iou === null ? "\u2013" : iou.toFixed(2)}`;
      return el("li", {}, key(kind), `${said}${label} (${left}, ${top}) to (${right}, ${bottom})${overlap}`);
    })));
  }
  return node;
}

// Regions of the question, then what the runs said: [kind, name, box]; as reports/_page_boxes.py.
function boxesOf(row, at) {
  const said = [row.a, row.b].some((side) => side && side.bx);
  const named = (kind, name, boxes) => (boxes || []).map((box) => [kind, name, box]);
  return [
    ...(row.r || []).map((box) => ["region", said || !box.label ? "region " : "", box]),
    ...named("b", "baseline ", row.b && row.b.bx),
    ...named("a", row.b ? "this run " : "answer ", row.a.bx),
  ].filter(([, , box]) => box.image === at);
}

function svg(name, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  Object.entries(attributes).forEach(([attribute, value]) => node.setAttribute(attribute, value));
  node.append(...children);
  return node;
}

function key(kind) {
  const line = { x1: 1, x2: 21, y1: 4, y2: 4 };
  return svg("svg", { class: "key", width: 22, height: 8, viewBox: "0 0 22 8", "aria-hidden": "true" },
    svg("line", { ...line, class: "shade" }), svg("line", { ...line, class: kind }));
}

function drawn(boxes, width, height) {
  const all = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  for (const [kind, , { box: [left, top, right, bottom], label, iou }] of boxes) {
    const place = { x: left, y: top, width: right - left, height: bottom - top };
    all.append(svg("rect", { ...place, class: "shade" }), svg("rect", { ...place, class: kind }));
    const words = empty(iou) ? label : `IoU ${iou.toFixed(2)}`;
    if (!words) continue;
    const end = kind === "b"; // each kind has a corner of its own
    const x = end ? right - width / 100 : left + width / 100;
    const y = kind === "a" ? bottom - width / 60 : top + width / 20;
    all.append(svg("text", {
      x, y, "font-size": width / 22, "stroke-width": width / 150, "text-anchor": end ? "end" : "start", class: kind,
    }, words));
  }
  return all;
}

// ---- boards: facets and column groups
function board(data) {
  const rows = [...document.querySelectorAll("tr[data-facets]")];
  const find = $("find");
  const selects = [...document.querySelectorAll("select[data-facet]")];
  const boxes = [...document.querySelectorAll("input[data-group]")];
  const facets = new Map(rows.map((row) => [row, JSON.parse(row.dataset.facets)]));
  const filter = () => {
    const words = find.value.trim().toLowerCase();
    let left = 0;
    rows.forEach((row) => {
      const mine = facets.get(row);
      row.hidden = !(selects.every((node) => !node.value || mine[node.dataset.facet] === node.value)
        && (!words || row.textContent.toLowerCase().includes(words)));
      left += !row.hidden;
    });
    $("count").textContent = `${left} of ${rows.length} rows`;
  };
  const columns = () => boxes.forEach((node) =>
    document.querySelectorAll(`.g-${node.dataset.group}`).forEach((cell) => { cell.hidden = !node.checked; }));
  find.addEventListener("input", () => { state.set("find", find.value); filter(); });
  selects.forEach((node) => node.addEventListener("input", () => {
    state.set("f." + node.dataset.facet, node.value);
    filter();
  }));
  boxes.forEach((node) => node.addEventListener("input", () => {
    state.set("show", boxes.filter((one) => one.checked).map((one) => one.dataset.group).join(" ") || "none");
    columns();
  }));
  const first = boxes.filter((one) => one.defaultChecked).map((one) => one.dataset.group);
  appliers.push(() => {
    find.value = state.get("find");
    selects.forEach((node) => { node.value = state.get("f." + node.dataset.facet); });
    const asked = state.get("show") ? state.get("show").split(" ") : first;
    boxes.forEach((node) => { node.checked = asked.includes(node.dataset.group); });
    filter();
    columns();
  });
  document.querySelectorAll("[data-export]").forEach((button) => {
    button.addEventListener("click", () => button.dataset.export === "json"
      ? save("board.json", "application/json", JSON.stringify(data, null, 1))
      : save("board.csv", "text/csv", csv(data.rows)));
  });
}

root.classList.add("scripted");
const data = JSON.parse($("data").textContent);
if ($("rows")) answers(data);
if ($("board")) board(data);
if ($("gate")) {
  document.querySelector("[data-export]").addEventListener("click", () =>
    save("gate.json", "application/json", JSON.stringify(data, null, 1)));
}
addEventListener("hashchange", apply);
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => {
  one.dataset.was = one.open;
  one.open = true;
}));
addEventListener("afterprint", () => document.querySelectorAll("details").forEach((one) => {
  one.open = one.dataset.was === "true";
}));
apply();
