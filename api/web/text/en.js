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
  "prompt.tokens": "{tokens} of {most} tokens",
  "prompt.chunks": "{tokens} tokens in {chunks} chunks: {each}",
  "prompt.dropped": "Cut off: {text}",
  "prompt.not_counted": "Tokens are not counted: {reason}",
  "prompt.lora": "LoRA",
  "prompt.embedding": "embedding",
  "prompt.options": { one: "{count} name fits: arrow down chooses it", other: "{count} names fit: arrow down chooses" },
  "preset.title": "Preset",
  "preset.choose": "Choose a preset",
  "preset.none": "No presets yet",
  "preset.shared": "{name} (everybody's)",
  "preset.save": "Save",
  "preset.save_as": "Save as …",
  "preset.rename": "Rename …",
  "preset.delete": "Delete",
  "preset.name": "Name",
  "preset.taken": "There is such a preset: press again to replace it.",
  "preset.saved": "Saved {name}",
  "preset.replaces": "{name} gets the values that you see now, in place of what it has.",
  "preset.goes": "{name} is deleted. What was made with it stays.",

  // Queue
  "queue.processing": "Running",
  "queue.waiting": "Waiting",
  "queue.ended": "Just ended",
  "queue.no_processing": "Nothing runs now.",
  "queue.no_waiting": "Nothing waits.",
  "queue.no_ended": "No job has ended yet.",
  "queue.count": "{processing} running, {waiting} waiting",
  "queue.pause": "Pause all",
  "queue.resume": "Resume all",

  // Jobs
  "job.progress": "Progress",
  "job.preview": "Preview",
  "job.no_prompt": "(no prompt)",
  "job.images": { one: "{count} image", other: "{count} images" },
  "job.priority": "priority {priority}",
  "job.step": "step {step} of {steps}",
  "job.eta": "{time} left",
  "job.position": "place {position}",
  "job.turn_in": "its turn in {time}",
  "job.sooner": "Sooner",
  "job.later": "Later",
  "job.cancel": "Cancel",
  "job.retry": "Try again",
  "job.change": "Make another like it",
  "job.status.waiting": "waiting",
  "job.status.processing": "running",
  "job.status.finished": "finished",
  "job.status.failed": "failed",
  "job.status.cancelled": "canceled",
  "job.stage.preparing": "preparing",
  "job.stage.denoising": "denoising",
  "job.stage.finishing": "finishing",
  "job.stage.removing_background": "removing the background",
  "job.waits_for.paused": "its queue is paused",
  "job.waits_for.turn": "waits for its turn",
  "job.waits_for.engine": "its engine starts",
  "job.waits_for.room": "its engine waits for memory",
  "job.waits_for.start": "somebody stopped its engine: start it",
  "job.waits_for.retry": "its engine failed, and is tried again",
  "job.waits_for.repair": "its engine failed, and needs help",

  // Gallery

  // Models

  // Engines

  // System
});
