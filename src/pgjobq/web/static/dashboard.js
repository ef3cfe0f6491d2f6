// Makes a page live: when the server says that something has changed, the page is loaded again behind the scenes and
// its content exchanged. Everything works without this file. Keys: `?` lists them.

const root = document.body.dataset.root;
const lamp = document.getElementById("live");
const SHORTEST = 1000; // ms between two exchanges
let due = false;
let last = 0;

function busy() {
  const page = document.getElementById("page");
  const selection = document.getSelection();
  return (
    document.hidden ||
    page.querySelector("input[type=checkbox]:checked, details[open] form") || // something is being chosen or written
    (page.contains(document.activeElement) && document.activeElement.matches("input:not([type=checkbox]), textarea, select")) ||
    (selection && !selection.isCollapsed && page.contains(selection.anchorNode))
  );
}

async function exchange() {
  if (!due || busy()) return;
  due = false;
  last = Date.now();
  let answer;
  try {
    answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  } catch {
    return; // the next change comes
  }
  if (!answer.ok || answer.redirected) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("page");
  const page = document.getElementById("page");
  if (!fresh || busy()) return void (due = true);
  const open = [...page.querySelectorAll("details")].map((each) => each.open);
  const focused = [...page.querySelectorAll("a, button, input")].indexOf(document.activeElement);
  if (page.querySelectorAll("details").length === fresh.querySelectorAll("details").length)
    fresh.querySelectorAll("details").forEach((each, place) => (each.open = open[place]));
  page.replaceWith(document.adoptNode(fresh));
  if (focused >= 0) document.querySelectorAll("#page a, #page button, #page input")[focused]?.focus({ preventScroll: true });
}

function listen() {
  if (location.pathname === `${root}/act`) return; // what a form answered cannot be loaded again
  const source = new EventSource(`${root}/live`);
  let doubt; // the server ends a stream now and then: only one that does not come back is worth telling
  source.addEventListener("open", () => {
    clearTimeout(doubt);
    doubt = undefined;
    lamp.hidden = false;
  });
  source.addEventListener("error", () => (doubt ??= setTimeout(() => (lamp.hidden = true), 5000)));
  source.addEventListener("change", () => (due = true));
  addEventListener("pagehide", () => source.close());
  setInterval(() => Date.now() - last >= SHORTEST && exchange(), 250);
}

function walk(step) {
  const links = [...document.querySelectorAll("#page td.id a, #page .group h2 a")];
  if (!links.length) return;
  const here = links.indexOf(document.activeElement);
  links[Math.min(links.length - 1, Math.max(0, here + step))].focus();
}

const help = document.getElementById("help");
const keys = document.getElementById("keys");
const places = { o: "/", j: "/jobs", f: "/failed", q: "/queues", w: "/workers", s: "/schedules", a: "/audit" };
let going = 0; // until when a letter behind g says where to

help.hidden = false;
help.addEventListener("click", () => keys.showModal());

addEventListener("keydown", (event) => {
  const writes = "input:not([type=checkbox]), textarea, select";
  if (event.ctrlKey || event.metaKey || event.altKey || keys.open || event.target.matches(writes)) return;
  const place = Date.now() < going && places[event.key];
  going = event.key === "g" ? Date.now() + 1500 : 0;
  if (place) location.href = root + place;
  else if (event.key === "/") document.getElementById("q").focus();
  else if (event.key === "j") walk(1);
  else if (event.key === "k") walk(-1);
  else if (event.key === "x") document.activeElement.closest("tr")?.querySelector("input[type=checkbox]")?.click();
  else if (event.key === "?") keys.showModal();
  else return;
  event.preventDefault();
});

listen();
