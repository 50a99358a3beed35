// A text field that completes handles: typing "<" opens a list; arrows, Enter or Tab and Escape work it.
export function setUpCombo(field) {
  const options = JSON.parse(field.dataset.combo);
  const list = document.getElementById(field.getAttribute("aria-controls"));
  const handles = options.filter((one, k) => options.findIndex((other) => other.handle === one.handle) === k);
  let shown = [], at = 0;

  const word = () => field.value.slice(0, field.selectionStart).match(/<[\w-]*$/)?.[0];
  const close = () => {
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
  };
  const mark = () => {
    [...list.children].forEach((item, k) => item.setAttribute("aria-selected", String(k === at)));
    field.setAttribute("aria-activedescendant", `${list.id}-${at}`);
    list.children[at].scrollIntoView({ block: "nearest" });
  };
  const open = () => {
    const begun = word();
    shown = begun ? handles.filter((one) => one.handle.startsWith(begun) && one.handle !== begun) : [];
    if (!shown.length) { close(); return; }
    list.replaceChildren(...shown.map((one, k) => {
      const item = document.createElement("li");
      item.id = `${list.id}-${k}`;
      item.setAttribute("role", "option");
      const noun = document.createElement("span");
      noun.className = "soft";
      noun.textContent = one.noun;
      item.append(one.handle, noun);
      item.addEventListener("pointerdown", (event) => { event.preventDefault(); take(k); });
      return item;
    }));
    at = 0;
    list.hidden = false;
    field.setAttribute("aria-expanded", "true");
    mark();
  };
  const take = (index) => {
    const end = field.selectionStart;
    field.setRangeText(`${shown[index].handle}`, end - word().length, end, "end");
    close();
    field.focus();
    tick();
  };
  // a handle in the prompt ticks its newest concept, unless another concept of the handle is ticked
  const tick = () => handles.forEach(({ handle }) => {
    if (!field.value.includes(handle)) return;
    const boxes = options.filter((one) => one.handle === handle)
      .map((one) => document.getElementById(`concept-${one.id}`)).filter(Boolean);
    if (boxes.length && !boxes.some((box) => box.checked)) boxes[0].checked = true;
  });
  field.addEventListener("input", () => { open(); tick(); });
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    if (list.hidden) {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) field.form.requestSubmit();
      return;
    }
    const moves = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key in moves) at = (at + moves[event.key] + shown.length) % shown.length;
    else if (event.key === "Enter" || event.key === "Tab") take(at);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
    if (!list.hidden) mark();
  });
}
