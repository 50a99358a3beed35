// Faults of a page for people who use no mouse, no sight or a small screen: one line for each.
// Rules of WCAG 2.2 AA that a program can decide: names (1.1.1, 4.1.2), contrast (1.4.3), language (3.1.1),
// headings and landmarks (1.3.1), order of focus (2.4.3), size of targets (2.5.8), reflow (1.4.10).
() => {
  const faults = [];
  const shown = (element) => element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
  const place = (element) => {
    const id = element.id ? `#${element.id}` : "";
    const name = element.getAttribute("name") ? `[name=${element.getAttribute("name")}]` : "";
    const text = (element.textContent || "").trim().replace(/\s+/g, " ").slice(0, 30);
    return `${element.tagName.toLowerCase()}${id}${name}${text ? ` "${text}"` : ""}`;
  };
  const words = (ids) =>
    (ids || "").split(/\s+/).filter(Boolean).map((id) => document.getElementById(id)?.textContent || "").join(" ").trim();

  // names
  const pictured = (element) =>
    [...element.querySelectorAll("img[alt], svg[aria-label], svg > title")]
      .map((image) => image.getAttribute("alt") || image.getAttribute("aria-label") || image.textContent)
      .join(" ").trim();
  const name = (element) =>
    words(element.getAttribute("aria-labelledby")) ||
    (element.getAttribute("aria-label") || "").trim() ||
    [...(element.labels || [])].map((label) => label.textContent.trim()).join(" ").trim() ||
    (element.getAttribute("title") || "").trim() ||
    (["INPUT", "SELECT", "TEXTAREA"].includes(element.tagName)
      ? (["submit", "button", "reset"].includes(element.type) ? element.value : "")
      : element.textContent.trim() || pictured(element));
  const controls = [...document.querySelectorAll(
    "input:not([type=hidden]), select, textarea, button, a[href], summary, [role=button], [contenteditable=true], canvas[tabindex]"
  )].filter(shown);
  for (const element of controls) if (!name(element)) faults.push(`${place(element)}: has no name`);
  for (const image of document.querySelectorAll("img"))
    if (image.getAttribute("alt") === null) faults.push(`${place(image)} ${image.getAttribute("src")}: has no alt`);
  for (const image of document.querySelectorAll("svg"))
    if (shown(image) && image.getAttribute("aria-hidden") !== "true" && !image.getAttribute("aria-label") &&
        !image.querySelector("title") && !image.closest("[aria-hidden=true]"))
      faults.push(`${place(image)}: neither a name nor aria-hidden`);

  // structure
  if (!document.documentElement.lang) faults.push("html: has no lang");
  if (!document.title.trim()) faults.push("head: has no title");
  if (!document.querySelector("meta[name=viewport]")) faults.push("head: has no viewport");
  if (document.querySelectorAll("h1").length !== 1) faults.push(`${document.querySelectorAll("h1").length} h1`);
  if (document.querySelectorAll("main").length !== 1) faults.push(`${document.querySelectorAll("main").length} main`);
  let level = 0;
  for (const heading of [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].filter(shown)) {
    const own = Number(heading.tagName[1]);
    if (own > level + 1) faults.push(`${place(heading)}: a heading of level ${own} follows level ${level}`);
    level = own;
  }
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of new Set(ids.filter((each, k) => ids.indexOf(each) !== k))) faults.push(`id ${id}: more than once`);
  for (const attribute of ["aria-labelledby", "aria-describedby", "aria-controls", "for", "list"])
    for (const element of document.querySelectorAll(`[${attribute}]`))
      for (const id of element.getAttribute(attribute).split(/\s+/).filter(Boolean))
        if (!document.getElementById(id)) faults.push(`${place(element)}: ${attribute} names ${id}, which is not there`);
  for (const element of document.querySelectorAll("[tabindex]"))
    if (Number(element.getAttribute("tabindex")) > 0) faults.push(`${place(element)}: a tabindex above 0`);
  for (const element of document.querySelectorAll("[onclick], [style*='outline: none']"))
    faults.push(`${place(element)}: script or style in an attribute`);

  // targets: 24 x 24 CSS pixels, except links within a sentence, checkboxes with a label of that size, and targets
  // around whose centre a circle of 24 px meets no other target
  const areas = controls.map((element) => [element, element.getBoundingClientRect()]);
  const crowded = (element, box) => {
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    return areas.some(([other, area]) => {
      if (other === element || other.contains(element) || element.contains(other)) return false;
      const [across, down] = [Math.max(area.left - x, 0, x - area.right), Math.max(area.top - y, 0, y - area.bottom)];
      return across * across + down * down < 144;
    });
  };
  for (const [element, box] of areas) {
    const inline = element.tagName === "A" && getComputedStyle(element).display === "inline";
    const labelled = [...(element.labels || [])].some((label) => {
      const area = label.getBoundingClientRect();
      return area.height >= 23.5 && area.width >= 23.5;
    });
    const small = box.width > 2 && box.height > 2 && (box.width < 23.5 || box.height < 23.5);
    if (small && !inline && !labelled && crowded(element, box))
      faults.push(`${place(element)}: a target of ${box.width.toFixed(0)} x ${box.height.toFixed(0)} px beside another`);
  }

  // contrast
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const colour = (text) => {
    if (!known.has(text)) {
      pen.clearRect(0, 0, 1, 1);
      pen.fillStyle = text;
      pen.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
      known.set(text, [r, g, b, a / 255]);
    }
    return known.get(text);
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  const ground = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) {
      const style = getComputedStyle(each);
      if (style.backgroundImage !== "none") return null;
      const own = colour(style.backgroundColor);
      if (own[3] > 0) layers.push(own);
      if (own[3] === 1) break;
    }
    const scheme = getComputedStyle(document.documentElement).colorScheme;
    const dark = scheme.includes("dark") && matchMedia("(prefers-color-scheme: dark)").matches;
    return layers.reverse().reduce((below, layer) => over(layer, below), dark ? [18, 18, 18, 1] : [255, 255, 255, 1]);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const seen = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || seen.has(element) || !shown(element)) continue;
    seen.add(element);
    if (element.closest("[disabled], [aria-disabled=true], option, svg, script, style, .hidden-text")) continue;
    const box = element.getBoundingClientRect();
    if (box.width < 2 || box.height < 2) continue;
    const style = getComputedStyle(element);
    const below = ground(element);
    if (!below) continue;
    const above = over(colour(style.color), below);
    const [high, low] = [light(above.slice(0, 3)), light(below.slice(0, 3))].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5) - 0.005)
      faults.push(`${place(element)}: contrast ${ratio.toFixed(2)}, ${large ? 3 : 4.5} is asked`);
  }

  // reflow
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) {
    const past = [...document.body.querySelectorAll("*")]
      .filter((element) => shown(element) && element.getBoundingClientRect().right > innerWidth + 0.5);
    const inner = past.filter((element) => !past.some((other) => other !== element && element.contains(other)));
    faults.push(`scrolls sideways: ${wide} px on a window of ${innerWidth}: ${inner.slice(0, 3).map(place).join("; ")}`);
  }
  return faults;
}
