// Makes and fills elements of the page. Names of files, scans and tokens are set as text, never as HTML.

export function byId(id) {
    return document.getElementById(id);
}

// An element with attributes and children. A child that is not a node becomes text; null, undefined, false and "" are left out.
// A function as an attribute listens for the event of its name without "on"; true sets an empty attribute; false and null leave it out.
export function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
        if (typeof value === "function") element.addEventListener(name.slice(2), value);
        else if (value === true) element.setAttribute(name, "");
        else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...shown(children));
    return element;
}

// Replace an element's children.
export function fill(element, ...children) {
    element.replaceChildren(...shown(children));
}

// Like `fill`, for a part of the page that is redrawn while somebody uses it: open <details> stay open (each has a data-key), and
// the focused button keeps the focus.
export function refill(element, ...children) {
    const open = new Set([...element.querySelectorAll("details[open]")].map(each => each.dataset.key));
    const label = each => each.getAttribute("aria-label") || each.textContent;
    const active = element.contains(document.activeElement) ? document.activeElement : null;
    fill(element, ...children);
    for (const each of element.querySelectorAll("details[data-key]")) each.open = open.has(each.dataset.key);
    if (active) [...element.querySelectorAll(active.tagName)].find(each => label(each) === label(active))?.focus();
}

function shown(children) {
    return children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false && child !== "");
}

export function show(element, on = true) {
    element.hidden = !on;
}

// A note with a tone: "", "error", "good".
export function note(text, tone = "", ...more) {
    return make("p", { "class": "os-note" + (tone ? ` os-${tone}` : "") }, text, ...more);
}

// A button that is disabled while its action, which returns a promise, runs.
export function button(text, action, attributes = {}) {
    const made = make("button", { type: "button", "class": "os-button os-second os-small", ...attributes }, text);
    made.addEventListener("click", async () => {
        made.disabled = true;
        try {
            await action();
        } finally {
            made.disabled = false;
        }
    });
    return made;
}

// Set a progress bar; `share` is from 0 to 1.
export function setBar(bar, share) {
    const percent = Math.round(Math.min(1, Math.max(0, share)) * 100);
    bar.setAttribute("aria-valuenow", percent);
    bar.firstElementChild.style.width = `${percent}%`;
}

export function bar(share, label) {
    const made = make("div", { "class": "os-bar", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": label }, make("span"));
    setBar(made, share);
    return made;
}
