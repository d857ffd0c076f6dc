/** @file The view Queue. */

import { h } from "../app/dom.js";
import { t } from "../app/texts.js";
import { View } from "../app/view.js";

class QueueView extends View {
  start() {
    this.replaceChildren(h("h1", {}, t("nav.queue")));
  }
}

customElements.define("queue-view", QueueView);
