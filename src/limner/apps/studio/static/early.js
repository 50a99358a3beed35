// Runs before the page is drawn: marks that scripts run, and applies the colour theme chosen earlier.
document.documentElement.classList.add("js");
try {
  const theme = localStorage.getItem("theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch { /* storage is off: the system's theme stays */ }
