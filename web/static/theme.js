// Light or dark: as the system has it, or as the user chose, kept in this browser.

const KEY = "crossgeo.theme";
const NEXT = { system: "light", light: "dark", dark: "system" };

/** Bind the button that goes through the choices. */
export function setTheme(button) {
  let theme = localStorage.getItem(KEY) ?? "system";
  const show = () => {
    document.documentElement.dataset.theme = theme;
    button.setAttribute("aria-label", `Colours: ${theme === "system" ? "as the system" : theme}`);
  };
  button.addEventListener("click", () => {
    theme = NEXT[theme] ?? "system";
    localStorage.setItem(KEY, theme);
    show();
  });
  show();
}
