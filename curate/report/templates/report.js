"use strict";
// Colours, what is counted, sorting, folding, filtering. Without it all tables, charts and documents are there.
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  root.classList.add("js");

  // Colours: those of the system until the reader chooses; a browser that stores nothing forgets the choice.
  const KEY = "curate-report-theme";
  const store = { get: () => { try { return localStorage.getItem(KEY); } catch { return null; } },
    set: (theme) => { try { localStorage.setItem(KEY, theme); } catch { /* private windows */ } } };
  const button = document.getElementById("theme");
  const preferred = window.matchMedia("(prefers-color-scheme: dark)");
  const system = () => (preferred.matches ? "dark" : "light");
  let chosen = ["dark", "light"].includes(store.get()) ? store.get() : null;
  const other = () => (root.dataset.theme === "dark" ? "light" : "dark");
  function setTheme(theme) {
    root.dataset.theme = theme;
    button.textContent = `Use ${other()} colours`;
  }
  setTheme(chosen ?? system());
  preferred.addEventListener("change", () => chosen || setTheme(system()));
  button.addEventListener("click", () => { chosen = other(); store.set(chosen); setTheme(chosen); });
  window.addEventListener("beforeprint", () => { root.dataset.theme = "light"; });
  window.addEventListener("afterprint", () => setTheme(chosen ?? system()));

  all(".units input").forEach((input) => {
    input.checked = input.value === "documents";
    input.addEventListener("change", () => {
      root.classList.toggle("tokens", input.value === "tokens");
      all(`.units input[value="${input.value}"]`).forEach((one) => { one.checked = true; });
    });
  });
  const counts = document.getElementById("log-counts");
  if (counts) {
    counts.checked = false;
    counts.addEventListener("change", () => root.classList.toggle("log", counts.checked));
  }

  // Sorting: by the cell's data-v where it has one, else by its text; what has no value stays last.
  function sorting(table) {
    const body = table.tBodies[0];
    if (body.rows.length < 2) return;
    [...table.tHead.rows[0].cells].forEach((heading, place) => {
      if (!heading.textContent.trim() || body.rows[0].cells[place]?.classList.contains("chart")) return;
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
        [...table.tHead.rows[0].cells].forEach((one) => one.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
        body.append(...known, ...unknown);
        beyond(table);
      });
    });
  }

  // Long tables: the first rows, and a button for the rest.
  const most = (table) => Number(table.dataset.most || Infinity);
  const beyond = (table) => [...table.tBodies[0].rows].forEach((row, k) => row.classList.toggle("beyond", k >= most(table)));
  function folding(table) {
    const rows = table.tBodies[0].rows.length;
    if (rows <= most(table) + 2) return;
    const press = document.createElement("button");
    press.type = "button";
    press.className = "more";
    const tell = () => { press.textContent = table.classList.contains("short") ? `Show all ${rows}` : `Show ${most(table)}`; };
    table.classList.add("short");
    beyond(table);
    tell();
    press.addEventListener("click", () => { table.classList.toggle("short"); tell(); });
    table.parentNode.append(press);
  }
  all("table.sortable").forEach((table) => { sorting(table); folding(table); });

  // Tables that are wider than the screen say that they scroll.
  const wide = new ResizeObserver((entries) => entries.forEach(({ target }) => {
    target.classList.toggle("wide", target.scrollWidth > target.clientWidth + 1);
  }));
  all(".scroll").forEach((one) => wide.observe(one));

  // What a bar of a histogram stands for, where the pointer is.
  all(".histogram").forEach((plot) => {
    const bars = plot.dataset.bars.split(" ").map((bar) => bar.split("-").map(Number));
    const rows = all("tbody tr", plot.closest("article"));
    const reading = plot.querySelector(".reading"), rest = reading.textContent;
    const named = new Map(bars.map((bar, k) => [k, [...rows[k].cells].map((cell) => cell.textContent)]));
    plot.addEventListener("pointermove", (event) => {
      const box = plot.getBoundingClientRect();
      const at = 100 * (event.clientX - box.left) / box.width;
      const bar = named.get(bars.findIndex(([begin, end]) => begin <= at && at < end));
      reading.textContent = bar ? `${bar[0]}: ${bar[1]} documents, ${bar[2]} kept` : rest;
    });
    plot.addEventListener("pointerleave", () => { reading.textContent = rest; });
  });

  // Documents of one reason; at first one of each.
  const filter = document.getElementById("filter");
  function choose(value) {
    filter.value = value;
    const seen = new Set();
    all(".doc").forEach((doc) => {
      const reasons = doc.dataset.reasons.split(" ");
      const again = seen.has(reasons[0]);
      seen.add(reasons[0]);
      doc.hidden = value === "" ? again : value !== "*" && !reasons.includes(value);
    });
    const more = document.querySelector(".filter .command");
    more.hidden = value === "" || value === "*";
    more.querySelector("code").textContent = more.dataset.sample + (value === "kept" ? " --kept" : ` --reason ${value}`);
  }
  if (filter) {
    choose("");
    filter.addEventListener("change", () => choose(filter.value));
    all("[data-filter]").forEach((link) => link.addEventListener("click", (event) => {
      if (![...filter.options].some((option) => option.value === link.dataset.filter)) return;
      event.preventDefault();
      choose(link.dataset.filter);
      document.getElementById("documents").scrollIntoView();
      filter.focus({ preventScroll: true });
    }));
  }

  // Commands to copy.
  all(".command").forEach((command) => {
    const press = document.createElement("button");
    press.type = "button";
    press.textContent = "Copy";
    const code = command.querySelector("code");
    async function copy() {
      try { await navigator.clipboard.writeText(code.textContent); } catch { // a browser that keeps pages of files out
        getSelection().selectAllChildren(code);
        document.execCommand("copy");
      }
      press.textContent = "Copied";
      setTimeout(() => { press.textContent = "Copy"; }, 1500);
    }
    press.addEventListener("click", copy);
    command.append(press);
  });

  // Where in the page one is.
  const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
  const where = new IntersectionObserver((entries) => entries.forEach((entry) => {
    const link = links.get(entry.target.getAttribute("aria-labelledby"));
    if (!link || !entry.isIntersecting) return;
    links.forEach((one) => one.removeAttribute("aria-current"));
    link.setAttribute("aria-current", "true");
  }), { rootMargin: "-20% 0px -70% 0px" });
  all("main section").forEach((section) => where.observe(section));
})();
