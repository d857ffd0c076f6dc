/** @file The view Models. */

import { h } from "../app/dom.js";
import { t } from "../app/texts.js";
import { View } from "../app/view.js";

class ModelsView extends View {
  start() {
    this.replaceChildren(h("h1", {}, t("nav.models")));
  }
}

customElements.define("models-view", ModelsView);
