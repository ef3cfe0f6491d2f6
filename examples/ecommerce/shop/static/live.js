// Keeps #jobs as the server sees it while something is still to be done. Without JavaScript the page shows the same after a reload.
const EVERY = 1500;

async function refresh() {
  const here = document.getElementById("jobs");
  if (!here?.hasAttribute("data-live")) return;
  if (!document.hidden && !here.contains(document.activeElement)) {
    try {
      const answer = await fetch(location.pathname, { headers: { Accept: "text/html" } });
      if (answer.ok) replace(here, new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("jobs"));
    } catch {
      // The shop restarts, or the network is away: the next round will tell.
    }
  }
  setTimeout(refresh, EVERY);
}

function replace(old, fresh) {
  if (!fresh || old.innerHTML === fresh.innerHTML) return;
  for (const open of old.querySelectorAll("details[open]")) {
    fresh.querySelector(`#${open.id}`)?.setAttribute("open", "");
  }
  old.replaceWith(fresh);
}

setTimeout(refresh, EVERY);
