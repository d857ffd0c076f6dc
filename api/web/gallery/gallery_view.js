/** @file The view Gallery. */

import { h } from "../app/dom.js";
import { t } from "../app/texts.js";
import { View } from "../app/view.js";

class GalleryView extends View {
  start() {
    this.replaceChildren(h("h1", {}, t("nav.gallery")));
  }
}

customElements.define("gallery-view", GalleryView);
