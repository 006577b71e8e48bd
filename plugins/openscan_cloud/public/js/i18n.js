// Texts for people, marked for translation. If WebODM's page loads a catalogue, it is used.

// The text in the visitor's language; {names} in it are replaced by `values`.
export function t(text, values = {}) {
    const found = typeof window.gettext === "function" ? window.gettext(text) : text;
    return found.replace(/\{(\w+)\}/g, (whole, name) => name in values ? String(values[name]) : whole);
}

// The singular or the plural text, chosen by a number; {n} in them is that number.
export function tn(one, many, n, values = {}) {
    const found = typeof window.ngettext === "function" ? window.ngettext(one, many, n) : n === 1 ? one : many;
    return found.replace(/\{(\w+)\}/g, (whole, name) => name === "n" ? n.toLocaleString("en") : name in values ? String(values[name]) : whole);
}
