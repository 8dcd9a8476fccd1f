// What the page does beyond reading and its forms: times in the viewer's zone, and changes as they happen.
// Without this script everything can be read and every form works.
"use strict";

const POLL_MS = 5000;
const SETTLE_MS = 150;
const NOTICE_MS = 15000;
const main = () => document.getElementById("main");

// ---- times

function lasting(seconds) {
  let whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const parts = [];
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    const count = Math.floor(whole / length);
    whole -= count * length;
    if (count || parts.length) parts.push(count ? `${count} ${unit}` : "");
  }
  return parts.slice(0, 2).filter(Boolean).join(" ");
}

const two = (number) => String(number).padStart(2, "0");
const clock = (date) => [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
const moment = (date) => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clock(date)}`;

function showTimes(root) {
  for (const node of root.querySelectorAll("time[data-as]")) {
    const date = new Date(node.dateTime);
    if (Number.isNaN(date.getTime())) continue;
    if (node.dataset.as === "ago") {
      node.textContent = `${lasting((Date.now() - date.getTime()) / 1000)} ago`;
      node.title = moment(date);
    } else {
      node.textContent = node.dataset.as === "clock" ? clock(date) : moment(date);
      node.title = node.dateTime;
    }
  }
  for (const node of root.querySelectorAll("text[data-at]")) {
    const date = new Date(node.dataset.at);
    if (!Number.isNaN(date.getTime())) node.textContent = clock(date);
  }
}

// ---- showing another state of the same page

function keyOf(node) {
  return node.id || null;
}

function show(text, address) {
  if (new URL(address).pathname === "/login") {
    location.assign(address);
    return;
  }
  const next = new DOMParser().parseFromString(text, "text/html");
  const fresh = next.getElementById("main");
  if (!fresh) return;
  showTimes(next);
  const opened = new Map();
  for (const node of main().querySelectorAll("details[id]")) opened.set(node.id, node.open);
  for (const node of fresh.querySelectorAll("details[id]")) {
    if (opened.has(node.id)) node.open = opened.get(node.id);
  }
  merge(main(), fresh);
  document.title = next.title;
  const said = next.getElementById("notice");
  if (said && said.textContent.trim()) say(...said.childNodes);
}

let saying = 0;

function say(...nodes) {
  const place = document.getElementById("notice");
  place.replaceChildren(...nodes);
  clearTimeout(saying);
  saying = setTimeout(() => place.replaceChildren(), NOTICE_MS);
}

function complain(about) {
  const said = document.createElement("p");
  said.className = "notice ill";
  const words = about ? [...about.querySelectorAll("h1, p")].map((node) => node.textContent) : ["The receiver cannot be reached. Nothing is known to have been done."];
  said.textContent = words.slice(0, 2).join(": ");
  say(said);
}

// Changes only what differs, so that focus, selection, scrolling and what is half filled in stay as they are.
function merge(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE || old.isEqualNode(fresh)) return;
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of [...fresh.attributes]) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const known = new Map();
  for (const child of old.children) if (keyOf(child)) known.set(keyOf(child), child);
  let place = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const same = child.nodeType === Node.ELEMENT_NODE && keyOf(child) ? known.get(keyOf(child)) : null;
    if (same) {
      if (same !== place) old.insertBefore(same, place);
      else place = place.nextSibling;
      merge(same, child);
    } else if (place && !(place.nodeType === Node.ELEMENT_NODE && keyOf(place)) && place.nodeName === child.nodeName && !keyOf(child)) {
      const here = place;
      place = place.nextSibling;
      merge(here, child);
    } else {
      old.insertBefore(child, place);
    }
  }
  while (place) {
    const gone = place;
    place = place.nextSibling;
    gone.remove();
  }
}

// ---- what changes comes by itself

let asking = false;
let askAgain = false;

async function refresh() {
  if (asking) {
    askAgain = true;
    return;
  }
  asking = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (answer.ok) show(await answer.text(), answer.url);
    return answer.ok;
  } catch {
    return false;
  } finally {
    asking = false;
    if (askAgain) {
      askAgain = false;
      soon();
    }
  }
}

let waiting = 0;

function soon() {
  if (waiting) return;
  waiting = setTimeout(() => {
    waiting = 0;
    refresh();
  }, SETTLE_MS);
}

let polling = 0;

function tell(live) {
  const node = document.getElementById("live");
  if (!node) return;
  node.hidden = false;
  node.classList.toggle("off", !live);
  node.textContent = live ? "live" : "looks every 5 s";
}

function poll(on) {
  tell(!on);
  if (on && !polling) polling = setInterval(() => document.hidden || refresh(), POLL_MS);
  if (!on && polling) {
    clearInterval(polling);
    polling = 0;
  }
}

function listen(address) {
  if (!window.EventSource) return poll(true);
  let source = null;
  let again = 0;
  const close = () => {
    clearTimeout(again);
    if (source) source.close();
    source = null;
  };
  const open = () => {
    close();
    source = new EventSource(address);
    source.onopen = () => {
      poll(false);
      soon(); // whatever happened while nobody listened
    };
    source.onmessage = soon;
    source.onerror = () => {
      poll(true);
      if (source && source.readyState === EventSource.CLOSED) again = setTimeout(open, POLL_MS);
    };
  };
  // A browser has six connections for one host: tabs that nobody looks at must not hold them.
  const follow = () => (document.hidden ? close() : open());
  document.addEventListener("visibilitychange", follow);
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && follow());
  follow();
}

// ---- forms, without leaving the page

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.method !== "post" || !form.closest("main") || form.closest(".login")) return;
  event.preventDefault();
  const button = event.submitter;
  if (button) button.disabled = true;
  try {
    const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
    const text = await answer.text();
    if (answer.ok) show(text, answer.url);
    else complain(new DOMParser().parseFromString(text, "text/html").getElementById("main"));
    form.reset();
  } catch {
    complain(null);
  } finally {
    if (button) button.disabled = false;
  }
});

showTimes(document);
const zone = document.getElementById("zone");
if (zone) zone.textContent = Intl.DateTimeFormat().resolvedOptions().timeZone || "of this device";
setInterval(() => showTimes(main()), 1000);
if (document.body.dataset.live) listen(document.body.dataset.live);
