// Elements of the page. Texts from Tapis are set as text, never as HTML.

export function byId(id) {
    return document.getElementById(id);
}

// An element with attributes and children; a child that is no node becomes text, and none at all where it is null or "".
export function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children.filter(child => child !== null && child !== undefined && child !== ""));
    return element;
}

// Put children into an element in place of those it has.
export function fill(element, ...children) {
    element.textContent = "";
    element.append(...children.filter(child => child !== null && child !== undefined && child !== ""));
}

// Rows of a table: each row an object of its cells by the names of the columns; `empty` is said where there is none.
export function fillTable(table, rows, empty) {
    const heads = Array.from(table.tHead.rows[0].cells), body = table.tBodies[0];
    fill(body, ...rows.map(row => make("tr", {}, ...heads.map(head => {
        const cell = make("td", { "data-label": head.dataset.label || "" });
        fill(cell, row[head.dataset.column]);
        return cell;
    }))));
    if (!rows.length) fill(body, make("tr", {}, make("td", { colspan: heads.length, "class": "tapis-empty" }, empty)));
}

// A button that cannot be pressed again while its action, which returns a promise, is under way.
export function button(text, label, action, kind = "default") {
    const made = make("button", { type: "button", "class": `btn btn-${kind} btn-sm`, "aria-label": label }, text);
    made.addEventListener("click", () => whileBusy(made, action));
    return made;
}

export async function whileBusy(control, action) {
    control.disabled = true;
    try {
        await action();
    } finally {
        control.disabled = false;
    }
}
