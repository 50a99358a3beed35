// The canvas: a picture with a mask that is painted over it. The picture may change where it is painted. The mask goes to the form as
// a PNG file; the form's own fields (a rectangle, a file, an extension) do the same without a pointer.
export function setUpBrush(root) {
  const canvas = root.querySelector("canvas");
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const mask = document.createElement("canvas");
  const ink = mask.getContext("2d");
  const part = (name) => root.querySelector(`[data-part=${name}]`);
  const image = new Image();
  let last = null, erases = false, marked = false;

  const draw = () => {
    pen.clearRect(0, 0, canvas.width, canvas.height);
    if (image.naturalWidth) pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    pen.globalAlpha = 0.55;
    pen.drawImage(mask, 0, 0);
    pen.globalAlpha = 1;
  };
  const load = (source) => {
    image.onload = () => {
      const scale = Math.min(1, 1024 / Math.max(image.naturalWidth, image.naturalHeight));
      canvas.width = mask.width = Math.round(image.naturalWidth * scale);
      canvas.height = mask.height = Math.round(image.naturalHeight * scale);
      marked = false;
      part("mask").value = "";
      part("stage").hidden = false;
      draw();
    };
    // a HEIC photo cannot be shown by every browser; it is uploaded all the same
    image.onerror = () => { part("stage").hidden = true; };
    image.src = source;
  };
  const place = (event) => {
    const area = canvas.getBoundingClientRect();
    return [((event.clientX - area.left) * canvas.width) / area.width, ((event.clientY - area.top) * canvas.height) / area.height];
  };
  const stroke = (from, to) => {
    ink.globalCompositeOperation = erases ? "destination-out" : "source-over";
    ink.strokeStyle = "#e0523a";
    ink.lineCap = ink.lineJoin = "round";
    ink.lineWidth = (Number(part("size").value) / 100) * canvas.width;
    ink.beginPath();
    ink.moveTo(...from);
    ink.lineTo(...to);
    ink.stroke();
    marked = true;
    draw();
  };
  // the mask as a file: white where the picture may change
  const keep = () => {
    if (!marked) return;
    const plain = document.createElement("canvas");
    [plain.width, plain.height] = [mask.width, mask.height];
    const to = plain.getContext("2d");
    to.drawImage(mask, 0, 0);
    to.globalCompositeOperation = "source-in";
    to.fillStyle = "#fff";
    to.fillRect(0, 0, plain.width, plain.height);
    to.globalCompositeOperation = "destination-over";
    to.fillStyle = "#000";
    to.fillRect(0, 0, plain.width, plain.height);
    plain.toBlob((blob) => {
      const files = new DataTransfer();
      files.items.add(new File([blob], "mask.png", { type: "image/png" }));
      part("mask").files = files.files;
    });
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = place(event);
    stroke(last, last);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const next = place(event);
    stroke(last, next);
    last = next;
  });
  canvas.addEventListener("pointerup", () => { last = null; keep(); });
  root.querySelectorAll("[data-tool]").forEach((button) => button.addEventListener("click", () => {
    if (button.dataset.tool === "clear") {
      ink.clearRect(0, 0, mask.width, mask.height);
      marked = false;
      part("mask").value = "";
      draw();
      return;
    }
    erases = button.dataset.tool === "eraser";
    root.querySelectorAll("[data-tool]").forEach((each) => each.setAttribute("aria-pressed", String(each === button)));
  }));
  part("file").addEventListener("change", () => {
    const file = part("file").files[0];
    if (file) load(URL.createObjectURL(file));
  });
  if (root.dataset.brush) load(root.dataset.brush);
}
