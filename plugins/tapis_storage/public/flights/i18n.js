// Texts for people, marked for translation. WebODM's catalogue is used where its pages bring one.

// The text in the reader's language; {names} in it are replaced by `values`.
export function t(text, values = {}) {
    const found = typeof window.gettext === "function" ? window.gettext(text) : text;
    return found.replace(/\{(\w+)\}/g, (whole, name) => name in values ? shown(values[name]) : whole);
}

// One of two texts, by number; {n} in them is the number.
export function tn(one, many, n, values = {}) {
    const found = typeof window.ngettext === "function" ? window.ngettext(one, many, n) : n === 1 ? one : many;
    return found.replace(/\{(\w+)\}/g, (whole, name) => name === "n" ? shown(n) : name in values ? shown(values[name]) : whole);
}

// A number with separators between its thousands, anything else as text.
export function shown(value) {
    return typeof value === "number" ? value.toLocaleString("en") : String(value);
}
