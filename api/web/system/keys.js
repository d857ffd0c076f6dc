/** @file API keys: who may use the server; a secret is shown once, when it is made. */

import { all, call } from "../app/api.js";
import { confirmed, openDialog } from "../app/dialogs.js";
import { h, keep, set } from "../app/dom.js";
import { date, fromNow, number } from "../app/format.js";
import { live } from "../app/live.js";
import { complain, notify } from "../app/notices.js";
import { session } from "../app/session.js";
import { t, word } from "../app/texts.js";
import { copyButton } from "../parts/copy.js";
import { choice, field, formFault, numberInput, showFaults, valuesOf } from "../parts/field.js";

/**
 * @typedef {{key_id: string, name: string, role: string, status: "active" | "expired" | "revoked", created_at:
 * string, expires_at: string | null}} Key
 */

const BADGES = { active: "good", expired: "warning", revoked: "" };
const LIMITS = /** @type {const} */ ([
  "max_waiting_jobs",
  "max_running_jobs",
  "max_images_a_day",
  "max_pixels_a_day",
  "max_pixels",
  "max_requests_a_minute",
]);

/**
 * @param {AbortSignal} signal
 * @returns {HTMLElement[]}
 */
export function keys(signal) {
  const list = h("ul", { class: "keys stack", "aria-label": t("system.keys") });
  const none = h("p", { class: "muted", hidden: true }, t("system.no_keys"));
  const read = async () => {
    try {
      /** @type {Key[]} */
      const found = [];
      for await (const key of all("v1/keys", {}, signal)) found.push(key);
      keep(list, found, { key: (key) => `${key.key_id} ${JSON.stringify(key)}`, create: itemOf });
      set(none, { hidden: found.length > 0 });
    } catch (error) {
      complain(error);
    }
  };
  live.on(["key", "reset"], () => void read(), signal);
  void read();
  // Without a key nobody may make one: it would be the first, and lock out whoever has none.
  const create = h("button", { type: "button", hidden: !session.now?.key_id, onclick: () => void createKey(read) });
  create.append(t("system.create_key"));
  return [list, none, h("div", { class: "buttons" }, create)];
}

/** @param {Key & Record<string, any>} key */
function itemOf(key) {
  const limits = LIMITS.filter((name) => key[name] !== null && key[name] !== undefined).map(
    (name) => `${word("system.limit", name)} ${number(key[name])}`,
  );
  const until = key.expires_at === null ? null : t("system.expires", { when: fromNow(key.expires_at) });
  const about = [t("system.created", { when: date(key.created_at) }), until, ...limits].filter((one) => one);
  return h(
    "li",
    { class: "row apart key" },
    h(
      "div",
      { class: "grow" },
      h(
        "div",
        { class: "row" },
        h("strong", {}, key.name),
        h("span", { class: "badge" }, word("system.role", key.role)),
        h("span", { class: `badge ${BADGES[key.status]}` }, word("system.key_state", key.status)),
      ),
      h("p", { class: "small muted" }, about.join(" · ")),
    ),
    key.key_id === session.now?.key_id ? h("span", { class: "badge busy" }, t("system.your_key")) : null,
    ...(key.status === "revoked" || key.key_id === session.now?.key_id ? [] : deedsOf(key)),
  );
}

/** @param {Key} key */
function deedsOf(key) {
  const deed = (
    /** @type {import("../app/texts.js").TextKey} */ text,
    /** @type {(key: Key) => Promise<void>} */ run,
  ) => h("button", { type: "button", class: "quiet", onclick: () => void run(key).catch(complain) }, t(text));
  return [deed("system.rotate", rotate), deed("system.revoke", revoke)];
}

/** @param {() => Promise<void>} read */
async function createKey(read) {
  const form = h(
    "form",
    { novalidate: true },
    field(t("system.key_name"), h("input", { name: "name", required: true, maxlength: 200, autofocus: true })),
    field(
      t("system.role_field"),
      choice("role", [
        ["user", word("system.role", "user")],
        ["viewer", word("system.role", "viewer")],
        ["admin", word("system.role", "admin")],
      ]),
      t("system.role_hint"),
    ),
    field(t("system.expire_after"), h("input", { name: "expire_after", placeholder: "30d" }), t("system.expire_hint")),
    h(
      "details",
      {},
      h("summary", {}, t("system.limits_of_key")),
      h("div", { class: "grid" }, ...LIMITS.map((name) => field(word("system.limit", name), limitInput(name)))),
    ),
    formFault(),
    h("div", { class: "buttons" }, h("button", { class: "primary" }, t("system.create_key"))),
  );
  await openDialog(t("system.create_key"), (close) => {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      showFaults(form);
      const said = Object.entries(valuesOf(form)).filter(([, value]) => value !== null);
      try {
        const made = await call("POST", "v1/keys", { body: Object.fromEntries(said) });
        close();
        await showSecret(made);
        await read();
      } catch (error) {
        showFaults(form, error);
      }
    });
    return [form];
  });
}

/** @param {string} name */
const limitInput = (name) => numberInput(name, { min: 1, step: 1 });

/** @param {{name: string, key: string | null}} made */
async function showSecret({ name, key }) {
  if (key === null) return; // an answer that was given before, and is not stored
  await openDialog(t("system.secret_title", { name }), () => [
    h("p", {}, t("system.secret_text")),
    h("pre", { class: "secret", tabindex: 0 }, key),
    h("div", { class: "buttons" }, copyButton(key, t("system.copy_secret"))),
  ]);
}

/** @param {Key} key */
async function rotate({ key_id: id, name }) {
  if (!(await confirmed(t("system.rotate_title", { name }), t("system.rotate_text"), t("system.rotate")))) return;
  await showSecret(await call("POST", `v1/keys/${id}/rotate`, { body: {} }));
}

/** @param {Key} key */
async function revoke({ key_id: id, name }) {
  if (!(await confirmed(t("system.revoke_title", { name }), t("system.revoke_text"), t("system.revoke")))) return;
  await call("DELETE", `v1/keys/${id}`);
  notify(t("system.revoked", { name }));
}
