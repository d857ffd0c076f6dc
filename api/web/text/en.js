/**
 * @file Every text of the page, by its key. A translation is a file like this one.
 *
 * `{name}` is a value. A text with several forms is an object by the plural categories of the language (Unicode
 * CLDR), chosen by `count`.
 */

export const EN = /** @type {const} */ ({
  // The frame
  "nav.create": "Create",
  "nav.queue": "Queue",
  "nav.gallery": "Gallery",
  "nav.models": "Models",
  "nav.engines": "Engines",
  "nav.system": "System",
  "shell.skip": "Skip to the content",
  "shell.navigation": "Views",
  "shell.theme": "Theme: {theme}. Change it",
  "theme.system": "like the system",
  "theme.light": "light",
  "theme.dark": "dark",
  "connection.connecting": "Connecting …",
  "connection.polling": "The server has no stream left: what you see is a few seconds old",
  "connection.lost": "Connection lost. Trying again …",
  "session.title": "Sign in",
  "session.explained": "This server asks for an API key. Whoever runs it can create one for you.",
  "session.key": "API key",
  "session.sign_in": "Sign in",
  "session.sign_out": "Sign out",
  "notice.close": "Close the message",
  "dialog.close": "Close",
  "dialog.cancel": "Cancel",
  "error.unexpected": "Something unexpected happened: {text}",
  "error.unreachable": "The server cannot be reached. Is it running?",

  // Create

  // Prompt field and presets

  // Queue

  // Gallery

  // Models

  // Engines

  // System
});
