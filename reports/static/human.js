// The script of a form: shows one item at a time, keeps what was said in this browser, writes the
// answers into a file. All texts are put in as text; nothing is asked of any network.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const names = data.criteria.map((one) => one.name);
  const pair = data.kind === "pairwise";
  const values = (one) => pair ? ["left", "tie", "right"] : one.options.map((_, i) => i + 1);
  const keys = new Set(data.items.map((item) => item.key));
  const place = `sightline-human ${data.batch} ${data.annotator} ${data.form}`;
  const colours = ["#b0125b", "#0a55a6", "#7a4a00", "#00695c", "#5e35b1", "#b71c1c", "#33691e", "#37474f"];
  let at = 0, now = 0, since = null, kept = true;

  const state = (() => {
    const found = Object.create(null);
    let old = {};
    try { old = JSON.parse(localStorage.getItem(place)) || {}; } catch { kept = false; }
    for (const key of keys) {
      const one = Object.hasOwn(old, key) && old[key] ? old[key] : {};
      const picks = Object.create(null);
      for (const criterion of data.criteria) {
        const said = one.picks && Object.hasOwn(one.picks, criterion.name) ? one.picks[criterion.name] : null;
        if (values(criterion).includes(said)) picks[criterion.name] = said;
      }
      found[key] = {
        picks, unclear: one.unclear === true, note: String(one.note || "").slice(0, 500),
        seconds: Number.isFinite(one.seconds) && one.seconds > 0 ? one.seconds : 0,
      };
    }
    return found;
  })();

  const save = () => {
    try { localStorage.setItem(place, JSON.stringify(state)); kept = true; } catch { kept = false; }
  };
  const item = () => data.items[at];
  const mine = () => state[item().key];
  const rejected = (one, picks) => one.follows !== "" && picks[one.follows] === 1;
  const done = (key) => state[key].unclear || names.every((name) => name in state[key].picks);
  const make = (tag, text, cls) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (cls) node.className = cls;
    return node;
  };
  const draw = (tag, attributes, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };

  // Time counts only while the page is looked at.
  const tick = () => {
    if (since !== null) mine().seconds = Math.round((mine().seconds + (performance.now() - since) / 1000) * 10) / 10;
    since = document.visibilityState === "visible" ? performance.now() : null;
  };

  const figure = (index, which) => {
    const node = make("figure");
    if (index < 0) { node.append(make("figcaption", "This picture was left out.")); return node; }
    const [uri, width, height] = data.pictures[index];
    const picture = make("img");
    picture.src = uri;
    picture.alt = `picture ${which + 1}`;
    const over = draw("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none" });
    const size = Math.max(width, height) / 32;
    item().r.filter((region) => region.image === which).forEach((region, i) => {
      const [x, y, right, bottom] = region.box;
      const box = { x, y, width: Math.max(0, right - x), height: Math.max(0, bottom - y) };
      const colour = colours[i % colours.length];
      over.append(draw("rect", { ...box, class: "under" }), draw("rect", { ...box, class: "over", stroke: colour }));
      over.append(draw("text", {
        x: Math.min(x + size / 4, width - size), y: Math.max(y + size * 1.1, size),
        "font-size": size, "stroke-width": size / 5, fill: colour,
      }, region.label));
    });
    node.append(picture, over);
    return node;
  };

  const show = () => {
    const one = item();
    $("pictures").replaceChildren(...one.p.map(figure));
    $("main").classList.toggle("bare", one.p.length === 0);
    $("question").textContent = one.q;
    $("texts").className = pair ? "pair" : "";
    $("texts").replaceChildren(...one.t.map(([heading, text], i) => {
      const box = make("div");
      const title = pair ? ["Left", "Right"][i] : heading;
      box.append(make("h2", title), make("div", text.trim() === "" ? "(an empty answer)" : text, "said"));
      return box;
    }));
    $("unclear").checked = mine().unclear;
    $("note").value = mine().note;
    now = nextOpen();
    lines();
    count();
  };

  const lines = () => {
    const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.pick : "";
    $("criteria").replaceChildren(...data.criteria.map((one, i) => {
      const box = make("fieldset", undefined, i === now && !mine().unclear ? "now" : "");
      const auto = rejected(one, mine().picks);
      box.disabled = mine().unclear || auto;
      box.append(make("legend", one.question));
      values(one).forEach((value, j) => {
        const label = make("label"), input = make("input");
        input.type = "radio";
        input.name = one.name;
        input.value = value;
        input.dataset.pick = `${one.name} ${value}`;
        input.checked = mine().picks[one.name] === value;
        input.addEventListener("change", () => pick(i, value));
        label.append(input, ` ${one.options[j]} `, make("kbd", String(j + 1)));
        box.append(label);
      });
      return box;
    }));
    const again = [...$("criteria").querySelectorAll("input")].find((node) => node.dataset.pick === focused);
    if (again && focused) again.focus({ preventScroll: true });
  };

  const count = () => {
    const ready = data.items.filter((one) => done(one.key)).length;
    $("place").textContent = `Item ${at + 1} of ${data.items.length}${done(item().key) ? ", done" : ""}`;
    $("progress").textContent = `${ready} of ${data.items.length} done`
      + (kept ? "" : " · this browser keeps nothing: download before you close the page");
    $("download").textContent = `Download answers (${ready} of ${data.items.length})`;
    $("download").classList.toggle("done", ready === data.items.length);
  };

  const pick = (i, value) => {
    const picks = mine().picks, before = picks[names[i]];
    picks[names[i]] = value;
    for (const one of data.criteria) {
      if (one.follows !== names[i]) continue;
      if (value === 1) picks[one.name] = 1;
      else if (before === 1) delete picks[one.name];
    }
    now = nextOpen();
    tick();
    save();
    lines();
    count();
  };

  const go = (to) => {
    tick();
    save();
    at = Math.min(Math.max(to, 0), data.items.length - 1);
    show();
    scrollTo(0, 0);
  };
  const nextOpen = () => names.findIndex((name) => !(name in mine().picks));
  const firstOpen = () => data.items.findIndex((one) => !done(one.key));

  const download = () => {
    tick();
    save();
    const answers = data.items.filter((one) => {
      const said = state[one.key];
      return said.unclear || said.note || Object.keys(said.picks).length > 0;
    }).map((one) => ({ key: one.key, ...state[one.key] }));
    const file = {
      schema: "sightline.human-answers/1", batch: data.batch, annotator: data.annotator, form: data.form, answers,
    };
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(file, null, 1) + "\n"], { type: "application/json" }));
    link.download = `answers-${data.batch}-${data.annotator}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  $("back").addEventListener("click", () => go(at - 1));
  $("next").addEventListener("click", () => go(at + 1));
  $("open").addEventListener("click", () => { if (firstOpen() >= 0) go(firstOpen()); });
  $("download").addEventListener("click", download);
  $("criteria").addEventListener("submit", (event) => event.preventDefault());
  $("unclear").addEventListener("change", () => {
    mine().unclear = $("unclear").checked;
    save();
    lines();
    count();
  });
  $("note").addEventListener("input", () => { mine().note = $("note").value.slice(0, 500); save(); });
  document.addEventListener("visibilitychange", () => { tick(); save(); });
  addEventListener("pagehide", () => { tick(); save(); });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const typing = event.target.id === "note";
    const button = ["BUTTON", "SUMMARY"].includes(event.target.tagName);
    if (event.key === "Enter" && !button) {
      event.preventDefault();
      if (done(item().key)) go(at + 1);
      return;
    }
    if (typing) return;
    if (event.key === "b") {
      go(at - 1);
    } else if (["ArrowUp", "ArrowDown"].includes(event.key) && event.target.type !== "radio") {
      event.preventDefault();  // a radio button has arrow keys of its own
      const step = event.key === "ArrowUp" ? -1 : 1, many = names.length;
      now = now < 0 ? (step > 0 ? 0 : many - 1) : (now + step + many) % many;
      lines();
    } else if (event.key === "u") {
      $("unclear").click();
    } else if (/^[1-9]$/.test(event.key) && !mine().unclear && now >= 0) {
      if (rejected(data.criteria[now], mine().picks)) return;
      const offered = values(data.criteria[now]);
      const value = offered[Number(event.key) - 1];
      if (value !== undefined) pick(now, value);
    }
  });

  $("main").hidden = false;
  $("download").hidden = false;
  at = Math.max(0, firstOpen());
  since = document.visibilityState === "visible" ? performance.now() : null;
  show();
})();
