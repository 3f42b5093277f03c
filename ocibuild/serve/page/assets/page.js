// What the page does beyond being read: copy buttons, a filter, times as "3 minutes ago", and following what is pushed.
// Markup only ever comes from the server, which has escaped it.
"use strict";
(() => {
  const PAUSE = 2000, PATIENCE = 10000, SLOWEST = 30000;
  const HERE = location.origin; // an address with a login in it cannot be fetched from
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const say = (text) => { one("#said").textContent = text; };

  // Copy

  const copied = async (text) => {
    if (navigator.clipboard && window.isSecureContext) {
      await navigator.clipboard.writeText(text);
      return;
    }
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unheard";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("the browser does not let this page copy");
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    const label = one("span", button);
    try {
      await copied(button.dataset.copy);
      label.textContent = "Copied";
      button.classList.add("done");
      say("Copied");
    } catch {
      label.textContent = "Failed";
      say("The browser does not let this page copy");
    }
    button.focus();
    setTimeout(() => { label.textContent = "Copy"; button.classList.remove("done"); }, 1600);
  });

  // Times

  const UNITS = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60]];
  const since = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  const tell = () => {
    for (const time of all("time[datetime]")) {
      const moment = Date.parse(time.dateTime);
      const seconds = (moment - Date.now()) / 1000;
      const [unit, length] = UNITS.find(([, length]) => Math.abs(seconds) >= length) || ["minute", Infinity];
      const text = length === Infinity ? "just now" : since.format(Math.round(seconds / length), unit);
      if (time.textContent !== text) time.textContent = text;
      time.title = new Date(moment).toLocaleString();
    }
  };

  // Filter

  const sift = () => {
    const field = one("#filter");
    if (!field) return;
    const wanted = field.value.trim().toLowerCase();
    let count = 0;
    for (const row of all("#rows tbody tr")) {
      const name = row.dataset.key.split(" ")[0].toLowerCase();
      row.hidden = field.dataset.paged !== "yes" && !name.includes(wanted);
      count += !row.hidden;
    }
    const none = one("#none");
    if (none) none.hidden = count > 0;
  };
  document.addEventListener("input", (event) => { if (event.target.id === "filter") sift(); });
  document.addEventListener("keydown", (event) => {
    const field = one("#filter");
    if (!field) return;
    const typing = event.target.closest("input, textarea, select");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      field.focus();
    } else if (event.target === field && event.key === "Escape") {
      field.value = "";
      sift();
    } else if (event.target === field && event.key === "Enter" && field.dataset.paged === "yes") {
      location.assign("/?q=" + encodeURIComponent(field.value.trim()));
    }
  });

  // Live

  const prepare = () => {
    for (const hidden of all("button.copy[hidden], .filter[hidden]")) hidden.hidden = false;
    tell();
    sift();
  };
  const keyed = (root) => new Set(all("[data-key]", root).map((row) => row.dataset.key));
  const opened = () => new Map(all("details[id]").map((each) => [each.id, each.open]));
  const path = (node) => node.id ? "#" + CSS.escape(node.id) : node.matches("a[href]")
    ? `a[href="${CSS.escape(node.getAttribute("href"))}"]`
    : node.dataset && node.dataset.copy ? `[data-copy="${CSS.escape(node.dataset.copy)}"]` : null;

  const renew = async () => {
    const answer = await fetch(HERE + location.pathname + location.search, { signal: AbortSignal.timeout(PATIENCE), cache: "no-cache" });
    const type = answer.headers.get("Content-Type") || "";
    if (!type.startsWith("text/html")) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const main = one("main"), next = one("main", fresh);
    const before = keyed(main), open = opened(), field = one("#filter");
    const focus = main.contains(document.activeElement) ? path(document.activeElement) : null;
    const typed = field ? [field.value, field.selectionStart] : null;
    main.replaceChildren(...next.childNodes);
    for (const [id, is] of open) { const each = document.getElementById(id); if (each) each.open = is; }
    if (typed && one("#filter")) one("#filter").value = typed[0];
    prepare();
    if (focus && one(focus)) one(focus).focus({ preventScroll: true });
    if (typed && document.activeElement === one("#filter")) one("#filter").setSelectionRange(typed[1], typed[1]);
    let count = 0;
    for (const row of all("[data-key]", main)) {
      if (!before.has(row.dataset.key)) { row.classList.add("new"); count += 1; }
    }
    document.title = fresh.title;
    say(count ? `${count} new or changed` : "The page is up to date");
  };

  const follow = () => {
    const { repository } = document.body.dataset;
    let state = document.body.dataset.state, pause = PAUSE, timer = 0;
    if (!state) return;
    const where = HERE + "/-/state" + (repository ? "?repository=" + encodeURIComponent(repository) : "");
    const light = one("#live");
    const look = async () => {
      timer = 0;
      if (document.hidden) return;
      try {
        const answer = await fetch(where, { headers: { "If-None-Match": `"${state}"` }, cache: "no-store",
          signal: AbortSignal.timeout(PATIENCE) });
        if (answer.status === 200 || answer.status === 404) {
          const next = (answer.headers.get("ETag") || "gone").replaceAll('"', "");
          if (next !== state) { await renew(); state = next; }
        }
        const alive = answer.status < 400 || answer.status === 404;
        light.hidden = !alive;
        pause = alive ? PAUSE : Math.min(pause * 2, SLOWEST);
      } catch {
        light.hidden = true;
        pause = Math.min(pause * 2, SLOWEST);
      }
      timer = setTimeout(look, pause);
    };
    light.hidden = false;
    document.addEventListener("visibilitychange", () => { if (!document.hidden && !timer) look(); });
    timer = setTimeout(look, pause);
  };

  prepare();
  setInterval(tell, 30000);
  follow();
})();
