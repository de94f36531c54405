"use strict";
// Draws the charts of report.html from the numbers in #data, and lets tables be sorted. Without it the tables remain.
(() => {
  const root = document.documentElement;
  const data = JSON.parse(document.getElementById("data").textContent);
  const plots = [...document.querySelectorAll(".plot")];
  const narrow = 560; // pixels
  let unit = "documents";
  let logCounts = false;
  root.classList.add("js");

  // What plotly.js shows it reads as HTML of a kind: values must stand there literally.
  const plain = (text) => String(text ?? "none").replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const brief = (text, most) => {
    const whole = String(text ?? "none").replace(/\s+/g, " ");
    const points = [...whole];
    return plain(points.length > most ? points.slice(0, most - 1).join("") + "…" : whole);
  };
  const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
  const count = (value) => value.toLocaleString("en");
  const percent = (share) => (100 * share).toFixed(1) + " %";
  const metric = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
  const compact = (value) => metric.format(value).replace("K", "k");
  const size = (value) => (Math.abs(value) < 1e5 ? count(value) : compact(value));
  const dark = () => root.dataset.theme === "dark";
  const colour = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();
  const faded = (hex, alpha) => hex + Math.round(alpha * 255).toString(16).padStart(2, "0");

  function base(height) {
    return {
      height, dragmode: false, autosize: true, showlegend: false, barmode: "overlay", bargap: 0.25,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 8, r: 16, t: 8, b: 36 },
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("ink") },
      hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("line"), font: { color: colour("ink") }, align: "left" },
    };
  }
  const axis = (more) => ({
    fixedrange: true, zeroline: false, gridcolor: colour("line"), linecolor: colour("line"), tickcolor: colour("line"),
    tickfont: { color: colour("muted"), size: 11 }, ...more,
    title: { font: { color: colour("muted"), size: 11 }, ...(more.title || {}) },
  });
  const labels = (names, width) => ({
    ...axis({ showgrid: false, automargin: true, autorange: "reversed", tickmode: "array" }),
    tickvals: names.map((_, k) => k), ticktext: names.map((name) => brief(name, width < narrow ? 22 : 44)),
    tickfont: { color: colour("ink"), size: 12 },
  });

  // One function a chart: from its width to traces, a layout and a height.
  function flow(width) {
    const most = width < 820 ? 0 : 6; // reasons of a stage that have a branch of their own
    const nodes = [], links = { source: [], target: [], value: [], color: [], customdata: [] };
    const node = (label, value, tone) => nodes.push({
      label: tone === "dropped" ? `${plain(label)}  ${most ? "" : "−"}${size(value)}` : `${plain(label)}<br>${size(value)}`, full: `${plain(label || "dropped")}: ${count(value)} ${unit}`, tone,
    }) - 1;
    const link = (source, target, value, tone) => {
      if (!value) return;
      links.source.push(source); links.target.push(target); links.value.push(value);
      links.color.push(faded(colour(tone), dark() ? 0.4 : 0.3)); links.customdata.push(count(value));
    };
    let before = null;
    const bare = (stage) => !stage.cut && !stage.written && !Object.keys(stage.dropped).length;
    data.flow.filter((stage) => most || !bare(stage)).forEach((stage) => {
      const here = node(stage.stage, stage[`${unit}_in`], "muted");
      if (before !== null) link(before, here, stage[`${unit}_in`], "kept");
      if (stage.written?.[unit]) link(node("written", stage.written[unit], "written"), here, stage.written[unit], "written");
      const gone = Object.entries(stage.dropped).map(([reason, sizes]) => [reason, sizes[unit]]);
      if (stage.cut && unit === "tokens") gone.push(["lines cut", stage.cut.tokens]);
      const sorted = gone.filter(([, value]) => value).sort((a, b) => b[1] - a[1]);
      const rest = sorted.length > most + 1 || !most ? sorted.splice(most) : [];
      if (rest.length) sorted.push([most ? `${rest.length} more reasons` : "", rest.reduce((sum, [, value]) => sum + value, 0)]);
      sorted.forEach(([reason, value]) => link(here, node(reason, value, "dropped"), value, "dropped"));
      if (stage.written && !most) nodes[here].label = ""; // no room between two columns
      before = here;
    });
    const last = data.flow[data.flow.length - 1][`${unit}_out`];
    if (before === null) before = node("input", data.flow[0][`${unit}_in`], "muted"); // nothing was dropped
    if (last) {
      const kept = node(data.flow.some((stage) => stage.written) ? "output" : "kept", last, "kept");
      link(before, kept, last, "kept");
      if (most) { // unseen: plotly.js writes the labels of the last column to its left, over what flows there
        link(kept, node("kept", last, "kept"), last, "kept");
        Object.assign(nodes[nodes.length - 1], { label: "", tone: "paper" });
        links.color[links.color.length - 1] = "rgba(0,0,0,0)";
      }
    }
    return [[{
      type: "sankey", arrangement: "snap",
      node: {
        label: nodes.map((one) => one.label), color: nodes.map((one) => colour(one.tone)), pad: 22, align: "center",
        thickness: 12, line: { width: 0 }, customdata: nodes.map((one) => one.full), hovertemplate: "%{customdata}<extra></extra>",
      },
      link: { ...links, hovertemplate: `%{customdata} ${unit}<extra></extra>` },
      textfont: { color: colour("ink"), size: most ? 12 : 10, shadow: "none" },
    }], { margin: { l: 4, r: 4, t: 24, b: 24 } }, most ? Math.max(380, 26 * Math.min(nodes.length, 24)) : 320];
  }

  function reasons(width) {
    const rows = [...data.reasons].sort((a, b) => b[unit] - a[unit]).slice(0, 25);
    const total = data.flow[0][`${unit}_in`];
    return [[{
      type: "bar", orientation: "h", x: rows.map((row) => row[unit]), y: rows.map((_, k) => k),
      marker: { color: colour("dropped") }, text: rows.map((row) => ` ${size(row[unit])}`), textposition: "outside",
      cliponaxis: false, textfont: { color: colour("muted") },
      customdata: rows.map((row) => `${plain(row.reason)}: ${count(row[unit])} ${unit}, ${percent(row[unit] / (total || 1))} of the input`),
      hovertemplate: "%{customdata}<extra></extra>",
    }], { xaxis: axis({ title: { text: `${unit} taken away` }, rangemode: "tozero" }), margin: { l: 8, r: 56, t: 8, b: 44 },
      yaxis: labels(rows.map((row) => row.reason), width) }, 70 + 26 * rows.length];
  }

  function strata(width) {
    const names = unit === "documents" ? ["documents", "kept"] : ["tokens_in", "tokens_out"];
    const rows = data.strata.rows.slice(0, 20);
    const told = rows.map((row) => row.names.map((name) => name ?? "none").join(" · "));
    const text = rows.map((row, k) => `${plain(told[k])}: ${count(row[names[1]])} of ${count(row[names[0]])} ${unit} kept`);
    const bar = (name, tone) => ({
      type: "bar", orientation: "h", x: rows.map((row) => row[name]), y: rows.map((_, k) => k), customdata: text,
      marker: { color: colour(tone) }, hovertemplate: "%{customdata}<extra></extra>",
    });
    const labelled = bar(names[0], "all");
    labelled.text = rows.map((row) => (row[names[0]] ? ` ${percent(row[names[1]] / row[names[0]])}` : ""));
    Object.assign(labelled, { textposition: "outside", cliponaxis: false, textfont: { color: colour("muted") } });
    return [[labelled, bar(names[1], "kept")], {
      xaxis: axis({ title: { text: `${unit}, and the share that is kept` }, rangemode: "tozero" }), margin: { l: 8, r: 56, t: 8, b: 44 },
      yaxis: labels(told, width) }, 70 + 26 * rows.length];
  }

  function clusters(width) {
    const rows = data.clusters;
    return [[{
      type: "bar", x: rows.map((_, k) => k), y: rows.map((row) => row.clusters), marker: { color: colour("kept") },
      customdata: rows.map((row) => `${count(row.clusters)} clusters, ${count(row.documents)} documents`),
      hovertemplate: "%{customdata}<extra></extra>", text: rows.map((row) => size(row.clusters)),
      textposition: "outside", cliponaxis: false, textfont: { color: colour("muted") },
      width: 0.6,
    }], {
      margin: { l: 8, r: 16, t: 24, b: 44 }, width: Math.min(width, 120 + 90 * rows.length),
      xaxis: axis({ title: { text: "documents in a cluster" }, tickvals: rows.map((_, k) => k), showgrid: false,
        range: [-0.6, rows.length - 0.4],
        ticktext: rows.map((row) => (row.high > row.low ? `${compact(row.low)}–${compact(row.high)}` : count(row.low))) }),
      yaxis: axis({ title: { text: "clusters" }, type: "log", automargin: true, dtick: 1,
        range: [-0.3, Math.log10(Math.max(...rows.map((row) => row.clusters))) + 0.2] }) }, 260];
  }

  function dropped(width, place) {
    const found = data.dropped[place];
    const rows = [...found.groups].sort((a, b) => b.rate - a.rate);
    const points = (above) => {
      const some = rows.map((row, k) => [row, k]).filter(([row]) => row.above === above);
      const tone = colour(above ? "dropped" : "kept");
      return {
        type: "scatter", mode: "markers", x: some.map(([row]) => row.rate), y: some.map(([, k]) => k), cliponaxis: false,
        marker: { color: tone, size: 9, symbol: above ? "triangle-up" : "circle" },
        error_x: { type: "data", symmetric: false, color: tone, thickness: 2, width: 3,
          array: some.map(([row]) => row.high - row.rate), arrayminus: some.map(([row]) => row.rate - row.low) },
        customdata: some.map(([row]) => `${plain(row.name)}: ${percent(row.rate)} of ${count(row.documents)} dropped<br>` +
          `95 % interval ${percent(row.low)} to ${percent(row.high)}` + (row.reason ? `<br>most of it by ${plain(row.reason)}` : "")),
        hovertemplate: "%{customdata}<extra></extra>",
      };
    };
    return [[points(false), points(true)], {
      xaxis: axis({ range: [-0.01, 1.01], tickformat: ".0%", title: { text: "share of documents dropped" } }),
      yaxis: { ...labels(rows.map((row) => row.name), width), range: [rows.length - 0.5, -0.5], autorange: false, showgrid: true },
      margin: { l: 8, r: 16, t: 8, b: 44 },
      shapes: [{ type: "line", x0: found.overall, x1: found.overall, yref: "paper", y0: 0, y1: 1, layer: "below",
        line: { color: colour("muted"), width: 1, dash: "dash" } }],
    }, 70 + 24 * rows.length];
  }

  const powers = (low, high) => {
    const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high)), steps = last - first;
    const found = [];
    for (let k = first; k <= last; k += Math.max(1, Math.ceil(steps / 5))) found.push(10 ** k);
    if (steps < 3) found.push(...found.flatMap((one) => [2 * one, 5 * one]));
    return found.filter((one) => one >= low * 0.99 && one <= high * 1.01);
  };

  function signal(width, name) {
    const found = data.signals[name];
    const log = found.scale === "log";
    const place = (value) => (log ? Math.log10(value) : value);
    const edges = found.edges.map(place);
    const starts = edges.slice(0, -1), ends = edges.slice(1);
    const step = (edges[edges.length - 1] - edges[0]) / starts.length;
    if (found.zero) {
      starts.unshift(edges[0] - 2.5 * step); ends.unshift(edges[0] - step);
    }
    const low = starts[0], high = ends[ends.length - 1];
    const bar = (values, tone) => ({
      type: "bar", x: starts.map((start, k) => (start + ends[k]) / 2), width: starts.map((start, k) => (ends[k] - start) * 0.94), y: values,
      marker: { color: colour(tone) },
      customdata: found.names.map((text, k) => `${text}<br>${count(found.all[k])} documents, ${count(found.kept[k])} kept`),
      hovertemplate: "%{customdata}<extra></extra>",
    });
    const ticks = log ? powers(found.edges[0], found.edges[found.edges.length - 1]) : null;
    const marks = found.marks.map((mark) => ({ ...mark, x: log && mark.line <= 0 ? starts[0] : place(mark.line) }))
      .filter((mark) => mark.x >= low && mark.x <= high);
    const clear = (tick) => !found.zero || place(tick) - ends[0] > (high - low) * 0.08;
    const most = Math.max(...found.all);
    return [[bar(found.all, "all"), bar(found.kept, "kept")], {
      margin: { l: 8, r: 10, t: 20, b: 26 },
      xaxis: axis({ range: [low - (high - low) * 0.02, high + (high - low) * 0.02], showgrid: false, nticks: 6, tickangle: 0,
        ...(ticks ? { tickvals: [...(found.zero ? [(starts[0] + ends[0]) / 2] : []), ...ticks.filter(clear).map(place)],
          ticktext: [...(found.zero ? ["0"] : []), ...ticks.filter(clear).map((tick) => compact(tick))] } : {}) }),
      yaxis: axis({ automargin: true, nticks: 4, type: logCounts ? "log" : "linear", tickformat: "~s",
        ...(logCounts ? { dtick: Math.max(1, Math.ceil(Math.log10(most) / 4)) } : {}),
        range: logCounts ? [-0.3, Math.log10(most) + 0.2] : [0, most * 1.06] }),
      shapes: marks.map((mark) => ({ type: "line", x0: mark.x, x1: mark.x, yref: "paper", y0: 0, y1: 1,
        line: { color: colour("mark"), width: 1.5, dash: "dash" } })),
      annotations: marks.map((mark) => ({ x: mark.x, y: 1, yref: "paper", yanchor: "bottom", showarrow: false, text: number.format(mark.at),
        font: { size: 11, color: colour("mark") } })),
    }, 200];
  }

  function quality(width) {
    const budget = data.quality[0].budget;
    const rows = data.quality.filter((row) => row.budget === budget);
    const points = (chance) => {
      const some = rows.filter((row) => row.by_chance === chance).sort((a, b) => a.tokens - b.tokens);
      const tone = colour(chance ? "muted" : "kept");
      return {
        type: "scatter", mode: chance ? "lines+markers" : "markers+text", x: some.map((row) => row.tokens), y: some.map((row) => row.retained),
        line: { color: tone, width: 1.5, dash: "dot" }, marker: { color: tone, size: chance ? 6 : 9 }, cliponaxis: false,
        error_y: { type: "data", symmetric: false, color: tone, thickness: 1, width: 3,
          array: some.map((row) => row.retained_high - row.retained), arrayminus: some.map((row) => row.retained - row.retained_low) },
        text: some.map((row) => (row.arm === "ours" || row.arm.startsWith("rung") ? plain(row.arm) : "")),
        textposition: "middle left", textfont: { color: colour("ink") },
        customdata: some.map((row) => `${plain(row.arm)}: ${row.retained.toFixed(3)} (${row.retained_low.toFixed(3)} to ${row.retained_high.toFixed(3)}) with ${count(row.tokens)} tokens`),
        hovertemplate: "%{customdata}<extra></extra>",
      };
    };
    const ticks = powers(Math.min(...rows.map((row) => row.tokens)), Math.max(...rows.map((row) => row.tokens)));
    return [[points(true), points(false)], {
      margin: { l: 8, r: 24, t: 8, b: 44 },
      xaxis: axis({ type: "log", title: { text: `tokens (dotted: random documents; matched ${budget})` }, tickvals: ticks,
        ticktext: ticks.map((tick) => compact(tick)) }),
      yaxis: axis({ title: { text: "retained" }, automargin: true }),
      shapes: [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: 1, y1: 1, layer: "below", line: { color: colour("muted"), width: 1, dash: "dash" } }],
    }, 320];
  }

  function domains(width) {
    const rows = data.domains;
    const bar = (name, tone, told) => ({
      type: "bar", orientation: "h", x: rows.map((row) => row[name]), y: rows.map((_, k) => k), marker: { color: colour(tone) },
      customdata: rows.map((row) => `${plain(row.domain)}: ${count(row[name])} tokens ${told}`), hovertemplate: "%{customdata}<extra></extra>",
    });
    const mark = (row, k) => ({ type: "line", x0: row.target_tokens, x1: row.target_tokens, y0: k - 0.42, y1: k + 0.42,
      line: { color: colour("mark"), width: 2, dash: "dash" } });
    const most = Math.max(1, ...rows.map((row) => Math.max(row.target_tokens, row.tokens + row.written + row.wanting_still)));
    return [[bar("tokens", "kept", "there"), bar("written", "written", "written"), bar("wanting_still", "all", "wanting still")], {
      barmode: "stack", xaxis: axis({ title: { text: "tokens" }, range: [0, most * 1.04] }), margin: { l: 8, r: 24, t: 8, b: 44 },
      yaxis: labels(rows.map((row) => row.domain), width), shapes: rows.map(mark),
    }, 80 + 34 * rows.length];
  }

  const charts = { flow, reasons, strata, clusters, dropped, signal, quality, domains };

  function draw(plot, width = plot.clientWidth) {
    if (!width) return; // within closed details
    const [name, ...rest] = plot.dataset.chart.split(":");
    const [traces, layout, height] = charts[name](width, rest.join(":"));
    if (name === "flow") Plotly.purge(plot); // it would move to its new place in half a second, and be printed on its way
    Plotly.react(plot, traces, { ...base(height), width, ...layout }, { displayModeBar: false, doubleClick: false });
    plot.classList.add("drawn");
    plot.dataset.width = width;
  }
  const redraw = () => plots.filter((plot) => plot.classList.contains("drawn")).forEach((plot) => draw(plot));

  const seen = new IntersectionObserver((entries) => {
    entries.filter((entry) => entry.isIntersecting).forEach((entry) => { seen.unobserve(entry.target); draw(entry.target); });
  }, { rootMargin: "600px" });
  plots.forEach((plot) => seen.observe(plot));
  let waiting;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => plots.filter((plot) => plot.classList.contains("drawn") && Number(plot.dataset.width) !== plot.clientWidth)
      .forEach((plot) => draw(plot)), 120);
  });

  const button = document.getElementById("theme");
  const preferred = window.matchMedia("(prefers-color-scheme: dark)");
  let chosen = false;
  function setTheme(theme) {
    root.dataset.theme = theme;
    button.setAttribute("aria-pressed", String(theme === "dark"));
    redraw();
  }
  setTheme(preferred.matches ? "dark" : "light");
  preferred.addEventListener("change", () => chosen || setTheme(preferred.matches ? "dark" : "light"));
  button.addEventListener("click", () => { chosen = true; setTheme(dark() ? "light" : "dark"); });

  document.querySelectorAll(".units input").forEach((input) => input.addEventListener("change", () => {
    unit = input.value;
    document.querySelectorAll(`.units input[value="${unit}"]`).forEach((one) => { one.checked = true; });
    redraw();
  }));
  document.querySelectorAll(".units input[value=documents]").forEach((one) => { one.checked = true; });
  const counts = document.getElementById("log-counts");
  if (counts) {
    counts.checked = false;
    counts.addEventListener("change", () => { logCounts = counts.checked; redraw(); });
  }

  // Sorting: by the cell's data-v where it has one, else by its text; what has no value stays last.
  document.querySelectorAll("table.sortable").forEach((table) => {
    const body = table.tBodies[0];
    if (body.rows.length < 2) return;
    [...table.tHead.rows[0].cells].forEach((heading, place) => {
      if (!heading.textContent.trim()) return;
      const press = document.createElement("button");
      press.type = "button";
      press.append(...heading.childNodes);
      heading.append(press);
      press.addEventListener("click", () => {
        const numeric = heading.classList.contains("n");
        const falling = heading.getAttribute("aria-sort") ? heading.getAttribute("aria-sort") === "ascending" : numeric;
        const key = (row) => row.cells[place].dataset.v ?? row.cells[place].textContent.trim();
        const known = [...body.rows].filter((row) => key(row) !== ""), unknown = [...body.rows].filter((row) => key(row) === "");
        const order = new Intl.Collator("en", { numeric: true }).compare;
        known.sort((a, b) => (falling ? -1 : 1) * (numeric ? Number(key(a)) - Number(key(b)) : order(key(a), key(b))));
        [...table.tHead.rows[0].cells].forEach((other) => other.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
        body.append(...known, ...unknown);
      });
    });
  });

  // Where in the page one is.
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const where = new IntersectionObserver((entries) => entries.forEach((entry) => {
    const link = links.get(entry.target.getAttribute("aria-labelledby"));
    if (!link || !entry.isIntersecting) return;
    links.forEach((other) => other.removeAttribute("aria-current"));
    link.setAttribute("aria-current", "true");
  }), { rootMargin: "-20% 0px -70% 0px" });
  document.querySelectorAll("main section").forEach((section) => where.observe(section));

  // On paper: light, every chart of what is open, as wide as the page.
  let screen = null;
  window.addEventListener("beforeprint", () => {
    screen = root.dataset.theme;
    root.dataset.theme = "light";
    plots.filter((plot) => plot.clientWidth).forEach((plot) => draw(plot, plot.classList.contains("wide") ? 660 : 300));
  });
  window.addEventListener("afterprint", () => setTheme(screen ?? root.dataset.theme));
})();
