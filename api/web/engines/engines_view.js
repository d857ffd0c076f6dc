/** @file The view Engines. */

import { h } from "../app/dom.js";
import { t } from "../app/texts.js";
import { View } from "../app/view.js";

class EnginesView extends View {
  start() {
    this.replaceChildren(h("h1", {}, t("nav.engines")));
  }
}

customElements.define("engines-view", EnginesView);
