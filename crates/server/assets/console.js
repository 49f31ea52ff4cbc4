// Keeps pages current and saves clicks. Every page works without it.
"use strict";

(() => {
  const root = document.documentElement;
  root.classList.add("script");

  // Times as they pass.

  const span = (s) => {
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min`;
    if (s < 172800) return `${Math.floor(s / 3600)} h`;
    return `${Math.floor(s / 86400)} days`;
  };
  const distance = (iso) => {
    const s = Math.floor((Date.now() - Date.parse(iso)) / 1000);
    if (s >= -59 && s <= 4) return "now";
    return s > 0 ? `${span(s)} ago` : `in ${span(-s)}`;
  };
  const tick = () => {
    for (const time of document.querySelectorAll("time[datetime]")) {
      const text = distance(time.dateTime);
      if (time.textContent !== text) time.textContent = text;
    }
  };
  // The server says the first distance by its own clock; a clock that is wrong here would be wrong
  // about every one.
  const served = Date.parse(root.dataset.now || "");
  const trusted = Number.isNaN(served) || Math.abs(Date.now() - served) < 30000;
  if (trusted) setInterval(tick, 5000);

  // Parts of a page that follow the fleet. Told that something changed, the page is asked for anew
  // and those parts are put in place of the old ones.

  const REFRESH_MS = 30000;
  const PAUSE_MS = 300;
  const told = document.getElementById("live");
  let loading = false;
  let again = false;
  let last = 0;
  let timer = 0;

  const regions = () => [...document.querySelectorAll("[data-live]")];

  const say = (text, away) => {
    if (!told) return;
    told.hidden = false;
    told.classList.toggle("away", away);
    if (told.textContent !== text) told.textContent = text;
  };

  const busy = (region) => {
    const active = document.activeElement;
    const typing = active && region.contains(active) && active.matches("input, select, textarea");
    const selection = document.getSelection();
    const marking = selection && !selection.isCollapsed && region.contains(selection.anchorNode);
    return typing || marking;
  };

  const place = (element) => {
    if (!element) return null;
    if (element.id) return `#${CSS.escape(element.id)}`;
    const path = element.getAttribute("href");
    return path ? `a[href="${CSS.escape(path)}"]` : null;
  };

  const put = (region, fresh) => {
    const open = [...region.querySelectorAll("details[open][id]")].map((part) => part.id);
    const ticked = [...region.querySelectorAll("input[type=checkbox]:checked")].map((box) => box.value);
    const scrolled = [...region.querySelectorAll(".scroll")].map((part) => part.scrollLeft);
    const focused = region.contains(document.activeElement) ? place(document.activeElement) : null;
    const before = new Map([...region.querySelectorAll("tr[id]")].map((row) => [row.id, row.textContent]));
    region.innerHTML = fresh.innerHTML;
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    for (const box of region.querySelectorAll("input[type=checkbox]")) {
      if (ticked.includes(box.value)) box.checked = true;
    }
    region.querySelectorAll(".scroll").forEach((part, n) => { part.scrollLeft = scrolled[n] || 0; });
    if (focused) region.querySelector(focused)?.focus({ preventScroll: true });
    for (const row of region.querySelectorAll("tr[id]")) {
      if (before.size && before.get(row.id) !== row.textContent) row.classList.add("fresh");
    }
    dress(region);
  };

  // A region may be drawn by another page than the one that it is on.
  const sourceOf = (region) => {
    const address = new URL(region.dataset.liveFrom || location.href, location.href);
    address.searchParams.delete("done");
    return address.href;
  };

  const draw = async (address) => {
    const answer = await fetch(address, { headers: { accept: "text/html" }, redirect: "manual" });
    if (answer.type === "opaqueredirect") { location.reload(); return; }
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const region of regions()) {
      const fresh = sourceOf(region) === address && page.getElementById(region.id);
      if (fresh && !busy(region) && fresh.innerHTML !== region.dataset.drawn) {
        region.dataset.drawn = fresh.innerHTML;
        put(region, fresh);
      }
    }
    const menu = (whole) => whole.querySelector(".side nav")?.innerHTML;
    const side = document.querySelector(".side nav");
    if (side && !side.contains(document.activeElement) && menu(page) && address === sourceOf(document.body)
        && menu(page) !== side.innerHTML) side.innerHTML = menu(page);
  };

  const refresh = async () => {
    if (loading) { again = true; return; }
    loading = true;
    last = Date.now();
    try {
      for (const address of new Set(regions().map(sourceOf))) await draw(address);
    } catch {
      say("Offline", true);
    } finally {
      loading = false;
      if (again) { again = false; soon(); }
    }
  };

  const soon = () => {
    if (timer || document.hidden) return;
    const wait = Math.max(150, last + PAUSE_MS - Date.now());
    timer = setTimeout(() => { timer = 0; refresh(); }, wait);
  };

  const concerns = (event) => {
    let about = "";
    try { about = event.data; } catch { return true; }
    return regions().some((region) =>
      region.dataset.live.split(" ").includes(event.type) &&
      (!region.dataset.liveOf || about.includes(region.dataset.liveOf)));
  };

  const watch = () => {
    const kinds = [...new Set(regions().flatMap((region) => region.dataset.live.split(" ")))];
    const feed = new EventSource(`/api/v1/events/stream?kinds=${kinds.join(",")}`);
    feed.onopen = () => { say("Live", false); soon(); };
    feed.onerror = () => say("Every 30 s", true);
    for (const kind of kinds) feed.addEventListener(kind, (event) => { if (concerns(event)) soon(); });
    feed.addEventListener("reset", soon);
    addEventListener("pagehide", () => feed.close());
  };

  if (regions().length) {
    for (const region of regions()) region.dataset.drawn = region.innerHTML;
    watch();
    setInterval(() => { if (!document.hidden && Date.now() - last >= REFRESH_MS) refresh(); }, 5000);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(); });
    addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  }

  // Things to copy.

  const dress = (part) => {
    for (const button of part.querySelectorAll("[data-copy]")) {
      button.hidden = !navigator.clipboard;
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 2000);
      });
    }
  };
  dress(document);

  // Light and dark at once; the form remembers it.

  const theme = document.querySelector("[data-theme-choice]");
  theme?.addEventListener("change", async () => {
    root.dataset.theme = theme.value;
    await fetch(theme.form.action, { method: "POST", body: new URLSearchParams(new FormData(theme.form)), redirect: "manual" });
  });

  // What was done is said once, and not again when the page is loaded again.

  if (new URLSearchParams(location.search).has("done")) {
    const address = new URL(location.href);
    address.searchParams.delete("done");
    history.replaceState(null, "", address);
  }

  // The code of a first administrator's link, which browsers do not send by themselves.

  const setup = document.querySelector("[data-code-from-link]");
  if (setup && location.hash.length > 1) {
    setup.elements.code.value = decodeURIComponent(location.hash.slice(1));
    history.replaceState(null, "", location.pathname);
    setup.elements.name.focus();
  }

  // Keys: / searches, j and k go through rows.

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
    if (event.key === "/") {
      const search = document.querySelector("[data-search]");
      if (search) { event.preventDefault(); search.focus(); search.select(); }
    }
    if (event.key === "j" || event.key === "k") {
      const links = [...document.querySelectorAll("[data-rows] tbody tr")].map((row) => row.querySelector("a")).filter(Boolean);
      const at = links.findIndex((link) => link.closest("tr").contains(document.activeElement));
      links[Math.min(links.length - 1, Math.max(0, at + (event.key === "j" ? 1 : -1)))]?.focus();
    }
    if (event.key === "Escape") document.querySelector(".menu[open]")?.removeAttribute("open");
  });
})();
