/** @file Building elements without markup in strings: the page's policy (Trusted Types) forbids it. */

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * What an element is made with: attributes; `onclick` and the like, listeners; `.value` and the like,
 * properties; `style`, an object of CSS properties; null, undefined and false: nothing.
 * @typedef {Record<string, any>} Attributes
 */

/**
 * @template {keyof HTMLElementTagNameMap} T
 * A new element.
 * @param {T} tag
 * @param {Attributes} [attributes]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  set(element, attributes);
  element.append(...nodes(children));
  return element;
}

/**
 * Set attributes, listeners and properties of an element, as `h` does.
 * @param {Element} element
 * @param {Attributes} attributes
 */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) {
      if (value) element.addEventListener(name.slice(2), value);
    } else if (name.startsWith(".")) {
      Reflect.set(element, name.slice(1), value);
    } else if (name === "style") {
      for (const [property, one] of Object.entries(value ?? {})) {
        /** @type {HTMLElement} */ (element).style.setProperty(property, String(one));
      }
    } else if (value === null || value === undefined || value === false) {
      element.removeAttribute(name);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
}

/**
 * Replace what is in an element.
 * @param {Element} element
 * @param {...(Child | Child[])} children
 */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
}

/**
 * Make the children of an element those of a list: what is there stays the same element, so that focus,
 * selection and animations survive; the rest is created, removed and moved.
 * @template Item
 * @template {HTMLElement} E
 * @param {Element} parent
 * @param {Iterable<Item>} items
 * @param {{key: (item: Item) => string, create: (item: Item) => E, update?: (element: E, item: Item) => void}} by
 */
export function keep(parent, items, { key, create, update }) {
  const before = new Map([...parent.children].map((child) => [/** @type {HTMLElement} */ (child).dataset.key, child]));
  /** @type {Element | null} */
  let last = null;
  for (const item of items) {
    const name = key(item);
    let element = /** @type {E | undefined} */ (before.get(name));
    before.delete(name);
    if (element === undefined) {
      element = create(item);
      element.dataset.key = name;
    }
    update?.(element, item);
    /** @type {Element | null} */
    const next = last === null ? parent.firstElementChild : last.nextElementSibling;
    if (next !== element) parent.insertBefore(element, next);
    last = element;
  }
  for (const gone of before.values()) gone.remove();
}

/**
 * @param {(Child | Child[])[]} children
 * @returns {(Node | string)[]}
 */
function nodes(children) {
  return children
    .flat()
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (typeof child === "number" ? String(child) : /** @type {Node | string} */ (child)));
}
