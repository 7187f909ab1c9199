// One page in two languages, tables that sort, pictures that grow. The page reads without it.
(() => {
  "use strict";
  const root = document.documentElement;
  const buttons = [...document.querySelectorAll("[data-language]")];

  // A page opened from disk may have no storage: then the browser's language decides each time.
  const remembered = (language) => {
    try {
      if (language) localStorage.setItem("besana-language", language);
      return localStorage.getItem("besana-language");
    } catch {
      return null;
    }
  };
  const show = (language) => {
    root.lang = language;
    document.title = language === "es" ? root.dataset.titleEs : root.dataset.titleEn;
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.language === language));
    }
  };
  for (const button of buttons) {
    button.addEventListener("click", () => {
      remembered(button.dataset.language);
      show(button.dataset.language);
    });
    button.parentElement.hidden = false;
  }
  const preferred = (navigator.languages || [navigator.language]).find((name) => /^(en|es)\b/.test(name));
  const chosen = remembered();
  show(chosen === "es" || chosen === "en" ? chosen : (preferred || "en").slice(0, 2));

  const shownText = (cell) => {
    const words = cell.querySelector(`[lang="${root.lang}"]`) || cell;
    return words.textContent.trim();
  };
  const sort = (table, column, ascending) => {
    const body = table.tBodies[0];
    const number = (row) => row.cells[column].dataset.number;
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [number(a), number(b)];
      const order =
        x !== undefined || y !== undefined
          ? Number(x ?? -Infinity) - Number(y ?? -Infinity)
          : shownText(a.cells[column]).localeCompare(shownText(b.cells[column]), root.lang, { numeric: true });
      return ascending ? order : -order;
    });
    body.append(...rows);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    if (table.tBodies[0].rows.length < 2) continue;
    [...table.tHead.rows[0].cells].forEach((head, column, heads) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const ascending = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        sort(table, column, ascending);
      });
    });
  }

  const dialog = document.querySelector("dialog.large");
  for (const button of document.querySelectorAll("button.enlarge")) {
    button.addEventListener("click", () => {
      const small = button.querySelector("img");
      const large = dialog.querySelector("img");
      large.src = small.src;
      large.alt = small.alt;
      dialog.querySelector("p").textContent = shownText(button.parentElement.querySelector("figcaption"));
      dialog.showModal();
    });
  }
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
})();
