window.moli = {
  // On a touch screen, the keyboard makes room for the answer.
  settle() {
    if (matchMedia("(pointer: coarse)").matches) document.activeElement?.blur();
  },

  // Brings a mark into view: inside its own box always, and the box on the screen when asked to.
  // An element appears a few frames after the server has sent it.
  show(id, bring, tries = 60) {
    const box = document.getElementById(id);
    if (!box) {
      if (tries) requestAnimationFrame(() => window.moli.show(id, bring, tries - 1));
      return;
    }
    const mark = box.querySelector("mark");
    if (mark) box.scrollTop += mark.getBoundingClientRect().top
      - box.getBoundingClientRect().top - box.clientHeight / 3;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (bring) box.closest("aside").scrollIntoView(
      { block: "nearest", behavior: calm ? "auto" : "smooth" });
  },
};
