// Shared by every page: theme, menu, lightbox, dropping files, live panels. Each works on [data-…] attributes.
import { setUpCombo } from "./combo.js";
import { setUpBoxes } from "./boxes.js";
import { setUpBrush } from "./brush.js";

const $$ = (selector, root = document) => [
  ...(root.matches?.(selector) ? [root] : []), ...root.querySelectorAll(selector)];

function setUp(root) {
  $$("[data-combo]", root).forEach(once(setUpCombo));
  $$("[data-boxes]", root).forEach(once(setUpBoxes));
  $$("[data-brush]", root).forEach(once(setUpBrush));
  $$("[data-drop]", root).forEach(once(setUpDrop));
  $$("[data-live]", root).forEach(once(setUpLive));
  $$("[data-shows]", root).forEach(once(setUpRange));
  $$("[data-toggles]", root).forEach(once(setUpToggle));
}

const known = new WeakSet();
const once = (work) => (element) => {
  if (known.has(element)) return;
  known.add(element);
  work(element);
};

// ---------------------------------------------------------------------------------------------- theme and menu
const THEMES = ["system", "light", "dark"];
function theme() { return document.documentElement.dataset.theme || "system"; }
$$("[data-theme-button]").forEach((button) => {
  const say = () => { button.textContent = `Theme: ${theme()}`; };
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try { localStorage.setItem("theme", next); } catch { /* storage is off: the choice lasts for this page */ }
    say();
  });
  say();
});
$$("[data-menu]").forEach((button) => button.addEventListener("click", () => {
  const open = document.getElementById("rail").classList.toggle("open");
  button.setAttribute("aria-expanded", String(open));
}));

// a form that was refused keeps what was written in it
$$("[data-back]").forEach((button) => {
  button.hidden = history.length < 2;
  button.addEventListener("click", () => history.back());
});

// -------------------------------------------------------------------------------------------------- lightbox
const lightbox = document.getElementById("lightbox");
let plates = [], at = -1;
async function look(index) {
  at = (index + plates.length) % plates.length;
  await window.htmx.ajax("GET", plates[at].href, { target: "#lightbox", swap: "innerHTML" });
  if (!lightbox.open) lightbox.showModal();
}
document.addEventListener("click", (event) => {
  const plate = event.target.closest?.("a[data-look]");
  if (plate && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
    event.preventDefault();
    plates = $$("a[data-look]");
    look(plates.indexOf(plate));
  }
  const step = event.target.closest?.("[data-step]");
  if (step && lightbox.open) look(at + Number(step.dataset.step));
  if (event.target === lightbox || event.target.closest?.("[data-close]")) lightbox.close();
  const sure = event.target.closest?.("[data-sure]");
  if (sure && window.confirm(sure.dataset.sure)) sure.value = "";
  else if (sure) { event.preventDefault(); event.stopImmediatePropagation(); }
}, true);
lightbox.addEventListener("keydown", (event) => {
  if (event.target.matches("input, textarea, select")) return;
  if (event.key === "ArrowRight") look(at + 1);
  if (event.key === "ArrowLeft") look(at - 1);
});
lightbox.addEventListener("close", () => { lightbox.replaceChildren(); plates[at]?.focus(); });

// ---------------------------------------------------------------------------------------------------- files
function setUpDrop(zone) {
  const input = zone.querySelector("input[type=file]");
  const list = zone.querySelector("[data-names]");
  const say = () => {
    if (list) list.textContent = [...input.files].map((file) => file.name).join(", ");
    if (zone.dataset.drop === "send" && input.files.length) input.form.requestSubmit();
  };
  input.addEventListener("change", say);
  ["dragenter", "dragover"].forEach((name) => zone.addEventListener(name, (event) => {
    event.preventDefault();
    zone.classList.add("over");
  }));
  ["dragleave", "drop"].forEach((name) => zone.addEventListener(name, () => zone.classList.remove("over")));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    const files = new DataTransfer();
    const dropped = [...event.dataTransfer.files];
    (input.multiple ? [...input.files, ...dropped] : dropped.slice(0, 1)).forEach((file) => files.items.add(file));
    input.files = files.files;
    say();
  });
}

// ------------------------------------------------------------------------------------------------ live panels
// A panel names a stream of server-sent events and, in data-src, the address of its own newer version.
function setUpLive(panel) {
  const stream = new EventSource(panel.dataset.live);
  let waiting = false;
  const refresh = () => {
    if (waiting) return;
    waiting = true;
    setTimeout(() => {
      waiting = false;
      if (!panel.isConnected) { stream.close(); return; }
      if (panel.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")) return;
      window.htmx.ajax("GET", panel.dataset.src, { target: panel, swap: "innerHTML" });
    }, 400);
  };
  stream.onmessage = (message) => {
    if (JSON.parse(message.data).event === "job_over") stream.close();
    refresh();
  };
  window.addEventListener("pagehide", () => stream.close());
}

// -------------------------------------------------------------------------------------------------- small parts
function setUpRange(range) {
  const names = (range.dataset.names || "").split("|");
  const target = document.getElementById(range.dataset.shows);
  const say = () => {
    const text = range.dataset.names ? names[Number(range.value)] : range.value;
    target.textContent = text;
    range.setAttribute("aria-valuetext", text);
  };
  range.addEventListener("input", say);
  say();
}
function setUpToggle(box) {
  const say = () => $$(box.dataset.toggles).forEach((each) => { each.hidden = !box.checked; });
  box.addEventListener("change", say);
  say();
}
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.failed && !event.detail.xhr.status) {
    document.getElementById("flash").textContent = "The server cannot be reached.";
  }
});

// on a narrow window the answer to a form may be below it
document.addEventListener("htmx:afterSettle", (event) => {
  const answer = event.detail.target;
  if (event.detail.requestConfig?.verb === "post" && answer?.id === "results"
      && answer.getBoundingClientRect().top > innerHeight) answer.scrollIntoView();
});

setUp(document);
document.addEventListener("htmx:afterSettle", (event) => setUp(event.detail.elt));
