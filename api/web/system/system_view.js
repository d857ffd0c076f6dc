/** @file The view System. */

import { h } from "../app/dom.js";
import { t } from "../app/texts.js";
import { View } from "../app/view.js";

class SystemView extends View {
  start() {
    this.replaceChildren(h("h1", {}, t("nav.system")));
  }
}

customElements.define("system-view", SystemView);
