import js from "@eslint/js";

/** Names that browsers define; what is not here is a mistake, or to be added. */
const BROWSER =
  "window document location history localStorage sessionStorage devicePixelRatio indexedDB fetch setTimeout clearTimeout setInterval clearInterval " +
  "requestAnimationFrame cancelAnimationFrame queueMicrotask structuredClone createImageBitmap matchMedia scrollTo " +
  "getComputedStyle getSelection performance console navigator crypto customElements CSS URL URLSearchParams Headers " +
  "Request Response FormData Blob File FileReader Image ImageData Path2D OffscreenCanvas DataTransfer Event " +
  "CustomEvent EventTarget InputEvent KeyboardEvent PointerEvent XMLHttpRequest AbortController AbortSignal " +
  "DOMException DOMPoint Node Element HTMLElement HTMLInputElement HTMLTextAreaElement HTMLSelectElement " +
  "HTMLButtonElement HTMLDialogElement HTMLCanvasElement HTMLImageElement HTMLFormElement HTMLDetailsElement " +
  "HTMLAnchorElement HTMLOptionElement IntersectionObserver ResizeObserver MutationObserver TextDecoderStream TextDecoder TextEncoder " +
  "btoa atob";

export default [
  {
    files: ["**/*.js"],
    ...js.configs.recommended,
    languageOptions: {
      ecmaVersion: 2024,
      sourceType: "module",
      globals: Object.fromEntries(BROWSER.split(" ").map((name) => [name, "readonly"])),
    },
    rules: {
      ...js.configs.recommended.rules,
      eqeqeq: "error",
      "no-var": "error",
      "prefer-const": "error",
      "no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
      "no-console": "error",
      "no-implied-eval": "error",
      "max-lines": ["error", 500],
      complexity: ["error", 15],
    },
  },
  { files: ["**/text/*.js"], rules: { "max-lines": "off" } },
  { files: ["**/theme.js"], languageOptions: { sourceType: "script" } },
];
