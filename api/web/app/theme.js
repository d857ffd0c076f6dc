// Runs before the first paint, so that a chosen theme does not flash; not a module, for modules wait.
"use strict";
{
  const chosen = localStorage.getItem("spoon.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
