// Gives Neuroglancer its first scene, unless the address brings one, and starts it.
const start = document.getElementById("start");

async function firstScene() {
  const answer = await fetch(start.dataset.scene, { headers: { Accept: "application/json" } });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.detail ?? answer.statusText);
  history.replaceState(null, "", `#!${encodeURIComponent(JSON.stringify(told))}`);
}

try {
  if (!location.hash.startsWith("#!")) await firstScene();
  await import(start.dataset.main);
} catch (error) {
  const trouble = document.getElementById("trouble");
  trouble.textContent = `The viewer could not start: ${error.message}`;
  trouble.hidden = false;
}

const share = document.getElementById("share");

async function shorten() {
  const said = document.getElementById("shared");
  const body = JSON.stringify({ page: share.dataset.page, state: window.viewer.state.toJSON() });
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(share.dataset.links, { method: "POST", headers, body });
  const told = await answer.json();
  if (!answer.ok) {
    said.textContent = told.detail ?? answer.statusText;
    return;
  }
  const link = document.createElement("a");
  link.href = told.url;
  link.textContent = told.url;
  said.replaceChildren(link);
  // Pages by plain http have no clipboard; there the address is shown alone.
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(told.url).then(() => said.append(" copied"), () => {});
  }
}

if (share) {
  share.hidden = false;
  share.addEventListener("click", shorten);
}
