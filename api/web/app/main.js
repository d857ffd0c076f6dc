/** @file The frame of the page: navigation, connection, theme, who is signed in; the views are loaded when shown. */

import { h, set } from "./dom.js";
import { live } from "./live.js";
import { complain, notices } from "./notices.js";
import { addressOf, Router, VIEWS } from "./router.js";
import { session } from "./session.js";
import { t } from "./texts.js";

const THEMES = /** @type {const} */ (["system", "light", "dark"]);

const links = new Map(
  Object.entries(VIEWS).map(([name, { title }]) => [name, h("a", { href: addressOf(name) }, t(title))]),
);
const connection = h("p", { class: "connection", role: "status" });
const account = h("div", { class: "account" });
const main = h("main", { id: "main", tabindex: -1 });

document.body.replaceChildren(
  h("a", { class: "skip", href: "#main", onclick: skip }, t("shell.skip")),
  h(
    "header",
    { class: "shell" },
    h(
      "a",
      { class: "name", href: addressOf("create") },
      h("img", {
        src: "web/app/icon.svg",
        alt: "",
        width: 24,
        height: 24,
      }),
      "spoon",
    ),
    h(
      "nav",
      { "aria-label": t("shell.navigation") },
      h("ul", {}, ...[...links.values()].map((link) => h("li", {}, link))),
    ),
    h("div", { class: "state" }, connection, account, themeButton()),
  ),
  main,
  notices,
);

live.addEventListener("state", showConnection);
session.addEventListener("change", showAccount);
window.addEventListener("unhandledrejection", (event) => complain(event.reason));
session.begin();
await session.read();
live.begin();
await new Router(main, (name) => {
  for (const [each, link] of links) set(link, { "aria-current": each === name ? "page" : null });
}).begin();

/** @param {Event} event */
function skip(event) {
  event.preventDefault(); // the address is the router's
  main.focus();
}

function showConnection() {
  connection.dataset.state = live.state;
  connection.textContent = live.state === "live" ? "" : t(`connection.${live.state}`);
}

function showAccount() {
  const name = session.now?.name;
  account.replaceChildren(
    ...(name
      ? [
          h("span", { class: "who" }, name),
          h(
            "button",
            {
              type: "button",
              class: "quiet",
              onclick: () => void session.signOut(),
            },
            t("session.sign_out"),
          ),
        ]
      : []),
  );
}

/** @returns {HTMLElement} a button that goes from one theme to the next */
function themeButton() {
  const button = h("button", {
    type: "button",
    class: "quiet theme",
    onclick: () => choose((at() + 1) % THEMES.length),
  });
  const at = () => THEMES.findIndex((theme) => theme === (document.documentElement.dataset.theme ?? "system"));
  /** @param {number} index */
  const choose = (index) => {
    const theme = THEMES[index] ?? "system";
    if (theme === "system") {
      delete document.documentElement.dataset.theme;
      localStorage.removeItem("spoon.theme");
    } else {
      document.documentElement.dataset.theme = theme;
      localStorage.setItem("spoon.theme", theme);
    }
    name();
  };
  const name = () => {
    const theme = THEMES[at()] ?? "system";
    set(button, {
      "aria-label": t("shell.theme", { theme: t(`theme.${theme}`) }),
      title: t(`theme.${theme}`),
    });
    button.textContent = { system: "◐", light: "☀", dark: "☾" }[theme];
  };
  name();
  return button;
}
