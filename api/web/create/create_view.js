/** @file The view Create. */

import { h } from "../app/dom.js";
import { t } from "../app/texts.js";
import { View } from "../app/view.js";

class CreateView extends View {
  start() {
    this.replaceChildren(h("h1", {}, t("nav.create")));
  }
}

customElements.define("create-view", CreateView);
