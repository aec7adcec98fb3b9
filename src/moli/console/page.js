window.moli = {
  // On a touch screen, the keyboard makes room for the answer.
  settle() {
    if (matchMedia("(pointer: coarse)").matches) document.activeElement?.blur();
  },

  // Calls back once an element is on the page, a few frames after the server has sent it.
  whenShown(id, callback, tries = 60) {
    const element = document.getElementById(id);
    if (element) callback(element);
    else if (tries) requestAnimationFrame(() => moli.whenShown(id, callback, tries - 1));
  },

  // Brings a mark into view: inside its own box always, and the box on the screen when asked to.
  show(id, bring) {
    moli.whenShown(id, (box) => {
      const mark = box.querySelector("mark");
      if (mark) box.scrollTop += mark.getBoundingClientRect().top
        - box.getBoundingClientRect().top - box.clientHeight / 3;
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      if (bring) box.closest(".source").scrollIntoView(
        { block: "nearest", behavior: calm ? "auto" : "smooth" });
    });
  },

  // Makes the open source an entry of the history, in place of another source that is one.
  rememberSource(number) {
    const save = history.state?.source === undefined ? "pushState" : "replaceState";
    history[save]({ source: number }, "", location.href);
  },

  // Closes the source: if it is an entry of the history, by going back.
  closeSource() {
    if (history.state?.source === undefined) moli.followHistory();
    else history.back();
  },

  // Has the page show what the current entry of the history stands for.
  followHistory() {
    const trace = new URLSearchParams(location.search).get("trace") ?? "";
    emitEvent("moli_address", { trace, source: history.state?.source ?? -1 });
  },

  // Counts the seconds that an answer takes.
  count(id) {
    moli.whenShown(id, (element) => {
      const started = Date.now();
      const timer = setInterval(() => {
        if (!element.isConnected) return clearInterval(timer);
        const seconds = Math.floor((Date.now() - started) / 1000);
        if (seconds) element.textContent =
          `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
      }, 250);
    });
  },

  // Sends a rating of an answer, and says whether it was stored.
  async rate(event, id, rating) {
    const button = event.target.closest("button"), row = button.parentElement;
    const status = row.querySelector(".thanks");
    const response = await moli.post("/v1/feedback", JSON.stringify({ id, rating }),
      { "Content-Type": "application/json" });
    if (response?.ok) for (const each of row.querySelectorAll("button"))
      each.setAttribute("aria-pressed", each === button);
    status.textContent = response?.ok ? status.dataset.thanks : status.dataset.failed;
  },

  // Adds files to the library one by one, and lists what became of them.
  async upload(files, folders = new Set()) {
    const list = document.querySelector(".uploads"), texts = list.dataset;
    for (const file of files) {
      const row = list.appendChild(document.createElement("li"));
      const isFolder = folders.has(file.name);
      row.textContent = `${file.name}: ${isFolder ? texts.folder : texts.waiting}`;
      row.classList.toggle("failed", isFolder);
      if (isFolder) continue;
      const form = new FormData();
      form.append("file", file);
      const response = await moli.post("/v1/documents", form);
      const body = await response?.json().catch(() => null);
      const problem = body?.error?.message ?? `${file.name}: ${texts.failed}`;
      row.textContent = response?.ok ? `${file.name}: ${texts[body.outcome]}` : problem;
      row.classList.toggle("failed", !response?.ok);
      if (response?.ok) emitEvent("moli_added");
    }
  },

  // The response to a request, or null if the server does not answer.
  post(path, body, headers = {}) {
    return fetch(path, { method: "POST", body, headers }).catch(() => null);
  },
};

addEventListener("popstate", moli.followHistory);

addEventListener("keydown", (event) => {
  const question = document.querySelector(".question input");
  const isTyping = event.target.closest("input, textarea, [contenteditable]");
  if (event.key === "Escape") document.querySelector(".source .close")?.click();
  if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  question?.focus();
});

// A file that is dropped anywhere on the page is added where that is possible, and never opened.
for (const kind of ["dragover", "drop", "dragleave"]) addEventListener(kind, (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  const zone = document.querySelector(".drop");
  zone?.classList.toggle("over", kind === "dragover");
  if (kind !== "drop" || !zone?.offsetParent) return;
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.());
  const folders = entries.filter((entry) => entry?.isDirectory).map((entry) => entry.name);
  moli.upload([...event.dataTransfer.files], new Set(folders));
});

// Says when the connection to the server is lost. The framework makes the socket a little later.
addEventListener("DOMContentLoaded", function watch() {
  if (!window.socket) return void setTimeout(watch, 100);
  const mark = (lost) => document.documentElement.classList.toggle("offline", lost);
  window.socket.on("disconnect", () => mark(true));
  window.socket.on("connect", () => mark(false));
});
