// Regions: boxes drawn on a canvas write the same numbers that the form beside it holds, in percent of the picture.
const SIDES = ["left", "top", "width", "height"];

export function setUpBoxes(root) {
  const canvas = root.querySelector("canvas");
  const pen = canvas.getContext("2d");
  const rows = [...root.querySelectorAll("[data-row]")];
  const field = (row, side) => row.querySelector(`[data-side=${side}]`);
  const box = (row) => SIDES.map((side) => Number(field(row, side).value || 0));
  const style = getComputedStyle(canvas);
  let begin = null, active = 0;

  const draw = () => {
    pen.clearRect(0, 0, canvas.width, canvas.height);
    rows.forEach((row, k) => {
      const [left, top, width, height] = box(row).map((value) => (value / 100) * canvas.width);
      if (!width || !height) return;
      pen.strokeStyle = pen.fillStyle = style.color;
      pen.globalAlpha = k === active ? 0.25 : 0.12;
      pen.fillRect(left, top, width, height);
      pen.globalAlpha = 1;
      pen.lineWidth = k === active ? 3 : 1.5;
      pen.strokeRect(left, top, width, height);
      pen.font = "16px system-ui";
      pen.fillText(row.querySelector("select").value || `${k + 1}`, left + 6, top + 20);
    });
  };
  const place = (event) => {
    const area = canvas.getBoundingClientRect();
    return [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height]
      .map((value) => Math.round(Math.min(1, Math.max(0, value)) * 100));
  };
  canvas.addEventListener("pointerdown", (event) => {
    begin = place(event);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!begin) return;
    const end = place(event);
    const values = [Math.min(begin[0], end[0]), Math.min(begin[1], end[1]),
      Math.abs(begin[0] - end[0]), Math.abs(begin[1] - end[1])];
    SIDES.forEach((side, k) => { field(rows[active], side).value = values[k]; });
    const select = rows[active].querySelector("select");
    if (!select.value && select.options.length > active + 1) select.selectedIndex = active + 1;
    draw();
  });
  canvas.addEventListener("pointerup", () => { begin = null; });
  rows.forEach((row, k) => {
    row.addEventListener("focusin", () => { active = k; draw(); });
    row.addEventListener("input", draw);
    row.querySelector("[data-clear]").addEventListener("click", () => {
      SIDES.forEach((side) => { field(row, side).value = ""; });
      row.querySelector("select").value = "";
      draw();
    });
  });
  draw();
}
